//! The tokens that services call with: made, revoked and damaged while registryd runs.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![expect(dead_code, reason = "each test binary uses its part of the harness")]

mod common;

use std::time::Duration;

use common::{Server, start};
use registry_wiring::{Config, TokenRole, Tokens};

fn status(server: &Server, token: &str) -> u16 {
    server.get("/tenants").bearer_auth(token).send().unwrap().status().as_u16()
}

/// Asks until the answer is this one: registryd looks every two seconds.
fn until(server: &Server, token: &str, expected: u16) {
    for _ in 0..400 {
        if status(server, token) == expected {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("never {expected}: {}", server.log.lock().unwrap());
}

#[test]
fn a_token_works_once_it_is_made_and_no_more_once_it_is_revoked() {
    let data = tempfile::tempdir().unwrap();
    let config = Config { data: data.path().to_owned(), ..Config::default() };
    let server = start(data.path(), &[]);
    let token =
        Tokens::open_to_change(&config).unwrap().create("store", TokenRole::Service).unwrap();
    until(&server, token.expose(), 200);
    assert_eq!(status(&server, &server.token), 200, "the other goes on");

    let file = data.path().join("tokens.json");
    let kept = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, &kept[..kept.len() / 2]).unwrap();
    for _ in 0..400 {
        if server.log.lock().unwrap().contains("the tokens stay as they were") {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(server.log.lock().unwrap().contains("tokens.json is damaged"));
    assert_eq!(status(&server, token.expose()), 200);
    std::fs::write(&file, kept).unwrap();

    // A mailbox that is gone, and cannot be made, keeps no revoked token alive.
    std::fs::remove_dir_all(data.path().join("mailbox")).unwrap();
    std::fs::write(data.path().join("mailbox"), "").unwrap();
    let mut tokens = Tokens::open_to_change(&config).unwrap();
    tokens.revoke("store").unwrap();
    tokens.revoke("default").unwrap();
    until(&server, token.expose(), 401);
    until(&server, &server.token, 401);
    std::fs::remove_file(data.path().join("mailbox")).unwrap();
    let server = {
        drop(server);
        start(data.path(), &[])
    };
    assert_eq!(status(&server, &server.token), 401, "also after a restart");
    std::fs::remove_file(data.path().join("service-token")).unwrap();
    drop(server);
    let server = start(data.path(), &[]);
    assert_eq!(status(&server, &server.token), 200, "a new one was made");
}
