//! The customer's door: registering and the portal, in a browser and without one.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![expect(dead_code, reason = "each test binary uses its part of the harness")]

mod both;
mod common;
mod fleet;
mod outside;
mod pages;

use std::path::Path;
use std::process::Command;

use both::{Environment, on_both_databases, with};
use common::{Server, start};
use outside::publish_as;
use pages::{form, registration};
use reqwest::StatusCode;
use serde_json::{Value, json};

on_both_databases!(
    a_form_that_is_sent_twice_is_one_registration_and_a_program_that_fills_all_fields_is_none
);

fn walk(server: &Server, script: bool) -> Value {
    let walk = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/web.mjs");
    let mailbox = server.data.join("mailbox");
    let asked = json!({ "url": format!("{}/", server.url), "mailbox": mailbox, "script": script });
    let output = Command::new("node").arg(walk).arg(asked.to_string()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}{said}", String::from_utf8_lossy(&output.stdout));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn in_chromium_a_customer_registers_signs_in_and_gets_a_fresh_code() {
    for script in [true, false] {
        let data = tempfile::tempdir().unwrap();
        let server =
            start(data.path(), &[("REGISTRY_DOOR_BLOCKED_DOMAINS", r#"["spam.example"]"#)]);
        publish_as("2.5.0", data.path(), &[], b"image");
        // The customer has a paid appliance already.
        let paid = json!({ "company_name": "Acme North", "contact_email": "ada@acme.example", "edition": "pro", "send_email": false });
        let code = server.service("/register-tenant", &paid).1["install_code"]
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
            "the older one died"
        );
        assert_eq!(redeem(&codes["second"]).send().unwrap().status(), StatusCode::OK);
        let tenants = server.look("/tenants").1;
        assert_eq!(tenants["items"].as_array().unwrap().len(), 2, "{tenants}");
        assert_eq!(tenants["items"][0]["company_name"], "Acme & <b>Söhne</b>");
    }
}

fn tenants(server: &Server) -> usize {
    server.look("/tenants").1["items"].as_array().unwrap().len()
}

fn a_form_that_is_sent_twice_is_one_registration_and_a_program_that_fills_all_fields_is_none(
    environment: Environment,
) {
    let data = tempfile::tempdir().unwrap();
    let server = start(
        data.path(),
        &with(environment, &[("REGISTRY_DOOR_BLOCKED_DOMAINS", r#"["spam.example"]"#)]),
    );
    for _ in 0..3 {
        let done = form(&server, "/signup", "", &registration("f-1", &[]));
        assert!(
            done.status() == StatusCode::OK
                && done.text().unwrap().contains("Look into your inbox")
        );
    }
    assert_eq!(tenants(&server), 1);
    let other = form(&server, "/signup", "", &registration("f-1", &[("company_name", "Bolt")]));
    assert_eq!(other.status(), StatusCode::UNPROCESSABLE_ENTITY);
    let trapped = form(
        &server,
        "/signup",
        "",
        &registration("f-2", &[("leave_empty", "http://spam.example")]),
    );
    assert!(trapped.text().unwrap().contains("Look into your inbox"), "it learns nothing");
    for email in ["eve@spam.example", "eve@mail.SPAM.example"] {
        let blocked =
            form(&server, "/signup", "", &registration("f-3", &[("contact_email", email)]));
        assert!(blocked.text().unwrap().contains("Addresses of this domain"), "{email}");
    }
    for name in ["Win at https://evil.example", "Acme \u{202e}elpmaxe"] {
        for field in ["company_name", "contact_name"] {
            let stuffed = form(&server, "/signup", "", &registration("f-5", &[(field, name)]));
            assert!(stuffed.text().unwrap().contains("without a link"), "{field} {name}");
        }
    }
    for email in [
        "ada@acme.example\r\nBcc: eve@evil.example",
        "\"a\r\nb\"@acme.example",
        "ada@acme.example, eve@evil.example",
    ] {
        let injected =
            form(&server, "/signup", "", &registration("f-4", &[("contact_email", email)]));
        assert_eq!(injected.status(), StatusCode::UNPROCESSABLE_ENTITY, "{email}");
    }
    assert_eq!(tenants(&server), 1);
}

#[test]
fn who_asks_for_mails_too_often_waits() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), &[("REGISTRY_DOOR_ASKS", "3")]);
    for number in 0..3 {
        let email = format!("a{number}@acme.example");
        let done =
            form(&server, "/signup", "", &registration(&email, &[("contact_email", &email)]));
        assert_eq!(done.status(), StatusCode::OK);
    }
    let late = form(&server, "/signup", "", &registration("late", &[]));
    assert_eq!(late.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(late.headers().contains_key("retry-after"));
    let late = late.text().unwrap();
    assert!(
        late.contains("Too much was asked for") && late.contains("value=\"ada@acme.example\""),
        "{late}"
    );
    // The same form once more costs nothing, and is answered as it was.
    let again = form(
        &server,
        "/signup",
        "",
        &registration("a0@acme.example", &[("contact_email", "a0@acme.example")]),
    );
    assert_eq!(again.status(), StatusCode::OK);
    let late = form(&server, "/portal/sign-in", "", &[("email", "a0@acme.example")]);
    assert_eq!(late.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(tenants(&server), 3);
}

#[test]
fn several_editions_are_chosen_from_and_others_are_bought() {
    let data = tempfile::tempdir().unwrap();
    let config = data.path().join("registry.toml");
    let text = "[door]\nself_service = ['essentials', 'plus']\ncheckout_url = 'https://shop.example/buy?from=a'\n\
                [[editions]]\nname = 'essentials'\n[[editions]]\nname = 'plus'\n[[editions]]\nname = 'pro'\ntier = 'pro'\n";
    std::fs::write(&config, text).unwrap();
    let server = start(data.path(), &[("REGISTRY_CONFIG", config.to_str().unwrap())]);
    let shown = server.get("/signup").send().unwrap().text().unwrap();
    assert!(shown.contains("<option>essentials</option><option>plus</option>"), "{shown}");
    assert!(
        shown.contains("shop.example")
            && shown.contains(">pro</a>")
            && !shown.contains(">plus</a>"),
        "{shown}"
    );
    for edition in ["", "pro", "nonsense"] {
        let refused = form(&server, "/signup", "", &registration("e-1", &[("edition", edition)]));
        assert_eq!(refused.status(), StatusCode::UNPROCESSABLE_ENTITY, "{edition}");
        let refused = refused.text().unwrap();
        assert!(
            refused.contains("Choose one of these.")
                && refused.contains("aria-describedby=\"edition-error\"")
        );
    }
    let done = form(&server, "/signup", "", &registration("e-1", &[("edition", "plus")]));
    assert_eq!(done.status(), StatusCode::OK);
    assert_eq!(server.look("/tenants").1["items"][0]["edition"], "plus");
}

#[test]
fn every_error_is_a_page_in_the_readers_language() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), &[]);
    let large = format!("company_name={}", "a".repeat(70_000));
    let kind = "application/x-www-form-urlencoded";
    let (not_here, failed) =
        (("There is nothing here", "Hier ist nichts"), ("That did not work", "Das ging nicht"));
    let stale = ("Once more, please", "Bitte noch einmal");
    for (method, path, header, body, status, titles) in [
        ("GET", "/portal/nothing", ("a", "b"), "", 404, not_here),
        ("GET", "/signup/x/y", ("a", "b"), "", 404, not_here),
        ("GET", "/console/nothing", ("a", "b"), "", 404, not_here),
        ("GET", "/console/sign-in/lost", ("a", "b"), "", 404, not_here),
        ("PUT", "/signup", ("a", "b"), "", 405, not_here),
        ("POST", "/signup", ("content-type", "application/json"), "{}", 415, failed),
        ("POST", "/signup", ("content-type", kind), &large, 413, failed),
        ("POST", "/portal/sign-in", ("content-type", kind), "email=a&email=b", 422, failed),
        ("POST", "/signup", ("origin", "https://evil.example"), "", 403, stale),
        ("POST", "/console/sign-in", ("sec-fetch-site", "cross-site"), "", 403, stale),
    ] {
        for (language, title) in [("en", titles.0), ("de", titles.1)] {
            let asked = server.request(method, path).header(header.0, header.1);
            let answer =
                asked.header("accept-language", language).body(body.to_owned()).send().unwrap();
            assert_eq!(answer.status().as_u16(), status, "{path} {language}");
            assert!(
                answer.headers()["content-type"].to_str().unwrap().starts_with("text/html"),
                "{path}"
            );
            assert!(
                answer.headers()["content-security-policy"].to_str().unwrap().contains("'none'"),
                "{path}"
            );
            let shown = answer.text().unwrap();
            assert!(shown.contains(&format!("<html lang=\"{language}\">")), "{path}");
            assert!(shown.contains(&format!("<h1>{title}</h1>")), "{path} {language}: {shown}");
        }
    }
    for path in ["/signup/", "/portal/", "/console/"] {
        assert_eq!(
            server.get(path).send().unwrap().headers()["location"],
            path.trim_end_matches('/')
        );
    }
}

#[test]
fn pages_guard_themselves_and_the_door_can_be_turned_off() {
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
    drop(server);
    let off = start(data.path(), &[("REGISTRY_DOOR_ENABLED", "false")]);
    for path in ["/", "/signup", "/portal", "/portal/sign-in"] {
        assert_eq!(off.get(path).send().unwrap().status(), StatusCode::NOT_FOUND, "{path}");
    }
}
