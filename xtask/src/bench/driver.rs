//! The load: so many connections, each sending its next request as soon as the last one is
//! answered.
//!
//! Plain sockets and prepared requests, so that what is measured is registryd and not a client
//! library.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

/// What many requests came to.
pub(super) struct Load {
    /// Requests a second.
    pub(super) rate: f64,
    /// How long each took, in order of length.
    pub(super) times: Vec<Duration>,
    /// The bodies of the answers, where they were asked for.
    pub(super) bodies: Vec<Vec<u8>>,
}

impl Load {
    /// The time that this share of the requests did not exceed.
    pub(super) fn quantile(&self, share: f64) -> Duration {
        quantile(&self.times, share)
    }
}

/// The value below which this share of the sorted values is.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "an index"
)]
pub(super) fn quantile(sorted: &[Duration], share: f64) -> Duration {
    let index = (sorted.len() as f64 * share) as usize;
    sorted.get(index.min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
}

/// Sends all requests over so many connections.
#[expect(clippy::disallowed_methods, reason = "a bench measures the time that passes")]
#[expect(clippy::cast_precision_loss, reason = "a rate")]
pub(super) fn send(
    address: &str,
    requests: &[Vec<u8>],
    connections: usize,
    keep_bodies: bool,
) -> Result<Load> {
    let next = AtomicUsize::new(0);
    let begun = Instant::now();
    let parts = std::thread::scope(|scope| {
        let work = || -> Result<_> {
            let mut connection = Connection::open(address)?;
            let (mut times, mut bodies) = (Vec::new(), Vec::new());
            while let Some(request) = requests.get(next.fetch_add(1, Ordering::Relaxed)) {
                let sent = Instant::now();
                let body = connection.ask(request)?;
                times.push(sent.elapsed());
                if keep_bodies {
                    bodies.push(body);
                }
            }
            Ok((times, bodies))
        };
        let threads: Vec<_> = (0..connections).map(|_| scope.spawn(work)).collect();
        let joined = threads
            .into_iter()
            .map(|thread| thread.join().ok().context("a connection's thread broke off")?);
        joined.collect::<Result<Vec<_>>>()
    })?;
    let taken = begun.elapsed();
    let (times, bodies): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
    let mut times = times.concat();
    times.sort();
    Ok(Load { rate: requests.len() as f64 / taken.as_secs_f64(), times, bodies: bodies.concat() })
}

/// A request, ready to be sent.
pub(super) fn request(method: &str, path: &str, token: Option<&str>, body: &str) -> Vec<u8> {
    let bearer =
        token.map(|token| format!("authorization: Bearer {token}\r\n")).unwrap_or_default();
    let kind = if body.is_empty() { "" } else { "content-type: application/json\r\n" };
    let length = body.len();
    format!("{method} {path} HTTP/1.1\r\nhost: bench\r\n{bearer}{kind}content-length: {length}\r\n\r\n{body}")
        .into_bytes()
}

struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    fn open(address: &str) -> Result<Self> {
        let stream =
            TcpStream::connect(address).with_context(|| format!("nobody listens on {address}"))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: vec![0; 64 * 1024] })
    }

    /// The body of the answer, which has to be a 200.
    fn ask(&mut self, request: &[u8]) -> Result<Vec<u8>> {
        self.stream.write_all(request)?;
        let mut answer = Vec::new();
        loop {
            let read = self.stream.read(&mut self.buffer)?;
            ensure!(read > 0, "the connection was closed");
            answer.extend_from_slice(&self.buffer[..read]);
            let Some(start) =
                answer.windows(4).position(|window| window == b"\r\n\r\n").map(|end| end + 4)
            else {
                continue;
            };
            let head = String::from_utf8_lossy(&answer[..start]).to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
            let length: usize = length.context("no content-length")?.trim().parse()?;
            if answer.len() >= start + length {
                let body = answer.split_off(start);
                ensure!(
                    head.starts_with("http/1.1 200"),
                    "{head}{}",
                    String::from_utf8_lossy(&body)
                );
                return Ok(body);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_one_of_the_values() {
        let times: Vec<_> = (1..=100).map(Duration::from_millis).collect();
        assert_eq!(quantile(&times, 0.5), Duration::from_millis(51));
        assert_eq!(quantile(&times, 0.99), Duration::from_millis(100));
        assert_eq!(quantile(&[], 0.5), Duration::ZERO);
    }
}
