//! A proxy between an appliance and its registry, which causes faults of the network.

use std::io::{Read as _, Write as _, copy, sink};
use std::net::{Shutdown, TcpListener, TcpStream};

/// Behavior of the proxy.
#[derive(Clone)]
pub(crate) enum ProxyFault {
    /// Every connection is closed at once.
    CloseAtOnce,
    /// No response is sent.
    NeverRespond,
    /// Every response is this text.
    Respond(String),
    /// The request is forwarded, and the connection closed when the response begins. Only the first
    /// connections, this many, have the fault; all data of later ones is forwarded.
    DropResponses(usize),
    /// The request is forwarded, and half of the response sent.
    TruncateResponse,
    /// The request is forwarded, and the response is not sent until the client disconnects.
    DelayResponse,
}

/// Starts a proxy, and returns its URL.
pub(crate) fn start(fault: ProxyFault, registry: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let registry = registry.strip_prefix("http://").unwrap().to_owned();
    std::thread::spawn(move || {
        for (index, client) in listener.incoming().enumerate() {
            let (fault, registry) = (fault.clone(), registry.clone());
            // Errors are ignored: a client that meets a fault may close its connection at any time.
            std::thread::spawn(move || serve(&fault, index, client?, &registry));
        }
    });
    format!("http://{address}")
}

fn serve(
    fault: &ProxyFault,
    index: usize,
    mut client: TcpStream,
    registry: &str,
) -> std::io::Result<()> {
    match fault {
        ProxyFault::CloseAtOnce => client.shutdown(Shutdown::Both),
        ProxyFault::NeverRespond => wait_until_closed(&mut client),
        ProxyFault::Respond(response) => {
            if client.read(&mut [0; 4096])? == 0 {
                return Ok(());
            }
            client.write_all(response.as_bytes())?;
            client.shutdown(Shutdown::Write)?;
            // Closing a connection with unread bytes would reset it before the response is read.
            wait_until_closed(&mut client)
        }
        ProxyFault::DropResponses(_) | ProxyFault::TruncateResponse | ProxyFault::DelayResponse => {
            let mut upstream = TcpStream::connect(registry)?;
            let (mut from_client, mut to_upstream) = (client.try_clone()?, upstream.try_clone()?);
            let forwarding = std::thread::spawn(move || copy(&mut from_client, &mut to_upstream));
            if matches!(fault, ProxyFault::DropResponses(count) if index >= *count) {
                copy(&mut upstream, &mut client)?;
                return client.shutdown(Shutdown::Both);
            }
            let mut response = vec![0; 65_536];
            let read = upstream.read(&mut response)?;
            if matches!(fault, ProxyFault::TruncateResponse) {
                client.write_all(&response[..read / 2])?;
            }
            if matches!(fault, ProxyFault::DelayResponse) {
                // The thread ends when the client closes its connection.
                drop(forwarding.join());
            }
            client.shutdown(Shutdown::Both)
        }
    }
}

/// Reads and discards everything until the client closes the connection.
fn wait_until_closed(client: &mut TcpStream) -> std::io::Result<()> {
    copy(client, &mut sink()).map(drop)
}
