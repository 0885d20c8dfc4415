//! What may stand between an appliance and its registry, and meddle.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::Duration;

/// What stands between the appliance and the registry.
#[derive(Clone)]
pub(crate) enum Between {
    /// It closes every connection at once.
    Closes,
    /// It says nothing.
    IsSilent,
    /// It says this, whatever it is asked.
    Says(String),
    /// It passes the request on, and drops the answer when it begins.
    Swallows,
    /// It passes half of the answer on.
    Cuts,
    /// It passes the request on, and holds the answer back.
    Holds,
}

pub(crate) fn stand(between: Between, registry: &str) -> String {
    let (listener, registry) = (TcpListener::bind("127.0.0.1:0").unwrap(), registry.to_owned());
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for near in listener.incoming() {
            let (between, registry) = (between.clone(), registry.clone());
            // A broken connection is what it is there for.
            std::thread::spawn(move || meddle(&between, near?, &registry));
        }
    });
    format!("http://{address}")
}

fn meddle(between: &Between, mut near: TcpStream, registry: &str) -> std::io::Result<()> {
    let mut request = vec![0; 65_536];
    match between {
        Between::Closes => near.shutdown(Shutdown::Both),
        Between::IsSilent => {
            std::thread::sleep(Duration::from_secs(20));
            Ok(())
        }
        Between::Says(answer) => {
            // All of it: bytes that nobody read would reset the connection.
            near.set_read_timeout(Some(Duration::from_millis(300)))?;
            while near.read(&mut request).is_ok_and(|read| read == request.len()) {}
            near.write_all(answer.as_bytes())
        }
        Between::Swallows | Between::Cuts | Between::Holds => {
            let mut far = TcpStream::connect(registry.strip_prefix("http://").unwrap())?;
            let mut passing = near.try_clone()?;
            let mut to_far = far.try_clone()?;
            std::thread::spawn(move || std::io::copy(&mut passing, &mut to_far));
            let mut answer = vec![0; 65_536];
            let read = far.read(&mut answer)?;
            if matches!(between, Between::Cuts) {
                near.write_all(&answer[..read / 2])?;
            }
            if matches!(between, Between::Holds) {
                std::thread::sleep(Duration::from_secs(20));
            }
            near.shutdown(Shutdown::Both)
        }
    }
}
