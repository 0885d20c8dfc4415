//! The license keys of a running service, and the example configuration for a fleet in the field.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![expect(dead_code, reason = "each test binary uses its part of the harness")]

mod common;

use std::path::Path;
use std::time::Duration;

use common::{Server, start, text};
use registry_wiring::{Algorithm, Config, LicenseKeys};
use serde_json::Value;

fn header(token: &Value) -> Value {
    part(token, 0)
}

fn part(token: &Value, index: usize) -> Value {
    use base64::Engine as _;
    let text = text(token);
    let part = text.split('.').nth(index).unwrap();
    serde_json::from_slice(&base64::prelude::BASE64_URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

fn keys(data: &Path) -> LicenseKeys {
    let data = data.to_str().unwrap().to_owned();
    let config =
        Config::load(None, |name| (name == "REGISTRY_DATA").then(|| data.clone())).unwrap();
    LicenseKeys::open(&config).unwrap()
}

/// Waits until the published keys are these.
fn published(server: &Server, expected: &[&str]) {
    let mut kids = Vec::new();
    for _ in 0..200 {
        let jwks: Value = server.get("/.well-known/jwks.json").send().unwrap().json().unwrap();
        kids = jwks["keys"].as_array().unwrap().iter().map(|key| text(&key["kid"])).collect();
        if kids == expected {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("published are {kids:?}, not {expected:?}: {}", server.log.lock().unwrap());
}

#[test]
fn a_running_service_takes_over_what_an_operator_does_to_the_keys() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), &[]);
    let signed_with = || {
        let (_, code) = server.register("Acme", "pro");
        text(&header(&server.redeem(&code).1["first_jwt"])["kid"])
    };
    let first = signed_with();
    let second = keys(data.path()).generate(Algorithm::Es256).unwrap();
    published(&server, &[&first, &second]);
    assert_eq!(signed_with(), first, "on standby it does not sign");
    let refused = keys(data.path()).activate(&second, false).unwrap_err().to_string();
    assert!(refused.contains("--force"), "{refused}");
    keys(data.path()).activate(&second, true).unwrap();
    for _ in 0..100 {
        if signed_with() == second {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(signed_with(), second);
    published(&server, &[&first, &second]);
    // What cannot be taken leaves the ring as it was.
    std::fs::write(data.path().join("keys/ring.json"), "{").unwrap();
    std::thread::sleep(Duration::from_millis(2_500));
    assert_eq!(signed_with(), second);
    assert!(server.log.lock().unwrap().contains("stay as they were"));
}

#[test]
fn it_does_not_start_with_a_key_that_does_not_fit_its_kid() {
    let data = tempfile::tempdir().unwrap();
    drop(start(data.path(), &[]));
    let kid = keys(data.path()).generate(Algorithm::EdDsa).unwrap();
    let folder = data.path().join("keys");
    std::fs::copy(folder.join("license.pem"), folder.join(format!("license-{kid}.pem"))).unwrap();
    let output = common::command(data.path(), &[]).output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && log.contains(&kid), "{log}");
}

#[test]
fn the_example_configuration_serves_a_fleet_in_the_field() {
    let data = tempfile::tempdir().unwrap();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/examples/fleet.toml");
    let mut command = common::command(data.path(), &[]);
    command.arg("--config").arg(&example);
    let server = common::start_with(command, data.path());
    let (tenant, code) = server.register("Acme", "premium");
    assert!(code.len() == 8 && !code.contains('-'), "{code}");
    let (status, body) = server.redeem(&code.to_lowercase());
    assert_eq!((status, &body["edition"]), (200, &serde_json::json!("pro")));
    assert_eq!(header(&body["first_jwt"])["alg"], "ES256");
    let claims = part(&body["first_jwt"], 1);
    assert_eq!(
        (&claims["iss"], &claims["aud"]),
        (&serde_json::json!("nineminds-license"), &serde_json::json!(tenant))
    );
    let days = (claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap()) / 86_400;
    assert_eq!(days, 31);
}
