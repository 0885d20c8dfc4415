//! The registration page, with and without a browser, and the error pages.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![expect(dead_code, reason = "each test binary uses its part of the harness")]

mod common;
mod databases;
mod external;
mod fleet;
mod pages;

use std::path::Path;
use std::process::Command;

use common::{Server, start};
use databases::{Environment, on_both_databases, with};
use external::publish_as;
use pages::{form, registration};
use reqwest::StatusCode;
use serde_json::{Value, json};

on_both_databases!(repeated_form_is_one_registration, unwanted_registration_is_refused);

/// Runs the customer's walk through the pages in Chromium, and returns the codes it was mailed.
fn walk(server: &Server, script: bool) -> Value {
    let walk = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/web.mjs");
    let mailbox = server.data.join("mailbox");
    let args = json!({ "url": format!("{}/", server.url), "mailbox": mailbox, "script": script });
    let output = Command::new("node").arg(walk).arg(args.to_string()).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}{stderr}", String::from_utf8_lossy(&output.stdout));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn customer_uses_pages_in_chromium() {
    for script in [true, false] {
        let data = tempfile::tempdir().unwrap();
        let server = start(data.path(), &[("REGISTRY_WEB_BLOCKED_DOMAINS", r#"["spam.example"]"#)]);
        publish_as("2.5.0", data.path(), &[], b"image");
        // The customer has a paid appliance already.
        let paid = json!({
            "company_name": "Acme North", "contact_email": "ada@acme.example", "edition": "pro",
            "send_email": false,
        });
        let code = server.post_as_service("/register-tenant", &paid).1["install_code"]
            .as_str()
            .unwrap()
            .to_owned();
        assert_eq!(server.redeem(&code).0, 200);
        let codes = walk(&server, script);
        let redeem = |code: &Value| {
            server.post("/register").json(&json!({ "claim_code": code, "appliance_id": "a" }))
        };
        assert_eq!(
            redeem(&codes["first"]).send().unwrap().status(),
            StatusCode::CONFLICT,
            "the second code replaces the first"
        );
        assert_eq!(redeem(&codes["second"]).send().unwrap().status(), StatusCode::OK);
        let tenants = server.get_as_service("/tenants").1;
        assert_eq!(tenants["items"].as_array().unwrap().len(), 2, "{tenants}");
        assert_eq!(tenants["items"][0]["company_name"], "Acme & <b>Söhne</b>");
    }
}

fn tenants(server: &Server) -> usize {
    server.get_as_service("/tenants").1["items"].as_array().unwrap().len()
}

fn sign_up(server: &Server, id: &str, change: &[(&'static str, &str)]) -> (StatusCode, String) {
    let response = form(server, "/signup", "", &registration(id, change));
    (response.status(), response.text().unwrap())
}

fn repeated_form_is_one_registration(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    for _ in 0..3 {
        let (status, page) = sign_up(&server, "f-1", &[]);
        assert!(status == StatusCode::OK && page.contains("Check your inbox"), "{page}");
    }
    assert_eq!(tenants(&server), 1);
    let (status, page) = sign_up(&server, "f-1", &[("company_name", "Bolt")]);
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(page.contains("already sent with different details"), "{page}");
    assert_eq!(tenants(&server), 1);
}

fn unwanted_registration_is_refused(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let blocked_domains = [("REGISTRY_WEB_BLOCKED_DOMAINS", r#"["spam.example"]"#)];
    let server = start(data.path(), &with(environment, &blocked_domains));
    let (_, page) = sign_up(&server, "f-2", &[("leave_empty", "http://spam.example")]);
    assert!(page.contains("Check your inbox"), "a program cannot tell that it was recognized");
    for email in ["eve@spam.example", "eve@mail.SPAM.example"] {
        let (_, page) = sign_up(&server, "f-3", &[("contact_email", email)]);
        assert!(page.contains("addresses at this domain are not accepted"), "{email}: {page}");
    }
    for name in ["Win at https://evil.example", "Acme \u{202e}elpmaxe"] {
        for field in ["company_name", "contact_name"] {
            let (_, page) = sign_up(&server, "f-5", &[(field, name)]);
            assert!(page.contains("a name without links"), "{field} {name}: {page}");
        }
    }
    for email in [
        "ada@acme.example\r\nBcc: eve@evil.example",
        "\"a\r\nb\"@acme.example",
        "ada@acme.example, eve@evil.example",
    ] {
        let (status, _) = sign_up(&server, "f-4", &[("contact_email", email)]);
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{email}");
    }
    assert_eq!(tenants(&server), 0);
}

#[test]
fn mail_requests_are_rate_limited() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), &[("REGISTRY_RATE_LIMIT_MAILS", "3")]);
    for number in 0..3 {
        let email = format!("a{number}@acme.example");
        assert_eq!(sign_up(&server, &email, &[("contact_email", &email)]).0, StatusCode::OK);
    }
    let refused = form(&server, "/signup", "", &registration("late", &[]));
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(refused.headers().contains_key("retry-after"));
    let page = refused.text().unwrap();
    assert!(
        page.contains("Registration failed") && page.contains("too many requests"),
        "the page says what happened: {page}"
    );
    assert!(page.contains("value=\"ada@acme.example\""), "the form keeps its entries: {page}");
    let email = "a0@acme.example";
    let repeated = sign_up(&server, email, &[("contact_email", email)]);
    assert_eq!(repeated.0, StatusCode::OK, "a repeated form is not counted");
    let refused = form(&server, "/portal/sign-in", "", &[("email", email)]);
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(tenants(&server), 3);
}

/// A fresh installation has one product, and no vendor's name in it.
#[test]
fn single_product_is_not_shown() {
    let data = tempfile::tempdir().unwrap();
    let page = |environment: &[(&str, &str)]| {
        start(data.path(), environment).get("/signup").send().unwrap().text().unwrap()
    };
    let html = page(&[]);
    assert!(!html.contains("product_code") && !html.contains("psa"), "{html}");
    let html = page(&[("REGISTRY_PRODUCTS", "['box', 'rack']")]);
    assert!(html.contains("<option value=\"rack\">rack</option>"), "{html}");
}

#[test]
fn editions_are_offered_as_configured() {
    let data = tempfile::tempdir().unwrap();
    let config = data.path().join("registry.toml");
    let text = "[web]
        self_service = ['essentials', 'plus']
        checkout_url = 'https://shop.example/buy?from=a'
        [[editions]]
        name = 'essentials'
        [[editions]]
        name = 'plus'
        label = 'Plus plan'
        [[editions]]
        name = 'pro'
        tier = 'pro'
        ";
    std::fs::write(&config, text).unwrap();
    let server = start(data.path(), &[("REGISTRY_CONFIG", config.to_str().unwrap())]);
    let page = server.get("/signup").send().unwrap().text().unwrap();
    let options = [
        r#"<option value="essentials">essentials</option>"#,
        r#"<option value="plus">Plus plan</option>"#,
    ];
    assert!(page.contains(&options.concat()), "{page}");
    assert!(
        page.contains("shop.example")
            && page.contains(">pro</a>")
            && !page.contains(">Plus plan</a>"),
        "only an edition without self-service is bought: {page}"
    );
    for edition in ["", "pro", "nonsense"] {
        let (status, page) = sign_up(&server, "e-1", &[("edition", edition)]);
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{edition}");
        assert!(
            page.contains("Select one of the options.")
                && page.contains("aria-describedby=\"edition-error\""),
            "{edition}: {page}"
        );
    }
    assert_eq!(sign_up(&server, "e-1", &[("edition", "plus")]).0, StatusCode::OK);
    assert_eq!(server.get_as_service("/tenants").1["items"][0]["edition"], "plus");
}

#[test]
fn errors_are_pages_in_the_readers_language() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), &[]);
    let large = format!("company_name={}", "a".repeat(70_000));
    let kind = "application/x-www-form-urlencoded";
    let not_found = ("Page not found", "Seite nicht gefunden");
    let refused =
        ("Your request could not be completed", "Ihre Anfrage konnte nicht ausgeführt werden");
    let expired = ("This form has expired", "Dieses Formular ist abgelaufen");
    for (method, path, header, body, status, titles) in [
        ("GET", "/portal/nothing", ("a", "b"), "", 404, not_found),
        ("GET", "/signup/x/y", ("a", "b"), "", 404, not_found),
        ("GET", "/console/nothing", ("a", "b"), "", 404, not_found),
        ("GET", "/console/sign-in/lost", ("a", "b"), "", 404, not_found),
        ("PUT", "/signup", ("a", "b"), "", 405, not_found),
        ("POST", "/signup", ("content-type", "application/json"), "{}", 415, refused),
        ("POST", "/signup", ("content-type", kind), &large, 413, refused),
        ("POST", "/portal/sign-in", ("content-type", kind), "email=a&email=b", 422, refused),
        ("POST", "/signup", ("origin", "https://evil.example"), "", 403, expired),
        ("POST", "/console/sign-in", ("sec-fetch-site", "cross-site"), "", 403, expired),
    ] {
        for (language, title) in [("en", titles.0), ("de", titles.1)] {
            let request = server.request(method, path).header(header.0, header.1);
            let response =
                request.header("accept-language", language).body(body.to_owned()).send().unwrap();
            assert_eq!(response.status().as_u16(), status, "{path} {language}");
            let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
            assert!(header("content-type").starts_with("text/html"), "{path}");
            assert!(header("content-security-policy").contains("'none'"), "{path}");
            let page = response.text().unwrap();
            assert!(page.contains(&format!("<html lang=\"{language}\">")), "{path}");
            assert!(page.contains(&format!("<h1>{title}</h1>")), "{path} {language}: {page}");
        }
    }
}

#[test]
fn trailing_slash_is_redirected() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), &[]);
    for path in ["/signup/", "/portal/", "/console/"] {
        let response = server.get(path).send().unwrap();
        assert_eq!(response.headers()["location"], path.trim_end_matches('/'));
    }
}

#[test]
fn pages_have_security_headers() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), &[]);
    for path in ["/signup", "/portal/sign-in", "/portal", "/assets/pages.css"] {
        let page = server.get(path).send().unwrap();
        for (header, value) in [
            ("content-security-policy", "default-src 'none'"),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "same-origin"),
            ("x-frame-options", "DENY"),
        ] {
            assert!(page.headers()[header].to_str().unwrap().contains(value), "{path} {header}");
        }
        assert!(page.text().unwrap().len() < 50_000, "{path}");
    }
}

#[test]
fn disabled_pages_are_not_found() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), &[("REGISTRY_WEB_ENABLED", "false")]);
    for path in ["/", "/signup", "/portal", "/portal/sign-in"] {
        assert_eq!(server.get(path).send().unwrap().status(), StatusCode::NOT_FOUND, "{path}");
    }
}
