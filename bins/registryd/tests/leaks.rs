//! The leak scan: searches the most verbose log, the database, and error responses for secrets.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![expect(dead_code, reason = "each test binary uses its part of the harness")]

mod common;
mod databases;
mod external;
mod fleet;
mod leak_scan;
mod pages;

use std::path::Path;

use common::{Server, start, text};
use databases::{Environment, on_both_databases, with};
use external::{ExternalServers, as_refs, wait_until, wait_until_mails_are_settled};
use pages::{CONSOLE_LISTS, csrf, form, page};
use registry_wiring::{Config, TokenRole};
use reqwest::blocking::RequestBuilder;
use serde_json::json;

on_both_databases!(secrets_stay_secret);

/// Sends requests with secrets in wrong places, and returns the error responses.
fn error_responses(server: &Server, secrets: &[&str], used: &str) -> Vec<String> {
    let mut errors = Vec::new();
    let mut send = |call: RequestBuilder| {
        let response = call.send().unwrap();
        if response.status().as_u16() >= 400 {
            errors.push(response.text().unwrap());
        }
    };
    for secret in secrets {
        let bodies = [
            json!({ "claim_code": { "nested": secret }, "appliance_id": 7 }),
            json!({ "claim_code": secret, "appliance_id": secret }),
            json!({ "claim_code": secret, "appliance_id": "a", "tenant_id": secret }),
            json!({ "appliance_credential": { "x": secret } }),
            json!({ "appliance_credential": secret, "current_license_sub": 7 }),
            json!([secret]),
        ];
        for body in &bodies {
            send(server.post("/register").json(body));
            send(server.post("/check-in").json(body));
            send(server.post("/verify-appliance").bearer_auth(&server.token).json(body));
        }
        send(
            server
                .post("/register")
                .header("content-type", "application/json")
                .body(format!("{{{secret}")),
        );
        send(server.get("/tenants").bearer_auth(secret));
        send(server.get(&format!("/download/{secret}")));
        send(server.get(&format!("/files/{secret}?signature={secret}")));
        send(server.get(&format!("/register?claim_code={secret}")));
        send(server.get(&format!("/{secret}")));
        send(server.get(&format!("/portal/{secret}?cursor={secret}")));
        send(server.get("/console").header("cookie", format!("registry-console={secret}")));
        send(server.post(&format!("/portal/sign-in/{secret}x")));
        send(server.post("/console/sign-in").form(&[("token", format!("{secret}x"))]));
    }
    send(server.post("/register").json(&json!({ "claim_code": used, "appliance_id": "again" })));
    assert!(errors.len() > 20);
    errors
}

/// A customer signs in to the portal and an operator to the console. Returns their secrets: the
/// link, both sessions, the token of a form, and the operator's token.
fn visits(server: &Server, external: &ExternalServers, data: &Path) -> Vec<String> {
    let operator = pages::token(data, "ann", TokenRole::Operator);
    form(server, "/portal/sign-in", "", &[("email", "acme@example.com")]);
    wait_until("the link", || external.smtp.count() > 1);
    let raw = external.smtp.received()[1].raw.clone();
    let link = raw.split_once("/portal/sign-in/").unwrap().1[..64].to_owned();
    let cookie = |path: &str, fields: &[(&str, &str)]| {
        let opened = form(server, path, "", fields);
        let cookie = opened.headers().get("set-cookie")?.to_str().unwrap();
        Some(cookie.split(';').next().unwrap().to_owned())
    };
    let customer = cookie(&format!("/portal/sign-in/{link}"), &[]).unwrap();
    wait_until("the operator's token", || {
        cookie("/console/sign-in", &[("token", &operator)]).is_some()
    });
    let console = cookie("/console/sign-in", &[("token", &operator)]).unwrap();
    let csrf = csrf(&page(server, "/portal", &customer).text().unwrap());
    for path in CONSOLE_LISTS {
        let shown = page(server, path, &console).text().unwrap();
        assert!(
            ![&link, &operator, &csrf].iter().any(|secret| shown.contains(secret.as_str())),
            "{path}: {shown}"
        );
    }
    // A used link, and forms with the wrong token.
    form(server, &format!("/portal/sign-in/{link}"), "", &[]);
    form(server, "/portal/sign-out", &customer, &[("csrf", &operator)]);
    form(server, "/console/sign-out", &console, &[("csrf", &csrf)]);
    let secret = |cookie: String| cookie.split_once('=').unwrap().1.to_owned();
    vec![link, secret(customer), secret(console), csrf, operator]
}

/// Returns the whole content of the database as text.
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

/// R-errors-1: an error holds no secret. R-license-5: a license token is in responses only.
/// R-codes-8, R-credential-1: codes and credentials are not stored in clear.
fn secrets_stay_secret(environment: Environment) {
    let mut external = ExternalServers::start();
    let data = tempfile::tempdir().unwrap();
    let servers = external.environment(&["smtp", "s3"]);
    let settings = with(environment, &as_refs(&servers));
    let verbose =
        with(&settings, &[("REGISTRY_LOG_LEVEL", "trace"), ("REGISTRY_LOG_FORMAT", "json")]);
    let server = start(data.path(), &verbose);
    external::publish(data.path(), &settings, b"the image");

    // A mail server that is down, one that refuses, and one that quotes what it refuses.
    let (tenant, code) = server.register("Acme", "pro");
    let register = |email: &str| {
        let body = json!({ "company_name": "Bolt", "contact_email": email, "edition": "pro" });
        text(&server.post_as_service("/register-tenant", &body).1["install_code"])
    };
    let quoted = register("quoting@example.com");
    wait_until("the first mail", || external.smtp.count() > 0);
    let link = external::download_path(&external.smtp.received()[0].raw);
    let redirect = server.get(&link).send().unwrap();
    let location = redirect.headers()["location"].to_str().unwrap().to_owned();
    let (_, redeemed) = server.redeem(&code);
    let credential = text(&redeemed["appliance_credential"]);
    server.check_in(&credential);
    let visited = visits(&server, &external, data.path());
    external.smtp.stop();
    external.s3.stop();
    let (_, reissued) = server.reissue(&tenant);
    let unused = text(&reissued["install_code"]);
    wait_until("a failure", || server.log.lock().unwrap().contains("no mail can be sent"));
    server.get("/readyz").send().unwrap();
    server.get(&link).send().unwrap();

    let unknown_code = "W4RN-ZQ7E-HD3B".to_owned();
    let wrong_token = "wrong-token-wrong-token".to_owned();
    let mut secrets = visited.clone();
    secrets.extend([server.token.clone(), credential, text(&redeemed["first_jwt"])]);
    secrets.extend([external::PASSWORD, external::S3_KEY].map(str::to_owned));
    secrets.push(wrong_token.clone());
    for code in [&code, &quoted, &unused, &unknown_code] {
        secrets.extend([code.clone(), code.replace('-', "")]);
    }
    secrets.push(link.rsplit('/').next().unwrap().to_owned());
    secrets.push(location.split_once("X-Amz-Signature=").unwrap().1.to_owned());
    for file in ["keys/master.key", "keys/license.pem", "keys/release.pem"] {
        let text = std::fs::read_to_string(data.path().join(file)).unwrap();
        secrets.extend(text.lines().filter(|line| !line.starts_with("---")).map(str::to_owned));
    }
    let mut sent: Vec<&str> = vec![unknown_code.as_str(), unused.as_str(), wrong_token.as_str()];
    sent.extend(visited.iter().map(String::as_str));
    let errors = error_responses(&server, &sent, &code).join("\n");
    let shown = shown(&server, &tenant);
    external.smtp.resume().unwrap();
    wait_until_mails_are_settled(data.path(), &settings);

    let log = server.stop();
    assert!(
        log.contains("\"path\":\"/register\"") && log.contains("mail given up"),
        "there is a log to search"
    );
    let database = dump(data.path(), environment);
    assert!(database.contains("acme@example.com"), "there is a database to search");
    let backup = backup(data.path(), environment);
    let places = [
        ("the log", log.as_bytes()),
        ("the database", database.as_bytes()),
        ("an error", errors.as_bytes()),
        ("a page or list", shown.as_bytes()),
    ];
    let places = places.into_iter().chain(backup.iter().map(|it| ("the backup", it.as_slice())));
    let found = leak_scan::find(places, &secrets);
    assert_eq!(found, Vec::<String>::new());
    assert_eq!(
        external.smtp.received().len(),
        3,
        "the first mail, the sign-in link, and the re-issued code"
    );
}

/// Returns what services and monitoring can see.
fn shown(server: &Server, tenant: &str) -> String {
    let tenant = format!("/tenants/{tenant}");
    let paths = ["/metrics", "/readyz", "/openapi.json", "/.well-known/jwks.json", "/tenants"];
    let paths = paths.into_iter().chain([tenant.as_str(), "/v1/rate-limits", "/docs/"]);
    let shown = paths.map(|path| {
        let response = server.get(path).bearer_auth(&server.token).send().unwrap();
        assert!(response.status().as_u16() < 500, "{path}");
        response.text().unwrap()
    });
    shown.collect::<Vec<_>>().join("\n")
}

/// Returns the manifest and the database of a backup, which only SQLite has. The keys and tokens in
/// it are secrets themselves.
fn backup(data: &Path, environment: Environment) -> Vec<Vec<u8>> {
    if environment.iter().any(|(name, _)| *name == "REGISTRY_DATABASE_URL") {
        return Vec::new();
    }
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("backup");
    let config = Config { data: data.to_owned(), ..Config::default() };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(registry_wiring::backup(&config, &target)).unwrap();
    ["backup.json", "registry.db"].map(|file| std::fs::read(target.join(file)).unwrap()).into()
}
