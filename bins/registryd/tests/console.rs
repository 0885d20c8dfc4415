//! The operators' console, in a browser and without one.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![expect(dead_code, reason = "each test binary uses its part of the harness")]

mod both;
mod common;
mod fleet;
mod outside;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use both::{Environment, on_both_databases};
use common::{Server, start};
use outside::{operate, operator};
use registry_core::id::TenantId;
use registry_core::registry::entitlements::EntitlementEdit;
use registry_core::store::EntitlementSelector;
use registry_core::text::ApplianceId;
use registry_wiring::{Config, TokenRole, Tokens};
use reqwest::StatusCode;
use reqwest::blocking::Response;
use serde_json::json;

on_both_databases!(what_was_revoked_is_shown_so);

/// A token of this role; registryd admits it from its start on.
fn token(data: &Path, name: &str, role: TokenRole) -> String {
    let config = Config { data: data.to_owned(), ..Config::default() };
    Tokens::open_to_change(&config).unwrap().create(name, role).unwrap().expose().to_owned()
}

fn form(server: &Server, path: &str, cookie: &str, fields: &[(&str, &str)]) -> Response {
    server.post(path).header("cookie", cookie).form(fields).send().unwrap()
}

fn page(server: &Server, path: &str, cookie: &str) -> Response {
    server.get(path).header("cookie", cookie).send().unwrap()
}

fn sign_in(server: &Server, token: &str) -> String {
    let opened = form(server, "/console/sign-in", "", &[("token", token)]);
    assert_eq!(opened.status(), StatusCode::SEE_OTHER);
    let cookie = opened.headers()["set-cookie"].to_str().unwrap().to_owned();
    for flag in ["registry-console=", "HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(cookie.contains(flag), "{cookie}");
    }
    cookie.split(';').next().unwrap().to_owned()
}

fn csrf(page: Response) -> String {
    page.text().unwrap().split_once("name=\"csrf\" value=\"").unwrap().1.split('"').next().unwrap().to_owned()
}

#[test]
fn in_chromium_an_operator_looks_around_and_helps_a_customer() {
    for script in [true, false] {
        let data = tempfile::tempdir().unwrap();
        drop(start(data.path(), &[]));
        let token = token(data.path(), "ann", TokenRole::Operator);
        let server = start(data.path(), &[]);
        let first = json!({ "company_name": "<b>Acme</b> & Söhne", "contact_email": "ada@acme.example", "edition": "essentials" });
        let code = server.service("/register-tenant", &first).1["install_code"].as_str().unwrap().to_owned();
        assert_eq!((server.redeem(&code).0, server.redeem(&code).0), (200, 409));
        for number in 0..50 {
            server.register(&format!("Company{number}"), "essentials");
        }
        server.mails(51);
        let walk = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/console.mjs");
        let asked = json!({ "url": format!("{}/", server.url), "token": token, "script": script });
        let output = Command::new("node").arg(walk).arg(asked.to_string()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}{said}", String::from_utf8_lossy(&output.stdout));
    }
}

#[test]
fn only_an_operators_token_signs_in_and_its_sessions_end_with_it() {
    let data = tempfile::tempdir().unwrap();
    drop(start(data.path(), &[]));
    let operator = token(data.path(), "ann", TokenRole::Operator);
    let service = token(data.path(), "store", TokenRole::Service);
    let server = start(data.path(), &[("REGISTRY_GUESSES_LIMIT", "4")]);
    for wrong in ["", "x", service.as_str(), server.token.as_str()] {
        let refused = form(&server, "/console/sign-in", "", &[("token", wrong)]);
        assert!(refused.status() == StatusCode::FORBIDDEN && !refused.headers().contains_key("set-cookie"), "{wrong}");
    }
    let late = form(&server, "/console/sign-in", "", &[("token", "guess")]);
    assert_eq!(late.status(), StatusCode::TOO_MANY_REQUESTS);
    let customer = form(&server, "/portal/sign-in", "", &[("email", "ada@acme.example")]);
    assert_eq!(customer.status(), StatusCode::OK, "customers behind the same address are not kept out");
    let cookie = sign_in(&server, &operator);
    let pages = ["/console", "/console/mails", "/console/releases", "/console/silent"];
    for path in pages {
        assert_eq!(page(&server, path, "").status(), StatusCode::SEE_OTHER, "{path}");
        let shown = page(&server, path, &cookie);
        assert_eq!(shown.status(), StatusCode::OK, "{path}");
        assert!(shown.headers()["content-security-policy"].to_str().unwrap().contains("default-src 'none'"));
        assert!(shown.text().unwrap().len() < 50_000, "{path}");
    }
    // As a customer's it is none, and a token itself is none either.
    let customer = cookie.replace("registry-console", "registry-session");
    assert_eq!(page(&server, "/portal", &customer).status(), StatusCode::SEE_OTHER);
    assert_eq!(page(&server, "/console", &format!("registry-console={operator}")).status(), StatusCode::SEE_OTHER);

    let config = Config { data: data.path().to_owned(), ..Config::default() };
    Tokens::open_to_change(&config).unwrap().revoke("ann").unwrap();
    let again = token(data.path(), "ann", TokenRole::Operator);
    for _ in 0..400 {
        if form(&server, "/console/sign-in", "", &[("token", &again)]).status() == StatusCode::SEE_OTHER {
            assert_eq!(page(&server, "/console", &cookie).status(), StatusCode::SEE_OTHER, "the old session is over");
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("the new token is never admitted: {}", server.log.lock().unwrap());
}

#[test]
fn what_an_operator_does_needs_the_sessions_form_and_is_audited_by_name() {
    let data = tempfile::tempdir().unwrap();
    drop(start(data.path(), &[]));
    let operator = token(data.path(), "ann", TokenRole::Operator);
    let server = start(data.path(), &[]);
    let (tenant, _) = server.register("Acme", "essentials");
    server.mails(1);
    let cookie = sign_in(&server, &operator);
    let reissue = format!("/console/tenants/{tenant}/reissue");
    let codes = || server.look(&format!("/tenants/{tenant}")).1["install_codes"].as_array().unwrap().len();
    let csrf = csrf(page(&server, &reissue, &cookie));
    let zeros = "0".repeat(64);
    for path in [reissue.as_str(), "/console/sign-out"] {
        for csrf in ["", &zeros] {
            let refused = form(&server, path, &cookie, &[("csrf", csrf), ("form", "x")]);
            assert_eq!(refused.status(), StatusCode::FORBIDDEN);
            assert!(refused.text().unwrap().contains("<h1>Once more, please</h1>"));
        }
        let nobody = form(&server, path, "", &[("csrf", &csrf), ("form", "x")]);
        assert_eq!(nobody.headers()["location"], "/console/sign-in");
    }
    assert_eq!(codes(), 1);
    for _ in 0..2 {
        let done = form(&server, &reissue, &cookie, &[("csrf", &csrf), ("form", "x")]).text().unwrap();
        assert!(done.contains("Done.") && done.contains("operator:ann (127.0.0.1)"), "{done}");
    }
    assert_eq!(codes(), 2, "sent twice, it is one code");

    // A mail that was sent is not sent again; one that there is not has a page that says so.
    server.mails(2);
    let mails = page(&server, "/console/mails?state=sent", &cookie).text().unwrap();
    assert!(mails.contains("Mail with a fresh install code") && !mails.contains("&#x2f;retry"), "{mails}");
    for path in ["/console/mails?state=lost", "/console?status=lost", "/console?cursor=x", "/console/mails?cursor=x"] {
        let refused = page(&server, path, &cookie);
        assert_eq!(refused.status(), StatusCode::UNPROCESSABLE_ENTITY, "{path}");
        assert!(refused.text().unwrap().contains("<h1>That did not work</h1>"), "{path}");
    }
    let none = "01900000-0000-7000-8000-000000000000";
    for path in [format!("/console/mails/{none}/retry"), format!("/console/tenants/{none}/reissue")] {
        assert_eq!(page(&server, &path, &cookie).status(), StatusCode::NOT_FOUND, "{path}");
        let refused = form(&server, &path, &cookie, &[("csrf", &csrf), ("form", "y")]);
        assert!(refused.status() == StatusCode::NOT_FOUND && refused.text().unwrap().contains("Refused:"), "{path}");
    }
    let foreign = server.post(&reissue).header("cookie", &cookie).header("sec-fetch-site", "cross-site");
    let foreign = foreign.form(&[("csrf", csrf.as_str())]).send().unwrap();
    assert_eq!(foreign.status(), StatusCode::FORBIDDEN);
    form(&server, "/console/sign-out", &cookie, &[("csrf", &csrf)]);
    assert_eq!(page(&server, "/console", &cookie).status(), StatusCode::SEE_OTHER);
}

#[test]
fn pages_stay_small_however_much_there_is_to_show() {
    let data = tempfile::tempdir().unwrap();
    drop(start(data.path(), &[]));
    let operator = token(data.path(), "ann", TokenRole::Operator);
    let server = start(data.path(), &[]);
    let (tenant, code) = server.register("Acme", "essentials");
    let long = "<&\"long name>".repeat(15);
    for number in 0..110 {
        let email = format!("{number}@{}.example", "a".repeat(60));
        let body = json!({ "company_name": long, "contact_email": email, "edition": "essentials" });
        assert_eq!(server.service("/register-tenant", &body).0, 200);
    }
    assert_eq!(server.redeem(&code).0, 200);
    for _ in 0..160 {
        assert_eq!(server.redeem(&code).0, 409);
    }
    let cookie = sign_in(&server, &operator);
    let timeline = format!("/console/tenants/{tenant}");
    for path in ["/console", "/console/mails", &timeline] {
        let shown = page(&server, path, &cookie).text().unwrap();
        assert!(shown.len() < 50_000, "{path}: {} bytes", shown.len());
        if path == timeline {
            assert!(shown.contains("The newest 150 lines."), "{shown}");
            assert_eq!(shown.matches("<tr>").count(), 151);
        }
    }
}

/// What a hidden field of a page holds.
fn hidden(page: &str, name: &str) -> Option<String> {
    let (_, rest) = page.split_once(&format!("name=\"{name}\" value=\""))?;
    Some(rest.split('"').next().unwrap().to_owned())
}

#[test]
fn a_mail_that_does_not_go_out_is_sent_again_and_every_mail_is_found() {
    let data = tempfile::tempdir().unwrap();
    drop(start(data.path(), &[]));
    let operator = token(data.path(), "ann", TokenRole::Operator);
    let server = start(data.path(), &[]);
    let mailbox = data.path().join("mailbox");
    std::fs::remove_dir_all(&mailbox).unwrap();
    std::fs::write(&mailbox, "").unwrap();
    server.register("Acme", "essentials");
    let cookie = sign_in(&server, &operator);
    let mails = |query: &str| page(&server, &format!("/console/mails{query}"), &cookie).text().unwrap();
    let until = |what: &str, query: &str, fits: &dyn Fn(&str) -> bool| {
        for _ in 0..400 {
            let shown = mails(query);
            if fits(&shown) {
                return shown;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("{what}: {}", mails(query));
    };
    let stuck = until("it fails", "", &|shown| shown.contains("mailbox"));
    let (_, rest) = stuck.split_once("&#x2f;console&#x2f;mails&#x2f;").unwrap();
    let retry = format!("/console/mails/{}/retry", &rest[..36]);
    let csrf = csrf(page(&server, &retry, &cookie));
    let done = form(&server, &retry, &cookie, &[("csrf", &csrf)]);
    assert_eq!(done.status(), StatusCode::OK);
    assert!(done.text().unwrap().contains("The mail is sent again now."));
    std::fs::remove_file(&mailbox).unwrap();
    std::fs::create_dir(&mailbox).unwrap();
    let sent =
        until("it goes out", "?state=sent", &|shown| shown.contains("ada@acme.example") || shown.contains("acme"));
    assert!(!sent.contains("mailbox"), "what was sent shows no error: {sent}");
    let late = form(&server, &retry, &cookie, &[("csrf", &csrf)]);
    assert_eq!(late.status(), StatusCode::CONFLICT);
    assert!(late.text().unwrap().contains("cannot be sent again"));
    assert_eq!(page(&server, &retry, &cookie).status(), StatusCode::CONFLICT, "nor is it offered");

    for number in 0..110 {
        server.register(&format!("Company{number}"), "essentials");
    }
    let first = mails("");
    assert_eq!(first.matches("<tr>").count(), 101);
    let cursor = hidden(&first, "cursor").unwrap();
    let second = mails(&format!("?cursor={cursor}"));
    assert_eq!((second.matches("<tr>").count(), hidden(&second, "cursor")), (12, None));
}

#[test]
fn signing_in_again_ends_the_browsers_earlier_session() {
    let data = tempfile::tempdir().unwrap();
    drop(start(data.path(), &[]));
    let operator = token(data.path(), "ann", TokenRole::Operator);
    let server = start(data.path(), &[]);
    let (other, first) = (sign_in(&server, &operator), sign_in(&server, &operator));
    let again = form(&server, "/console/sign-in", &first, &[("token", &operator)]);
    assert_eq!(again.status(), StatusCode::SEE_OTHER);
    assert_eq!(page(&server, "/console", &first).status(), StatusCode::SEE_OTHER);
    assert_eq!(page(&server, "/console", &other).status(), StatusCode::OK, "another browser's goes on");
}

fn what_was_revoked_is_shown_so(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    drop(start(data.path(), environment));
    let token = token(data.path(), "ann", TokenRole::Operator);
    let server = start(data.path(), environment);
    let (tenant, code) = server.register("Acme", "pro");
    assert_eq!(server.redeem(&code).0, 200);
    let cookie = sign_in(&server, &token);
    let path = format!("/console/tenants/{tenant}");
    let shown = || page(&server, &path, &cookie).text().unwrap();
    assert!(shown().contains("<dd>appliance-1</dd>") && shown().contains("<dd>pro</dd>"));
    let id = TenantId(tenant.parse().unwrap());
    operate(data.path(), environment, async |registry| {
        let appliance = ApplianceId::parse("appliance-1").unwrap();
        registry.appliance_revoke(id, appliance, operator()).await.unwrap();
        let entitlement = registry.tenant_show(id).await.unwrap().entitlement.unwrap().id;
        let entitlement = EntitlementSelector::Id(entitlement);
        registry.entitlement_edit(entitlement, EntitlementEdit::Revoke, None, operator()).await.unwrap();
    });
    assert!(shown().contains("<dd>appliance-1 (revoked)</dd>"), "{}", shown());
    assert!(shown().contains("<dd>pro (revoked)</dd>"), "{}", shown());
}
