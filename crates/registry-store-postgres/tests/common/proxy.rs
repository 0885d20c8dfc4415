//! A proxy between a store and its server, which sees and loses what they send to each other.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

/// Starts a proxy to the server of the database at `url`, and returns the URL of the database
/// behind the proxy. `serve` gets each connection of a client, and one to the server.
pub(crate) async fn start<S, F>(url: &str, serve: S) -> String
where
    S: Fn(TcpStream, TcpStream) -> F + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let (port, name) =
        url.strip_prefix("postgres://postgres@127.0.0.1:").unwrap().split_once('/').unwrap();
    let port: u16 = port.parse().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy_port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            tokio::spawn(serve(client, server));
        }
    });
    format!("postgres://postgres@127.0.0.1:{proxy_port}/{name}")
}

/// Forwards data in both directions until both sides have closed the connection. `passes_request`
/// and `passes_answer` see all data, and return false for what is dropped.
pub(crate) async fn relay(
    client: TcpStream,
    server: TcpStream,
    passes_request: impl FnMut(&[u8]) -> bool,
    passes_answer: impl FnMut(&[u8]) -> bool,
) {
    let ((from_client, to_client), (from_server, to_server)) =
        (client.into_split(), server.into_split());
    tokio::join!(
        forward(from_client, to_server, passes_request),
        forward(from_server, to_client, passes_answer),
    );
}

async fn forward(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut passes: impl FnMut(&[u8]) -> bool,
) {
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        if passes(&buffer[..read]) && to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
