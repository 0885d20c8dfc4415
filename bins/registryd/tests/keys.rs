//! The license keys of a running service, and the example configuration for a fleet in the field.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![expect(dead_code, reason = "each test binary uses its part of the harness")]

mod common;

use std::path::Path;

use appliance_license::{SignedKeySet, TrustedKeys};
use common::calls::{token_claims, token_header};
use common::{Server, start, text, wait_for};
use registry_wiring::{Algorithm, Config, LicenseKeys};
use serde_json::{Value, json};

fn keys(data: &Path) -> LicenseKeys {
    let data = data.to_str().unwrap().to_owned();
    let config =
        Config::load(None, |name| (name == "REGISTRY_DATA").then(|| data.clone())).unwrap();
    LicenseKeys::open(&config).unwrap()
}

/// Waits until the published keys are these.
fn wait_until_published(server: &Server, expected: &[&str]) {
    wait_for(&format!("the published keys {expected:?}"), || {
        let jwks: Value = server.get("/.well-known/jwks.json").send().unwrap().json().unwrap();
        let keys = jwks["keys"].as_array().unwrap();
        let kids: Vec<String> = keys.iter().map(|key| text(&key["kid"])).collect();
        if kids == expected {
            return Ok(());
        }
        Err(format!("{kids:?}: {}", server.log.lock().unwrap()))
    });
}

/// R-jwks-1, R-jwks-2: a key is published before it signs, under the `kid` of its tokens, and stays
/// published afterwards.
#[test]
fn running_service_reloads_keys() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), &[]);
    let signing_kid = || {
        let (_, code) = server.register("Acme", "pro");
        text(&token_header(&server.redeem(&code).1["first_jwt"])["kid"])
    };
    let first = signing_kid();
    let second = keys(data.path()).generate(Algorithm::Es256).unwrap();
    wait_until_published(&server, &[&first, &second]);
    assert_eq!(signing_kid(), first, "a standby key does not sign");
    let refused = keys(data.path()).activate(&second, false).unwrap_err().to_string();
    assert!(refused.contains("--force"), "{refused}");
    keys(data.path()).activate(&second, true).unwrap();
    wait_for("the second key to sign", || {
        let kid = signing_kid();
        if kid == second { Ok(()) } else { Err(kid) }
    });
    wait_until_published(&server, &[&first, &second]);
    // A damaged file leaves the ring unchanged.
    std::fs::write(data.path().join("keys/ring.json"), "{").unwrap();
    server.wait_for_log("stay as they were");
    assert_eq!(signing_kid(), second);
}

/// Returns the published set that this key signed.
fn set_signed_with(published: &Value, kid: &str) -> Option<SignedKeySet> {
    let keys = published["keys"].as_array().unwrap();
    let key = keys.iter().find(|key| key["kid"] == kid).unwrap();
    let trusted = TrustedKeys::from_jwks(&json!({ "keys": [key] }).to_string()).unwrap();
    trusted.successor(&published.to_string(), "appliance-registry")
}

/// R-jwks-2, R-jwks-3.
#[test]
fn every_published_key_signs_the_set() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), &[]);
    let published =
        || -> Value { server.get("/.well-known/jwks.json").send().unwrap().json().unwrap() };
    let first = text(&published()["keys"][0]["kid"]);
    let second = keys(data.path()).generate(Algorithm::Es256).unwrap();
    keys(data.path()).activate(&second, true).unwrap();
    wait_until_published(&server, &[&first, &second]);
    let rotated = published();
    for kid in [&first, &second] {
        let set = set_signed_with(&rotated, kid).unwrap();
        assert_eq!(set.keys.kids().collect::<Vec<_>>(), [&*first, &*second], "{kid}");
    }
    assert_eq!(rotated["signatures"].as_array().unwrap().len(), 2);
    let refused = keys(data.path()).revoke(&second).unwrap_err().to_string();
    assert!(refused.contains("is the active one"), "{refused}");
    keys(data.path()).revoke(&first).unwrap();
    wait_until_published(&server, &[&second]);
    let revoked = published();
    assert_eq!(revoked["signatures"].as_array().unwrap().len(), 1);
    let set = set_signed_with(&revoked, &second).unwrap();
    assert_eq!(set.keys.kids().collect::<Vec<_>>(), [&*second]);
}

#[test]
fn key_with_wrong_kid_prevents_start() {
    let data = tempfile::tempdir().unwrap();
    drop(start(data.path(), &[]));
    let kid = keys(data.path()).generate(Algorithm::EdDsa).unwrap();
    let folder = data.path().join("keys");
    std::fs::copy(folder.join("license.pem"), folder.join(format!("license-{kid}.pem"))).unwrap();
    let output = common::command(data.path(), &[]).output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && log.contains(&kid), "{log}");
}

/// R-license-4: the fleet's licenses are ES256. R-tenants-1: the list has no edition and no tier
/// but those that its console knows. R-check-in-7, R-codes-2.
#[test]
fn example_configuration_serves_fleet() {
    let data = tempfile::tempdir().unwrap();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/examples/fleet.toml");
    let mut command = common::command(data.path(), &[]);
    command.arg("--config").arg(&example);
    let server = common::start_with(command, data.path());
    let (tenant, code) = server.register("Acme", "premium");
    assert!(code.len() == 8 && !code.contains('-'), "{code}");
    let (status, body) = server.redeem(&code.to_lowercase());
    assert_eq!((status, &body["edition"]), (200, &json!("pro")));
    assert_eq!(token_header(&body["first_jwt"])["alg"], "ES256");
    let claims = token_claims(&body["first_jwt"]);
    assert_eq!((&claims["iss"], &claims["aud"]), (&json!("nineminds-license"), &json!(tenant)));
    let days = (claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap()) / 86_400;
    assert_eq!(days, 31);
    let shown = server.get_as_service(&format!("/tenants/{tenant}")).1;
    assert_eq!(shown["tenant"]["product_code"], "psa", "a request that names no product");
    let request = json!({
        "company_name": "Bolt", "contact_email": "bolt@example.com", "edition": "essentials",
        "product_code": "algadesk",
    });
    assert_eq!(server.post_as_service("/register-tenant", &request).0, 200);
    let page = server.get("/signup").send().unwrap().text().unwrap();
    assert!(page.contains(">algadesk</option>"), "two products to choose from: {page}");
    let listed = server.get_as_service("/tenants").1;
    let editions: Vec<_> = listed["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| (item["edition"].clone(), item["tier"].clone()))
        .collect();
    assert_eq!(editions, [(json!("essentials"), Value::Null), (json!("pro"), json!("pro"))]);
}
