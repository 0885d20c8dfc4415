//! Connections as load balancers, slow clients and half-closed sockets use them.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![expect(dead_code, reason = "each test binary uses its part of the harness")]
#![expect(clippy::disallowed_methods, reason = "the test measures real time")]

mod common;

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use common::{Server, start, wait_for};

const HEALTH: &str = "GET /healthz HTTP/1.1\r\nhost: here\r\n\r\n";

fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.url.strip_prefix("http://").unwrap()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// Sends a request, and returns the beginning of the response.
fn ask(stream: &mut TcpStream, request: &str) -> String {
    stream.write_all(request.as_bytes()).unwrap();
    let mut buffer = [0; 4096];
    let read = stream.read(&mut buffer).unwrap();
    String::from_utf8_lossy(&buffer[..read]).into_owned()
}

/// Returns how long the server keeps a connection open on which nothing is sent.
fn closed_after(stream: &mut TcpStream) -> Duration {
    let begun = Instant::now();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    begun.elapsed()
}

#[test]
fn idle_connection_outlives_slow_head() {
    let data = tempfile::tempdir().unwrap();
    let limits = [("REGISTRY_HTTP_READ_TIMEOUT", "500ms"), ("REGISTRY_HTTP_KEEP_ALIVE", "3s")];
    let server = start(data.path(), &limits);
    let mut idle = connect(&server);
    assert!(ask(&mut idle, HEALTH).starts_with("HTTP/1.1 200"));
    let mut slow = connect(&server);
    slow.write_all(&HEALTH.as_bytes()[..20]).unwrap();
    let closed = closed_after(&mut slow);
    assert!(closed < Duration::from_secs(2), "half a head was kept for {closed:?}");
    std::thread::sleep(Duration::from_millis(1_500));
    assert!(
        ask(&mut idle, HEALTH).starts_with("HTTP/1.1 200"),
        "idle for longer than a head may take"
    );
    let closed = closed_after(&mut idle);
    assert!(closed > Duration::from_secs(2) && closed < Duration::from_secs(6), "{closed:?}");
}

#[test]
fn half_closed_request_is_answered() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), &[]);
    for number in 0..20 {
        let body = format!(
            r#"{{"company_name":"C{number}","contact_email":"c@example.com","edition":"pro"}}"#
        );
        let mut stream = connect(&server);
        let head = format!(
            "POST /register-tenant HTTP/1.1\r\nhost: here\r\nauthorization: Bearer {}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n",
            server.token,
            body.len()
        );
        stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        assert!(response.starts_with("HTTP/1.1 200"), "request {number}: {response}");
    }
    server.mails(20);
}

/// RFC 9112, section 3.2.
#[test]
fn request_needs_one_host() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), &[]);
    for (request, status) in [
        ("GET /healthz HTTP/1.1\r\n\r\n", "400"),
        ("GET /healthz HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", "400"),
        ("GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n", "200"),
        ("GET /healthz HTTP/1.0\r\n\r\n", "200"),
    ] {
        let response = ask(&mut connect(&server), request);
        assert_eq!(response.split(' ').nth(1), Some(status), "{request:?}: {response}");
    }
}

/// A connection from another address of this machine.
fn connect_from(server: &Server, address: [u8; 4]) -> std::io::Result<TcpStream> {
    use socket2::{Domain, Socket, Type};
    let to: SocketAddr = server.url.strip_prefix("http://").unwrap().parse().unwrap();
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((address, 0)).into()).unwrap();
    socket.connect(&to.into())?;
    Ok(socket.into())
}

#[test]
fn one_source_cannot_take_all_connections() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), &[("REGISTRY_HTTP_CONNECTIONS", "8")]);
    let silent: Vec<_> =
        (0..40).filter_map(|_| connect_from(&server, [127, 0, 0, 66]).ok()).collect();
    let begun = Instant::now();
    for _ in 0..5 {
        assert!(ask(&mut connect(&server), HEALTH).starts_with("HTTP/1.1 200"));
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    server.wait_for_log("its share");
    drop(silent);
    // Idle connections of several sources that fill all places are closed for a new one.
    let idle: Vec<_> = (1..=12)
        .map(|number| {
            let mut stream = connect_from(&server, [127, 0, 1, number]).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            assert!(ask(&mut stream, HEALTH).starts_with("HTTP/1.1 200"), "source {number}");
            stream
        })
        .collect();
    assert!(ask(&mut connect(&server), HEALTH).starts_with("HTTP/1.1 200"));
    drop(idle);
}

#[test]
fn sigterm_turns_load_balancers_away_first() {
    let data = tempfile::tempdir().unwrap();
    let mut server = start(data.path(), &[("REGISTRY_HTTP_DRAIN_DELAY", "2s")]);
    let mut open = connect(&server);
    assert!(ask(&mut open, HEALTH).starts_with("HTTP/1.1 200"));
    server.terminate();
    let begun = Instant::now();
    wait_for("a 503 of /readyz", || {
        match server.get("/readyz").send().unwrap().status().as_u16() {
            503 => Ok(()),
            status => Err(status.to_string()),
        }
    });
    let response = ask(&mut open, HEALTH);
    assert!(response.starts_with("HTTP/1.1 200"), "requests are still served: {response}");
    assert!(response.to_ascii_lowercase().contains("connection: close"), "{response}");
    let (tenant, _) = server.register("Acme", "pro");
    assert!(!tenant.is_empty());
    assert!(server.ended());
    assert!(begun.elapsed() >= Duration::from_millis(1_500), "{:?}", begun.elapsed());
}
