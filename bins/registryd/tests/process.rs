//! The process: what it prints, what survives its end, how it stops, what it refuses to start with;
//! and what never leaves it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![expect(dead_code, reason = "each test binary uses its part of the harness")]

mod common;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use common::{command, start, text};

#[test]
fn it_says_where_everything_is() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), &[]);
    for _ in 0..100 {
        if server.log.lock().unwrap().contains("API to try") {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let log = server.log.lock().unwrap().clone();
    let data = data.path().canonicalize().unwrap();
    for part in ["mailbox", "service-token"] {
        assert!(log.contains(&*data.join(part).to_string_lossy()), "{part}: {log}");
    }
}

#[test]
fn what_was_answered_survives_a_power_cut() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), &[]);
    let token = server.token.clone();
    let (used_tenant, used) = server.register("Used", "pro");
    assert_eq!(server.redeem(&used).0, 200);
    let issued: Vec<_> =
        (0..20).map(|number| server.register(&format!("Company{number}"), "pro")).collect();
    server.kill();

    let server = start(data.path(), &[]);
    assert_eq!(server.token, token);
    assert_eq!(server.redeem(&used).0, 409);
    assert_eq!(server.look(&format!("/tenants/{used_tenant}")).1["tenant"]["status"], "installed");
    for (tenant, code) in &issued {
        let (status, body) = server.redeem(code);
        assert_eq!((status, &text(&body["tenant_id"])), (200, tenant));
    }
    server.mails(21);
}

#[test]
fn at_sigterm_requests_in_flight_finish_and_no_more_are_taken() {
    let data = tempfile::tempdir().unwrap();
    let mut server = start(data.path(), &[]);
    let (_, code) = server.register("Acme", "pro");
    let address = server.url.strip_prefix("http://").unwrap().to_owned();
    let body = format!("{{\"claim_code\": \"{code}\", \"appliance_id\": \"a\"}}");
    let mut flight = TcpStream::connect(&address).unwrap();
    let head =
        format!("POST /register HTTP/1.1\r\nhost: here\r\ncontent-length: {}\r\n\r\n", body.len());
    flight.write_all(head.as_bytes()).unwrap();
    flight.write_all(&body.as_bytes()[..10]).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    server.terminate();
    std::thread::sleep(Duration::from_millis(200));
    assert!(TcpStream::connect(&address).is_err(), "it takes no more connections");
    flight.write_all(&body.as_bytes()[10..]).unwrap();
    let mut answered = String::new();
    flight.read_to_string(&mut answered).unwrap();
    assert!(answered.starts_with("HTTP/1.1 200") && answered.contains("first_jwt"), "{answered}");
    assert!(server.ended());
}

#[test]
fn two_processes_that_start_at_once_on_a_new_folder_share_their_secrets() {
    let data = tempfile::tempdir().unwrap();
    let data = data.path().join("data");
    let servers: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..3).map(|_| scope.spawn(|| start(&data, &[]))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let (_, code) = servers[0].register("Acme", "pro");
    assert_eq!(servers[1].redeem(&code).0, 200);
    assert_eq!(servers[2].redeem(&code).0, 409);
}

#[test]
fn it_does_not_start_half_configured_and_names_the_key() {
    let data = tempfile::tempdir().unwrap();
    for (environment, part) in [
        (("REGISTRY_PUBLIC_URL", "registry.example"), "public_url"),
        (("REGISTRY_CODES_LENGTH", "7"), "codes.length"),
        (("REGISTRY_CODES_LIFETIME", "soon"), "lifetime"),
        (("REGISTRY_LICENSE_KEY_FILE", "/nowhere/key.pem"), "/nowhere/key.pem"),
        (("REGISTRY_MAIL_FROM", "nobody"), "mail.from"),
        (("REGISTRY_CONFIG", "/nowhere.toml"), "/nowhere.toml"),
        (("REGISTRY_PRODUCTS", "[]"), "products"),
        (("REGISTRY_LOG_LEVEL", "info,=foo"), "log.level"),
        (("REGISTRY_LOG_LEVEL", "garbage"), "log.level"),
        (("REGISTRY_BRANDING_PRODUCT", "a\r\nBcc: x@example.com"), "branding.product"),
        (("REGISTRY_HTTP_SOURCE_HEADER", "not a header"), "http.source_header"),
    ] {
        let output = command(data.path(), &[environment]).output().unwrap();
        let log = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && output.stdout.is_empty(), "{environment:?}");
        assert!(log.contains(part), "{environment:?}: {log}");
    }
}
