//! The process: what it prints, what survives its end, how it stops, and what it refuses to start
//! with.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![expect(dead_code, reason = "each test binary uses its part of the harness")]

mod common;
mod fleet;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use common::{command, start, text, wait_for};

#[test]
fn start_logs_where_everything_is() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), &[]);
    let data = data.path().canonicalize().unwrap();
    for name in ["mailbox", "service-token"] {
        server.wait_for_log(&data.join(name).to_string_lossy());
    }
    server.wait_for_log("API to try");
}

#[test]
fn hostile_text_is_logged_without_controls() {
    let data = tempfile::tempdir().unwrap();
    let hostile = "\u{1b}]0;x\u{7}\u{9b}2J\u{202e}";
    let variable = format!("REGISTRY_{hostile}");
    for (format, escaped) in [
        ("human", "\\u{1b}]0;x\\u{7}\\u{9b}2J\\u{202e}"),
        ("json", "\\u001b]0;x\\u0007\\u009b2J\\u202e"),
    ] {
        let server = start(data.path(), &[("REGISTRY_LOG_FORMAT", format), (&variable, "x")]);
        let mut request = TcpStream::connect(server.url.strip_prefix("http://").unwrap()).unwrap();
        let head = "GET /\u{9b}2J\u{202e} HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\
                    x-request-id: \u{9b}2J\u{202e}-1\r\nuser-agent: \u{9b}2J\u{202e}\r\n\r\n";
        request.write_all(head.as_bytes()).unwrap();
        let mut response = Vec::new();
        request.read_to_end(&mut response).unwrap();
        assert!(response.starts_with(b"HTTP/1.1 4"), "{}", String::from_utf8_lossy(&response));
        let log = server.stop();
        assert!(log.contains(escaped), "{format}: {log:?}");
        let is_raw = |c: char| c == '\u{202e}' || (c != '\n' && c.is_control());
        assert!(!log.contains(is_raw), "{format}: {log:?}");
    }
}

/// R-register-20.
#[test]
fn answered_changes_survive_power_cut() {
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
    let shown = server.get_as_service(&format!("/tenants/{used_tenant}")).1;
    assert_eq!(shown["tenant"]["status"], "installed");
    for (tenant, code) in &issued {
        let (status, body) = server.redeem(code);
        assert_eq!((status, &text(&body["tenant_id"])), (200, tenant));
    }
    server.mails(21);
}

/// R-register-20, R-register-tenant-1: registryd is killed again and again under load.
#[test]
fn confirmed_changes_survive_kills_on_sqlite() {
    let data = tempfile::tempdir().unwrap();
    let database = data.path().join("registry.db");
    fleet::survive_kills(data.path(), database.to_str().unwrap(), &[]);
}

#[test]
fn sigterm_finishes_requests_in_flight() {
    let data = tempfile::tempdir().unwrap();
    let mut server = start(data.path(), &[]);
    let (_, code) = server.register("Acme", "pro");
    let address = server.url.strip_prefix("http://").unwrap().to_owned();
    let body = format!("{{\"claim_code\": \"{code}\", \"appliance_id\": \"a\"}}");
    let mut in_flight = TcpStream::connect(&address).unwrap();
    let head =
        format!("POST /register HTTP/1.1\r\nhost: here\r\ncontent-length: {}\r\n\r\n", body.len());
    in_flight.write_all(head.as_bytes()).unwrap();
    in_flight.write_all(&body.as_bytes()[..10]).unwrap();
    wait_for("the request to be in flight", || {
        let metrics = server.get("/metrics").send().unwrap().text().unwrap();
        // This request and the one for the metrics.
        match metrics.lines().find(|line| line.starts_with("registry_http_requests_in_flight ")) {
            Some("registry_http_requests_in_flight 2") => Ok(()),
            line => Err(format!("{line:?}")),
        }
    });
    server.terminate();
    server.wait_until_closed();
    in_flight.write_all(&body.as_bytes()[10..]).unwrap();
    let mut response = String::new();
    in_flight.read_to_string(&mut response).unwrap();
    assert!(response.starts_with("HTTP/1.1 200") && response.contains("first_jwt"), "{response}");
    assert!(server.ended());
}

#[test]
fn concurrent_first_starts_share_secrets() {
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

/// R-codes-2: the length of codes is a setting from 8 to 32. R-general-2: no path before the paths.
#[test]
fn bad_setting_is_named_at_start() {
    let data = tempfile::tempdir().unwrap();
    for (environment, part) in [
        (("REGISTRY_PUBLIC_URL", "registry.example"), "public_url"),
        (("REGISTRY_PUBLIC_URL", "https://registry.example/path"), "public_url"),
        (("REGISTRY_CODES_LENGTH", "7"), "codes.length"),
        (("REGISTRY_CODES_LENGTH", "33"), "codes.length"),
        (("REGISTRY_CODES_LIFETIME", "soon"), "REGISTRY_CODES_LIFETIME"),
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
