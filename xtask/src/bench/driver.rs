//! The load generator: each of its connections sends the next request as soon as it has the
//! response to the last one.
//!
//! It uses plain sockets and prepared requests, so the bench measures registryd and not a client
//! library.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

/// Measurements of many requests.
pub(super) struct LoadResult {
    /// Requests a second.
    pub(super) rate: f64,
    /// Response times, sorted.
    pub(super) times: Vec<Duration>,
    /// Bodies of the responses, if the caller keeps them.
    pub(super) bodies: Vec<Vec<u8>>,
}

impl LoadResult {
    /// Returns a quantile of the response times: 0.5 is the median.
    pub(super) fn quantile(&self, share: f64) -> Duration {
        quantile(&self.times, share)
    }
}

/// Returns a quantile of sorted values. `share` is between 0 and 1.
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

/// Sends all requests over this number of connections.
#[expect(clippy::disallowed_methods, reason = "a bench measures the time that passes")]
#[expect(clippy::cast_precision_loss, reason = "a rate")]
pub(super) fn send(
    address: &str,
    requests: &[Vec<u8>],
    connections: usize,
    keep_bodies: bool,
) -> Result<LoadResult> {
    let next = AtomicUsize::new(0);
    let start = Instant::now();
    let parts = std::thread::scope(|scope| {
        let work = || -> Result<_> {
            let mut connection = Connection::open(address)?;
            let (mut times, mut bodies) = (Vec::new(), Vec::new());
            while let Some(request) = requests.get(next.fetch_add(1, Ordering::Relaxed)) {
                let sent = Instant::now();
                let body = connection.send(request)?;
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
            .map(|thread| thread.join().ok().context("the thread of a connection panicked")?);
        joined.collect::<Result<Vec<_>>>()
    })?;
    let elapsed = start.elapsed();
    let (times, bodies): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
    let mut times = times.concat();
    times.sort();
    let rate = requests.len() as f64 / elapsed.as_secs_f64();
    Ok(LoadResult { rate, times, bodies: bodies.concat() })
}

/// Returns the bytes of a request.
pub(super) fn request(method: &str, path: &str, token: Option<&str>, body: &str) -> Vec<u8> {
    let bearer =
        token.map(|token| format!("authorization: Bearer {token}\r\n")).unwrap_or_default();
    let content_type = if body.is_empty() { "" } else { "content-type: application/json\r\n" };
    let length = body.len();
    let head = format!("{method} {path} HTTP/1.1\r\nhost: bench\r\n{bearer}{content_type}");
    format!("{head}content-length: {length}\r\n\r\n{body}").into_bytes()
}

/// A response.
pub(super) struct Response {
    /// The HTTP status.
    pub(super) status: u16,
    /// Status line and headers, in lower case.
    head: String,
    /// The body.
    pub(super) body: Vec<u8>,
}

impl Response {
    /// Returns the value of a header. The name is in lower case.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }
}

fn header<'head>(head: &'head str, name: &str) -> Option<&'head str> {
    let value = |line: &'head str| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim());
    head.lines().find_map(value)
}

/// Maximum wait for a response. registryd itself responds with 503 after 30 seconds.
const READ_TIMEOUT: Duration = Duration::from_mins(1);

/// A connection to registryd.
pub(super) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    pub(super) fn open(address: &str) -> Result<Self> {
        let stream =
            TcpStream::connect(address).with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(READ_TIMEOUT))?;
        Ok(Self { stream, buffer: vec![0; 64 * 1024] })
    }

    /// Sends a request and returns the body of the response.
    ///
    /// # Errors
    /// If the status is not 200.
    fn send(&mut self, request: &[u8]) -> Result<Vec<u8>> {
        let Response { status, head, body } = self.exchange(request)?;
        ensure!(status == 200, "{head}{}", String::from_utf8_lossy(&body));
        Ok(body)
    }

    /// Sends a request and returns the response.
    pub(super) fn exchange(&mut self, request: &[u8]) -> Result<Response> {
        self.stream.write_all(request)?;
        let mut response = Vec::new();
        loop {
            let read = self.stream.read(&mut self.buffer)?;
            ensure!(read > 0, "the connection was closed");
            response.extend_from_slice(&self.buffer[..read]);
            let Some(start) =
                response.windows(4).position(|window| window == b"\r\n\r\n").map(|end| end + 4)
            else {
                continue;
            };
            let head = String::from_utf8_lossy(&response[..start]).to_ascii_lowercase();
            let length: usize = header(&head, "content-length").context("no length")?.parse()?;
            if response.len() >= start + length {
                let status = head.split(' ').nth(1).context("no status")?.parse()?;
                let body = response.split_off(start);
                return Ok(Response { status, head, body });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantile_is_one_of_the_values() {
        let times: Vec<_> = (1..=100).map(Duration::from_millis).collect();
        assert_eq!(quantile(&times, 0.5), Duration::from_millis(51));
        assert_eq!(quantile(&times, 0.99), Duration::from_millis(100));
        assert_eq!(quantile(&[], 0.5), Duration::ZERO);
    }

    #[test]
    fn header_is_found_by_its_whole_name() {
        let head = "http/1.1 503 unavailable\r\nx-retry-after: 9\r\nretry-after: 2\r\n\r\n";
        assert_eq!(header(head, "retry-after"), Some("2"));
        assert_eq!(header(head, "retry"), None);
    }
}
