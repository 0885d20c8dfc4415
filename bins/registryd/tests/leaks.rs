//! The leak scan: what is secret is searched in the log at its most talkative, in the database, and
//! in every refusal.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![expect(dead_code, reason = "each test binary uses its part of the harness")]

mod both;
mod common;
mod fleet;
mod outside;
mod pages;

use std::path::Path;
use std::time::Duration;

use both::{Environment, on_both_databases, with};
use common::{Server, start, text};
use outside::{Outside, wait_until};
use pages::{csrf, form, page};
use registry_wiring::TokenRole;
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
        tell(
            server
                .post("/register")
                .header("content-type", "application/json")
                .body(format!("{{{secret}")),
        );
        tell(server.get("/tenants").bearer_auth(secret));
        tell(server.get(&format!("/download/{secret}")));
        tell(server.get(&format!("/files/{secret}?signature={secret}")));
        tell(server.get(&format!("/register?claim_code={secret}")));
        tell(server.get(&format!("/{secret}")));
        tell(server.get(&format!("/portal/{secret}?cursor={secret}")));
        tell(server.get("/console").header("cookie", format!("registry-console={secret}")));
        tell(server.post(&format!("/portal/sign-in/{secret}x")));
        tell(server.post("/console/sign-in").form(&[("token", format!("{secret}x"))]));
    }
    tell(server.post("/register").json(&json!({ "claim_code": used, "appliance_id": "again" })));
    assert!(said.len() > 20);
    said
}

/// A customer at the portal and an operator at the console: a link, two sessions, the secret of a
/// form, and a token.
fn visits(server: &Server, outside: &Outside, data: &Path) -> Vec<String> {
    let operator = pages::token(data, "ann", TokenRole::Operator);
    form(server, "/portal/sign-in", "", &[("email", "acme@example.com")]);
    wait_until("the link", || outside.smtp.count() > 1);
    let raw = outside.smtp.received()[1].raw.clone();
    let link = raw.split_once("/portal/sign-in/").unwrap().1[..64].to_owned();
    let cookie = |path: &str, fields: &[(&str, &str)]| {
        let opened = form(server, path, "", fields);
        let cookie =
            opened.headers().get("set-cookie").map(|cookie| cookie.to_str().unwrap().to_owned());
        cookie.map(|cookie| cookie.split(';').next().unwrap().to_owned())
    };
    let customer = cookie(&format!("/portal/sign-in/{link}"), &[]).unwrap();
    wait_until("the operator's token", || {
        cookie("/console/sign-in", &[("token", &operator)]).is_some()
    });
    let console = cookie("/console/sign-in", &[("token", &operator)]).unwrap();
    let csrf = csrf(&page(server, "/portal", &customer).text().unwrap());
    for path in ["/console", "/console/mails", "/console/audit", "/console/silent"] {
        let shown = page(server, path, &console).text().unwrap();
        assert!(
            ![&link, &operator, &csrf].iter().any(|secret| shown.contains(secret.as_str())),
            "{path}: {shown}"
        );
    }
    // What is refused, or not there.
    form(server, &format!("/portal/sign-in/{link}"), "", &[]);
    form(server, "/portal/sign-out", &customer, &[("csrf", &operator)]);
    form(server, "/console/sign-out", &console, &[("csrf", &csrf)]);
    let secret = |cookie: String| cookie.split_once('=').unwrap().1.to_owned();
    vec![link, secret(customer), secret(console), csrf, operator]
}

/// Everything in the database, as text.
fn dump(data: &Path, environment: Environment) -> String {
    let Some((_, url)) = environment.iter().find(|(name, _)| *name == "REGISTRY_DATABASE_URL")
    else {
        let files = ["registry.db", "registry.db-wal"].iter();
        let bytes: Vec<u8> =
            files.flat_map(|name| std::fs::read(data.join(name)).unwrap_or_default()).collect();
        return String::from_utf8_lossy(&bytes).into_owned();
    };
    let sql = |query: &str| throwaway_postgres::sql(url, query).unwrap();
    let tables =
        sql("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'");
    tables
        .lines()
        .map(|table| sql(&format!("SELECT t::text FROM {table} t")))
        .collect::<Vec<_>>()
        .join("\n")
}

fn no_secret_is_in_a_log_a_database_or_a_refusal(environment: Environment) {
    let mut outside = Outside::start();
    let data = tempfile::tempdir().unwrap();
    let told = outside.environment(&["smtp", "s3"]);
    let told = with(environment, &outside::refs(&told));
    let talkative =
        with(&told, &[("REGISTRY_LOG_LEVEL", "trace"), ("REGISTRY_LOG_FORMAT", "json")]);
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
    let mut secrets = visits(&server, &outside, data.path());
    outside.smtp.stop();
    outside.s3.stop();
    let (_, reissued) = server.reissue(&tenant);
    let unused = text(&reissued["install_code"]);
    wait_until("a failure", || server.log.lock().unwrap().contains("no mail can be sent"));
    server.get("/readyz").send().unwrap();
    server.get(&link).send().unwrap();

    let guess = "K7QP-M2RX-9TDV".to_owned();
    secrets.extend([server.token.clone(), credential, text(&redeemed["first_jwt"])]);
    secrets
        .extend([outside::PASSWORD, outside::S3_KEY, "wrong-token-wrong-token"].map(str::to_owned));
    for code in [&code, &quoted, &unused, &guess] {
        secrets.extend([code.clone(), code.replace('-', "")]);
    }
    secrets.push(link.rsplit('/').next().unwrap().to_owned());
    secrets.push(led.split_once("X-Amz-Signature=").unwrap().1.to_owned());
    for file in ["keys/master.key", "keys/license.pem", "keys/release.pem"] {
        let text = std::fs::read_to_string(data.path().join(file)).unwrap();
        secrets.extend(text.lines().filter(|line| !line.starts_with("---")).map(str::to_owned));
    }
    let visited: Vec<String> = secrets[..5].to_vec();
    let mut sent: Vec<&str> =
        [&guess, &unused, "wrong-token-wrong-token"].iter().map(|it| it.trim()).collect();
    sent.extend(visited.iter().map(String::as_str));
    let said = refusals(&server, &sent, &code);
    outside.smtp.resume().unwrap();
    outside::until_all_are_sent(data.path(), &told);
    std::thread::sleep(Duration::from_millis(300));

    let log = server.log.lock().unwrap().clone();
    assert!(
        log.contains("\"path\":\"/register\"") && log.contains("mail given up"),
        "there is a log to search"
    );
    server.kill();
    let database = dump(data.path(), environment);
    assert!(database.contains("acme@example.com"), "there is a database to search");
    let said = said.join("\n");
    for secret in &secrets {
        assert!(!log.contains(secret), "a secret is in the log: {}", around(&log, secret));
        assert!(
            !database.contains(secret),
            "a secret is in the database: {}",
            around(&database, secret)
        );
        let hex = registry_core::entropy::hex(secret.as_bytes());
        assert!(!database.contains(&hex), "a secret is in the database");
        assert!(!said.contains(secret), "a secret is in an answer: {}", around(&said, secret));
    }
    assert_eq!(
        outside.smtp.received().len(),
        3,
        "the first mail, the link to sign in, and the re-issued one"
    );
}

/// Where it is.
fn around<'a>(text: &'a str, secret: &str) -> std::borrow::Cow<'a, str> {
    let at = text.find(secret).unwrap_or_default();
    String::from_utf8_lossy(&text.as_bytes()[at.saturating_sub(300)..(at + 300).min(text.len())])
}
