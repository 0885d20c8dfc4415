//! Service tokens that are created, revoked and damaged while registryd runs.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![expect(dead_code, reason = "each test binary uses its part of the harness")]

mod common;

use common::{Server, start, wait_for};
use registry_wiring::{Config, TokenRole, Tokens};

fn status(server: &Server, token: &str) -> u16 {
    server.get("/tenants").bearer_auth(token).send().unwrap().status().as_u16()
}

/// Waits until requests with this token get this status: registryd reads the file every two
/// seconds.
fn wait_for_status(server: &Server, token: &str, expected: u16) {
    wait_for(&format!("status {expected}"), || match status(server, token) {
        status if status == expected => Ok(()),
        status => Err(format!("{status}: {}", server.log.lock().unwrap())),
    });
}

/// R-bearer-2.
#[test]
fn token_works_from_creation_to_revocation() {
    let data = tempfile::tempdir().unwrap();
    let config = Config { data: data.path().to_owned(), ..Config::default() };
    let server = start(data.path(), &[]);
    let token =
        Tokens::open_to_change(&config).unwrap().create("store", TokenRole::Service).unwrap();
    wait_for_status(&server, token.expose(), 200);
    assert_eq!(status(&server, &server.token), 200, "the first token still works");

    let file = data.path().join("tokens.json");
    let intact = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, &intact[..intact.len() / 2]).unwrap();
    server.wait_for_log("the tokens stay as they were");
    assert!(server.log.lock().unwrap().contains("tokens.json is damaged"));
    assert_eq!(status(&server, token.expose()), 200);
    std::fs::write(&file, intact).unwrap();

    // A revocation takes effect even if the mailbox is gone and cannot be created.
    std::fs::remove_dir_all(data.path().join("mailbox")).unwrap();
    std::fs::write(data.path().join("mailbox"), "").unwrap();
    let mut tokens = Tokens::open_to_change(&config).unwrap();
    tokens.revoke("store").unwrap();
    tokens.revoke("default").unwrap();
    wait_for_status(&server, token.expose(), 401);
    wait_for_status(&server, &server.token, 401);
    std::fs::remove_file(data.path().join("mailbox")).unwrap();
    drop(server);
    let server = start(data.path(), &[]);
    assert_eq!(status(&server, &server.token), 401, "also after a restart");
    drop(server);
    std::fs::remove_file(data.path().join("service-token")).unwrap();
    let server = start(data.path(), &[]);
    assert_eq!(status(&server, &server.token), 200, "a new token was created");
}
