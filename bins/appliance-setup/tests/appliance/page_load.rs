//! Many and slow connections to the first-boot page.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use crate::machine::{Machine, UNREACHABLE_URL};
use crate::page::Page;

/// Reads a response to its end. No pause in it may be longer than this number of seconds.
fn read(stream: &mut TcpStream, seconds: u64) -> String {
    stream.set_read_timeout(Some(Duration::from_secs(seconds))).unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    response
}

#[test]
fn idle_connections_block_nobody() {
    let machine = Machine::new();
    let page = Page::serve(&machine, UNREACHABLE_URL, &["--output", &machine.file("out")]);
    let connect = || TcpStream::connect(&page.address).unwrap();
    let half_sent = || {
        let mut stream = connect();
        let half = "POST /token HTTP/1.1\r\nhost: setup\r\ncontent-length: 20\r\n\
                    content-type: application/x-www-form-urlencoded\r\n\r\ntoken=";
        stream.write_all(half.as_bytes()).unwrap();
        stream
    };
    let stalled: Vec<_> = std::iter::repeat_with(half_sent).take(80).collect();
    let idle: Vec<_> = std::iter::repeat_with(connect).take(300).collect();
    let mut stream = connect();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: setup\r\n\r\n").unwrap();
    let response = read(&mut stream, 2);
    assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
    drop((stalled, idle));
    // A body that does not arrive ends its connection with a response.
    let response = read(&mut half_sent(), 30);
    assert!(response.starts_with("HTTP/1.1 408 "), "{response}");
    assert!(response.contains("x-frame-options: DENY"), "{response}");
}
