//! The leak scan: what is secret is searched in the log at its most talkative, in the database, and in every refusal.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![expect(dead_code, reason = "each test binary uses its part of the harness")]

mod both;
mod common;
mod fleet;
mod outside;

use std::path::Path;
use std::time::Duration;

use both::{Environment, on_both_databases, with};
use common::{Server, start, text};
use outside::{Outside, wait_until};
use serde_json::json;

on_both_databases!(no_secret_is_in_a_log_a_database_or_a_refusal);

/// Calls that are refused, or fail: their answers.
fn refusals(server: &Server, secrets: &[&str], used: &str) -> Vec<String> {
    let mut said = Vec::new();
    let mut tell = |call: reqwest::blocking::RequestBuilder| {
        let answer = call.send().unwrap();
        if answer.status().as_u16() >= 400 {
            said.push(answer.text().unwrap());
        }
    };
    for secret in secrets {
        let odd = [
            json!({ "claim_code": { "nested": secret }, "appliance_id": 7 }),
            json!({ "claim_code": secret, "appliance_id": secret }),
            json!({ "claim_code": secret, "appliance_id": "a", "tenant_id": secret }),
            json!({ "appliance_credential": { "x": secret } }),
            json!({ "appliance_credential": secret, "current_license_sub": 7 }),
            json!([secret]),
        ];
        for body in &odd {
            tell(server.post("/register").json(body));
            tell(server.post("/check-in").json(body));
            tell(server.post("/verify-appliance").bearer_auth(&server.token).json(body));
        }
        tell(server.post("/register").header("content-type", "application/json").body(format!("{{{secret}")));
        tell(server.get("/tenants").bearer_auth(secret));
        tell(server.get(&format!("/download/{secret}")));
        tell(server.get(&format!("/files/{secret}?signature={secret}")));
        tell(server.get(&format!("/register?claim_code={secret}")));
        tell(server.get(&format!("/{secret}")));
    }
    tell(server.post("/register").json(&json!({ "claim_code": used, "appliance_id": "again" })));
    assert!(said.len() > 20);
    said
}

/// Everything in the database, as text.
fn dump(data: &Path, environment: Environment) -> String {
    let Some((_, url)) = environment.iter().find(|(name, _)| *name == "REGISTRY_DATABASE_URL") else {
        let files = ["registry.db", "registry.db-wal"].iter();
        let bytes: Vec<u8> = files.flat_map(|name| std::fs::read(data.join(name)).unwrap_or_default()).collect();
        return String::from_utf8_lossy(&bytes).into_owned();
    };
    let sql = |query: &str| throwaway_postgres::sql(url, query).unwrap();
    let tables = sql("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'");
    tables.lines().map(|table| sql(&format!("SELECT t::text FROM {table} t"))).collect::<Vec<_>>().join("\n")
}

fn no_secret_is_in_a_log_a_database_or_a_refusal(environment: Environment) {
    let mut outside = Outside::start();
    let data = tempfile::tempdir().unwrap();
    let told = outside.environment(&["smtp", "s3"]);
    let told = with(environment, &outside::refs(&told));
    let talkative = with(&told, &[("REGISTRY_LOG_LEVEL", "trace"), ("REGISTRY_LOG_FORMAT", "json")]);
    let server = start(data.path(), &talkative);
    outside::publish(data.path(), &told, b"the image");

    // A customer's whole way, with the mail server down, refusing, and quoting what it refuses.
    let (tenant, code) = server.register("Acme", "pro");
    let register = |email: &str| {
        let body = json!({ "company_name": "Bolt", "contact_email": email, "edition": "pro" });
        text(&server.service("/register-tenant", &body).1["install_code"])
    };
    let quoted = register("quoting@example.com");
    wait_until("the first mail", || outside.smtp.count() > 0);
    let link = outside::download_path(&outside.smtp.received()[0].raw);
    let led = server.get(&link).send().unwrap().headers()["location"].to_str().unwrap().to_owned();
    let (_, redeemed) = server.redeem(&code);
    let credential = text(&redeemed["appliance_credential"]);
    server.check_in(&credential);
    outside.smtp.stop();
    outside.s3.stop();
    let (_, reissued) = server.reissue(&tenant);
    let unused = text(&reissued["install_code"]);
    wait_until("a failure", || server.log.lock().unwrap().contains("no mail can be sent"));
    server.get("/readyz").send().unwrap();
    server.get(&link).send().unwrap();

    let guess = "K7QP-M2RX-9TDV".to_owned();
    let mut secrets = vec![server.token.clone(), credential, text(&redeemed["first_jwt"])];
    secrets.extend([outside::PASSWORD, outside::S3_KEY, "wrong-token-wrong-token"].map(str::to_owned));
    for code in [&code, &quoted, &unused, &guess] {
        secrets.extend([code.clone(), code.replace('-', "")]);
    }
    secrets.push(link.rsplit('/').next().unwrap().to_owned());
    secrets.push(led.split_once("X-Amz-Signature=").unwrap().1.to_owned());
    for file in ["keys/master.key", "keys/license.pem", "keys/release.pem"] {
        let text = std::fs::read_to_string(data.path().join(file)).unwrap();
        secrets.extend(text.lines().filter(|line| !line.starts_with("---")).map(str::to_owned));
    }
    let sent: Vec<&str> = [&guess, &unused, "wrong-token-wrong-token"].iter().map(|it| it.trim()).collect();
    let said = refusals(&server, &sent, &code);
    outside.smtp.resume().unwrap();
    outside::until_all_are_sent(data.path(), &told);
    std::thread::sleep(Duration::from_millis(300));

    let log = server.log.lock().unwrap().clone();
    assert!(log.contains("\"path\":\"/register\"") && log.contains("mail given up"), "there is a log to search");
    server.kill();
    let database = dump(data.path(), environment);
    assert!(database.contains("acme@example.com"), "there is a database to search");
    let said = said.join("\n");
    for secret in &secrets {
        assert!(!log.contains(secret), "a secret is in the log: {}", around(&log, secret));
        assert!(!database.contains(secret), "a secret is in the database: {}", around(&database, secret));
        let hex = registry_core::entropy::hex(secret.as_bytes());
        assert!(!database.contains(&hex), "a secret is in the database");
        assert!(!said.contains(secret), "a secret is in an answer: {}", around(&said, secret));
    }
    assert_eq!(outside.smtp.received().len(), 2, "the first mail, and the re-issued one");
}

/// Where it is.
fn around<'a>(text: &'a str, secret: &str) -> std::borrow::Cow<'a, str> {
    let at = text.find(secret).unwrap_or_default();
    String::from_utf8_lossy(&text.as_bytes()[at.saturating_sub(300)..(at + 300).min(text.len())])
}
