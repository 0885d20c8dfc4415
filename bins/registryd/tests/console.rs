//! The operators' console, in a browser and without one.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![expect(dead_code, reason = "each test binary uses its part of the harness")]

mod both;
mod common;
mod fleet;
mod outside;
mod pages;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use both::{Environment, on_both_databases};
use common::{Server, start};
use outside::{operate, operator, wait_until};
use pages::{csrf, form, hidden, page, token};
use registry_core::id::TenantId;
use registry_core::registry::entitlements::EntitlementEdit;
use registry_core::store::EntitlementSelector;
use registry_core::text::ApplianceId;
use registry_wiring::{Config, TokenRole, Tokens};
use reqwest::StatusCode;
use serde_json::json;

/// registryd, and the token of an operator.
fn operated(data: &Path, environment: &[(&str, &str)]) -> (Server, String) {
    let operator = token(data, "ann", TokenRole::Operator);
    (start(data, environment), operator)
}

on_both_databases!(what_was_revoked_is_shown_so);

fn sign_in(server: &Server, token: &str) -> String {
    let opened = form(server, "/console/sign-in", "", &[("token", token)]);
    assert_eq!(opened.status(), StatusCode::SEE_OTHER);
    let cookie = opened.headers()["set-cookie"].to_str().unwrap().to_owned();
    for flag in ["registry-console=", "HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(cookie.contains(flag), "{cookie}");
    }
    cookie.split(';').next().unwrap().to_owned()
}

#[test]
fn in_chromium_an_operator_looks_around_and_helps_a_customer() {
    for script in [true, false] {
        let data = tempfile::tempdir().unwrap();
        let (server, token) = operated(data.path(), &[]);
        let first = json!({ "company_name": "<b>Acme</b> & Söhne", "contact_email": "ada@acme.example", "edition": "essentials" });
        let code = server.service("/register-tenant", &first).1["install_code"]
            .as_str()
            .unwrap()
            .to_owned();
        assert_eq!((server.redeem(&code).0, server.redeem(&code).0), (200, 409));
        for number in 0..50 {
            server.register(&format!("Company{number}"), "essentials");
        }
        server.mails(51);
        // One that cannot go out.
        let mailbox = data.path().join("mailbox");
        std::fs::remove_dir_all(&mailbox).unwrap();
        std::fs::write(&mailbox, "").unwrap();
        server.register("Stuck", "essentials");
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
    let service = token(data.path(), "store", TokenRole::Service);
    let (server, operator) = operated(data.path(), &[("REGISTRY_GUESSES_LIMIT", "4")]);
    for wrong in ["", "x", service.as_str(), server.token.as_str()] {
        let refused = form(&server, "/console/sign-in", "", &[("token", wrong)]);
        assert!(
            refused.status() == StatusCode::FORBIDDEN
                && !refused.headers().contains_key("set-cookie"),
            "{wrong}"
        );
    }
    let late = form(&server, "/console/sign-in", "", &[("token", "guess")]);
    assert_eq!(late.status(), StatusCode::TOO_MANY_REQUESTS);
    let customer = form(&server, "/portal/sign-in", "", &[("email", "ada@acme.example")]);
    assert_eq!(
        customer.status(),
        StatusCode::OK,
        "customers behind the same address are not kept out"
    );
    let cookie = sign_in(&server, &operator);
    let pages = ["/console", "/console/mails", "/console/releases", "/console/silent"];
    for path in pages {
        assert_eq!(page(&server, path, "").status(), StatusCode::SEE_OTHER, "{path}");
        let shown = page(&server, path, &cookie);
        assert_eq!(shown.status(), StatusCode::OK, "{path}");
        assert!(
            shown.headers()["content-security-policy"]
                .to_str()
                .unwrap()
                .contains("default-src 'none'")
        );
        assert!(shown.text().unwrap().len() < 50_000, "{path}");
    }
    // As a customer's it is none, and a token itself is none either.
    let customer = cookie.replace("registry-console", "registry-session");
    assert_eq!(page(&server, "/portal", &customer).status(), StatusCode::SEE_OTHER);
    assert_eq!(
        page(&server, "/console", &format!("registry-console={operator}")).status(),
        StatusCode::SEE_OTHER
    );

    let config = Config { data: data.path().to_owned(), ..Config::default() };
    Tokens::open_to_change(&config).unwrap().revoke("ann").unwrap();
    let again = token(data.path(), "ann", TokenRole::Operator);
    for _ in 0..400 {
        if form(&server, "/console/sign-in", "", &[("token", &again)]).status()
            == StatusCode::SEE_OTHER
        {
            assert_eq!(
                page(&server, "/console", &cookie).status(),
                StatusCode::SEE_OTHER,
                "the old session is over"
            );
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("the new token is never admitted: {}", server.log.lock().unwrap());
}

#[test]
fn what_an_operator_does_needs_the_sessions_form_and_is_audited_by_name() {
    let data = tempfile::tempdir().unwrap();
    let (server, operator) = operated(data.path(), &[]);
    let (tenant, _) = server.register("Acme", "essentials");
    server.mails(1);
    let cookie = sign_in(&server, &operator);
    let reissue = format!("/console/tenants/{tenant}/reissue");
    let codes =
        || server.look(&format!("/tenants/{tenant}")).1["install_codes"].as_array().unwrap().len();
    let csrf = csrf(&page(&server, &reissue, &cookie).text().unwrap());
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
        let done = form(&server, &reissue, &cookie, &[("csrf", &csrf), ("form", "x")]);
        let back = done.headers()["location"].to_str().unwrap().to_owned();
        let shown = page(&server, &back, &cookie).text().unwrap();
        assert!(shown.contains("Done.") && shown.contains("operator:ann (127.0.0.1)"), "{shown}");
    }
    assert_eq!(codes(), 2, "sent twice, it is one code");

    // A mail that was sent is not sent again; one that there is not has a page that says so.
    let sent = || page(&server, "/console/mails?state=sent", &cookie).text().unwrap();
    wait_until("the fresh code's mail", || sent().contains("fresh install code"));
    let mails = sent();
    assert!(mails.contains("fresh install code") && !mails.contains("&#x2f;retry"), "{mails}");
    assert!(mails.contains(" UTC"), "{mails}");
    for path in [
        "/console/mails?state=lost",
        "/console?status=lost",
        "/console?cursor=x",
        "/console/mails?cursor=x",
    ] {
        let refused = page(&server, path, &cookie);
        assert_eq!(refused.status(), StatusCode::UNPROCESSABLE_ENTITY, "{path}");
        assert!(refused.text().unwrap().contains("<h1>That did not work</h1>"), "{path}");
    }
    let none = "01900000-0000-7000-8000-000000000000";
    for path in [format!("/console/mails/{none}/retry"), format!("/console/tenants/{none}/reissue")]
    {
        assert_eq!(page(&server, &path, &cookie).status(), StatusCode::NOT_FOUND, "{path}");
        let refused = form(&server, &path, &cookie, &[("csrf", &csrf), ("form", "y")]);
        assert!(
            refused.status() == StatusCode::NOT_FOUND
                && refused.text().unwrap().contains("There is no such"),
            "{path}"
        );
    }
    let foreign =
        server.post(&reissue).header("cookie", &cookie).header("sec-fetch-site", "cross-site");
    let foreign = foreign.form(&[("csrf", csrf.as_str())]).send().unwrap();
    assert_eq!(foreign.status(), StatusCode::FORBIDDEN);
    form(&server, "/console/sign-out", &cookie, &[("csrf", &csrf)]);
    assert_eq!(page(&server, "/console", &cookie).status(), StatusCode::SEE_OTHER);
}

#[test]
fn pages_stay_small_however_much_there_is_to_show() {
    let data = tempfile::tempdir().unwrap();
    let (server, operator) = operated(data.path(), &[]);
    let (tenant, code) = server.register("Acme", "essentials");
    let long = "<&\"'".repeat(50);
    for number in 0..110 {
        let email = format!("{}{number}@{}.example", "'".repeat(60), "a".repeat(60));
        let body = json!({ "company_name": long, "contact_email": email, "edition": "essentials" });
        assert_eq!(server.service("/register-tenant", &body).0, 200);
    }
    assert_eq!(server.redeem(&code).0, 200);
    for _ in 0..160 {
        assert_eq!(server.redeem(&code).0, 409);
    }
    let cookie = sign_in(&server, &operator);
    let timeline = format!("/console/tenants/{tenant}");
    for path in ["/console", "/console/mails", "/console/silent", "/console/audit", &timeline] {
        let shown = page(&server, path, &cookie).text().unwrap();
        assert!(shown.len() < 50_000, "{path}: {} bytes", shown.len());
    }
    // Every line stands on one page.
    let (mut lines, mut cursor) = (0, Some(String::new()));
    while let Some(at) = cursor {
        let shown = page(&server, &format!("{timeline}?cursor={at}"), &cookie).text().unwrap();
        let (_, rows) = shown.split_once("<h2>Timeline</h2>").unwrap();
        lines += rows.matches("<tr>").count() - 1;
        cursor = hidden(rows, "cursor");
    }
    assert_eq!(lines, 164, "registered, issued, mailed, redeemed, and 160 times refused");
    let mut mails = 0;
    let mut cursor = Some(String::new());
    while let Some(at) = cursor {
        let shown = page(&server, &format!("/console/mails?cursor={at}"), &cookie).text().unwrap();
        mails += shown.matches("<tr>").count() - 1;
        cursor = hidden(&shown, "cursor");
    }
    assert_eq!(mails, 111);
}

#[test]
fn a_mail_that_does_not_go_out_is_sent_again_and_every_mail_is_found() {
    let data = tempfile::tempdir().unwrap();
    let (server, operator) = operated(data.path(), &[]);
    let mailbox = data.path().join("mailbox");
    std::fs::remove_dir_all(&mailbox).unwrap();
    std::fs::write(&mailbox, "").unwrap();
    server.register("Acme", "essentials");
    let cookie = sign_in(&server, &operator);
    let mails =
        |query: &str| page(&server, &format!("/console/mails{query}"), &cookie).text().unwrap();
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
    let csrf = csrf(&page(&server, &retry, &cookie).text().unwrap());
    let done = form(&server, &retry, &cookie, &[("csrf", &csrf)]);
    let to = done.headers()["location"]
        .to_str()
        .unwrap()
        .strip_prefix("/console/mails")
        .unwrap()
        .to_owned();
    assert!(mails(&to).contains("The mail is sent again now."));
    assert!(
        !mails("?done=retry").contains("The mail is sent again now."),
        "nobody else's link says so"
    );
    std::fs::remove_file(&mailbox).unwrap();
    std::fs::create_dir(&mailbox).unwrap();
    let sent = until("it goes out", "?state=sent", &|shown| {
        shown.contains("ada@acme.example") || shown.contains("acme")
    });
    assert!(!sent.contains("mailbox"), "what was sent shows no error: {sent}");
    let late = form(&server, &retry, &cookie, &[("csrf", &csrf)]);
    assert_eq!(late.status(), StatusCode::CONFLICT);
    assert!(late.text().unwrap().contains("cannot be sent again"));
    assert_eq!(page(&server, &retry, &cookie).status(), StatusCode::CONFLICT, "nor is it offered");
    let audit = page(&server, "/console/audit", &cookie).text().unwrap();
    assert_eq!(audit.matches("Mail sent again").count(), 1, "{audit}");
    assert!(audit.contains("Signed in"), "also what is about no tenant: {audit}");
}

#[test]
fn a_code_that_nobody_would_be_mailed_is_not_minted() {
    let data = tempfile::tempdir().unwrap();
    let (server, operator) = operated(data.path(), &[]);
    // An appliance that brought its tenant along: adopted, and without a contact.
    let tenant = "01900000-0000-7000-8000-000000000001";
    assert_eq!(server.sign("sub_1", &json!(5)).0, 200);
    let code = server.claim_code("sub_1");
    let (status, activated) = server.activate(&code, &json!(tenant));
    assert_eq!(status, 200, "{activated}");
    let cookie = sign_in(&server, &operator);
    let shown = page(&server, &format!("/console/tenants/{tenant}"), &cookie).text().unwrap();
    assert!(shown.contains("Adopted from an appliance"), "{shown}");
    let reissue = format!("/console/tenants/{tenant}/reissue");
    let asked = page(&server, &reissue, &cookie);
    assert_eq!(asked.status(), StatusCode::CONFLICT);
    assert!(asked.text().unwrap().contains("has no e-mail address"));
    let csrf = csrf(&page(&server, "/console", &cookie).text().unwrap());
    let refused = form(&server, &reissue, &cookie, &[("csrf", &csrf), ("form", "x")]);
    assert_eq!(refused.status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert!(refused.text().unwrap().contains("has no e-mail address"));
}

#[test]
fn signing_in_again_ends_the_browsers_earlier_session() {
    let data = tempfile::tempdir().unwrap();
    let (server, operator) = operated(data.path(), &[]);
    let (other, first) = (sign_in(&server, &operator), sign_in(&server, &operator));
    let again = form(&server, "/console/sign-in", &first, &[("token", &operator)]);
    assert_eq!(again.status(), StatusCode::SEE_OTHER);
    assert_eq!(page(&server, "/console", &first).status(), StatusCode::SEE_OTHER);
    assert_eq!(
        page(&server, "/console", &other).status(),
        StatusCode::OK,
        "another browser's goes on"
    );
}

fn what_was_revoked_is_shown_so(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let (server, token) = operated(data.path(), environment);
    let (tenant, code) = server.register("Acme", "pro");
    assert_eq!(server.redeem(&code).0, 200);
    let cookie = sign_in(&server, &token);
    let path = format!("/console/tenants/{tenant}");
    let shown = || page(&server, &path, &cookie).text().unwrap();
    assert!(
        shown().contains("<td>appliance-1</td><td>never</td>") && shown().contains("<dd>pro</dd>"),
        "{}",
        shown()
    );
    let id = TenantId(tenant.parse().unwrap());
    operate(data.path(), environment, async |registry| {
        let appliance = ApplianceId::parse("appliance-1").unwrap();
        registry.appliance_revoke(id, appliance, operator()).await.unwrap();
        let entitlement = registry.tenant_show(id).await.unwrap().entitlement.unwrap().id;
        let entitlement = EntitlementSelector::Id(entitlement);
        registry
            .entitlement_edit(entitlement, EntitlementEdit::Revoke, None, operator())
            .await
            .unwrap();
    });
    assert!(shown().contains("<td>appliance-1</td><td>never</td><td>revoked</td>"), "{}", shown());
    assert!(shown().contains("<dd>pro (revoked)</dd>"), "{}", shown());
}
