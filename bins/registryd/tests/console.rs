//! The operators' console, with and without a browser.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![expect(dead_code, reason = "each test binary uses its part of the harness")]

mod common;
mod databases;
mod external;
mod fleet;
mod pages;

use std::path::Path;
use std::process::Command;

use common::{Server, start, wait_for};
use databases::{Environment, on_both_databases};
use external::{operate, operator, wait_until};
use pages::{CONSOLE_LISTS, block_mailbox, csrf, form, hidden_field, new_cookie, page, token};
use registry_core::id::TenantId;
use registry_core::registry::entitlements::EntitlementEdit;
use registry_core::registry::tenant_admin::TenantEdit;
use registry_core::store::EntitlementSelector;
use registry_core::text::ApplianceId;
use registry_wiring::{Config, TokenRole, Tokens};
use reqwest::StatusCode;
use serde_json::json;

on_both_databases!(revocations_are_shown);

/// Starts registryd, and returns it with an operator's token.
fn start_with_operator(data: &Path, environment: &[(&str, &str)]) -> (Server, String) {
    let operator = token(data, "ann", TokenRole::Operator);
    (start(data, environment), operator)
}

fn sign_in(server: &Server, token: &str) -> String {
    let opened = form(server, "/console/sign-in", "", &[("token", token)]);
    assert_eq!(opened.status(), StatusCode::SEE_OTHER);
    let cookie = opened.headers()["set-cookie"].to_str().unwrap();
    for flag in ["registry-console=", "HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(cookie.contains(flag), "{cookie}");
    }
    new_cookie(&opened)
}

fn is_signed_in(server: &Server, cookie: &str) -> bool {
    match page(server, "/console", cookie).status() {
        StatusCode::OK => true,
        StatusCode::SEE_OTHER => false,
        status => panic!("the console returned {status}"),
    }
}

#[test]
fn operator_uses_console_in_chromium() {
    for script in [true, false] {
        let data = tempfile::tempdir().unwrap();
        let (server, token) = start_with_operator(data.path(), &[]);
        let first = json!({
            "company_name": "<b>Acme</b> & Söhne", "contact_email": "ada@acme.example",
            "edition": "essentials",
        });
        let code = server.post_as_service("/register-tenant", &first).1["install_code"]
            .as_str()
            .unwrap()
            .to_owned();
        assert_eq!((server.redeem(&code).0, server.redeem(&code).0), (200, 409));
        for number in 0..50 {
            server.register(&format!("Company{number}"), "essentials");
        }
        server.mails(51);
        block_mailbox(data.path());
        server.register("Stuck", "essentials");
        let walk = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/console.mjs");
        let args = json!({ "url": format!("{}/", server.url), "token": token, "script": script });
        let output = Command::new("node").arg(walk).arg(args.to_string()).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}{stderr}", String::from_utf8_lossy(&output.stdout));
    }
}

#[test]
fn only_operator_token_signs_in() {
    let data = tempfile::tempdir().unwrap();
    let service = token(data.path(), "store", TokenRole::Service);
    let limit = [("REGISTRY_RATE_LIMIT_CODE_GUESSES", "4")];
    let (server, operator) = start_with_operator(data.path(), &limit);
    for wrong in ["", "x", service.as_str(), server.token.as_str()] {
        let refused = form(&server, "/console/sign-in", "", &[("token", wrong)]);
        assert_eq!(refused.status(), StatusCode::FORBIDDEN, "{wrong}");
        assert!(!refused.headers().contains_key("set-cookie"), "{wrong}");
    }
    let refused = form(&server, "/console/sign-in", "", &[("token", "wrong-token")]);
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(refused.text().unwrap().contains("too many failed sign-ins"));
    let customer = form(&server, "/portal/sign-in", "", &[("email", "ada@acme.example")]);
    assert_eq!(customer.status(), StatusCode::OK, "customers at the same address are not limited");

    let cookie = sign_in(&server, &operator);
    let as_customer = cookie.replace("registry-console", "registry-session");
    assert_eq!(page(&server, "/portal", &as_customer).status(), StatusCode::SEE_OTHER);
    let with_token = format!("registry-console={operator}");
    assert!(!is_signed_in(&server, &with_token), "a token is not a session");
}

#[test]
fn console_pages_need_a_session() {
    let data = tempfile::tempdir().unwrap();
    let (server, operator) = start_with_operator(data.path(), &[]);
    let cookie = sign_in(&server, &operator);
    for path in CONSOLE_LISTS {
        assert_eq!(page(&server, path, "").status(), StatusCode::SEE_OTHER, "{path}");
        let response = page(&server, path, &cookie);
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        let policy = response.headers()["content-security-policy"].to_str().unwrap();
        assert!(policy.contains("default-src 'none'"), "{path}: {policy}");
        assert!(response.text().unwrap().len() < 50_000, "{path}");
    }
    let former = page(&server, "/console/silent", &cookie);
    assert_eq!(former.headers()["location"], "/console/not-checking-in");
}

#[test]
fn empty_lists_say_what_fills_them() {
    let data = tempfile::tempdir().unwrap();
    let (server, operator) = start_with_operator(data.path(), &[]);
    let cookie = sign_in(&server, &operator);
    for (path, text) in [
        ("/console", "No tenants yet."),
        ("/console?query=acme", "No results. Change or clear the filters."),
        ("/console/mails", "No emails yet."),
        ("/console/mails?state=sent", "No results."),
        ("/console/releases", "registryctl release publish"),
        ("/console/not-checking-in", "All licensed appliances are checking in."),
    ] {
        let html = page(&server, path, &cookie).text().unwrap();
        assert!(html.contains(text), "{path}: {html}");
    }
}

#[test]
fn session_ends_with_its_token() {
    let data = tempfile::tempdir().unwrap();
    let (server, operator) = start_with_operator(data.path(), &[]);
    let cookie = sign_in(&server, &operator);
    let config = Config { data: data.path().to_owned(), ..Config::default() };
    Tokens::open_to_change(&config).unwrap().revoke("ann").unwrap();
    let new = token(data.path(), "ann", TokenRole::Operator);
    wait_for("the new token to be accepted", || {
        let status = form(&server, "/console/sign-in", "", &[("token", &new)]).status();
        if status == StatusCode::SEE_OTHER { Ok(()) } else { Err(status.to_string()) }
    });
    assert!(!is_signed_in(&server, &cookie), "a new token of the same name revives no session");
}

#[test]
fn forged_console_form_is_refused() {
    let data = tempfile::tempdir().unwrap();
    let (server, operator) = start_with_operator(data.path(), &[]);
    let (tenant, _) = server.register("Acme", "essentials");
    let cookie = sign_in(&server, &operator);
    let reissue = format!("/console/tenants/{tenant}/reissue");
    let csrf = csrf(&page(&server, &reissue, &cookie).text().unwrap());
    let zeros = "0".repeat(64);
    for path in [reissue.as_str(), "/console/sign-out"] {
        for csrf in ["", &zeros] {
            let refused = form(&server, path, &cookie, &[("csrf", csrf), ("form", "x")]);
            assert_eq!(refused.status(), StatusCode::FORBIDDEN);
            assert!(refused.text().unwrap().contains("<h1>This form has expired</h1>"));
        }
        let anonymous = form(&server, path, "", &[("csrf", &csrf), ("form", "x")]);
        assert_eq!(anonymous.headers()["location"], "/console/sign-in");
    }
    let foreign =
        server.post(&reissue).header("cookie", &cookie).header("sec-fetch-site", "cross-site");
    let refused = foreign.form(&[("csrf", csrf.as_str())]).send().unwrap();
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    assert_eq!(code_count(&server, &tenant), 1);
    form(&server, "/console/sign-out", &cookie, &[("csrf", &csrf)]);
    assert!(!is_signed_in(&server, &cookie));
}

/// Returns the number of install codes that a tenant has ever had.
fn code_count(server: &Server, tenant: &str) -> usize {
    let tenant = server.get_as_service(&format!("/tenants/{tenant}")).1;
    tenant["install_codes"].as_array().unwrap().len()
}

#[test]
fn reissue_is_audited_by_name() {
    let data = tempfile::tempdir().unwrap();
    let (server, operator) = start_with_operator(data.path(), &[]);
    let (tenant, _) = server.register("Acme", "essentials");
    server.mails(1);
    let cookie = sign_in(&server, &operator);
    let reissue = format!("/console/tenants/{tenant}/reissue");
    let csrf = csrf(&page(&server, &reissue, &cookie).text().unwrap());
    for _ in 0..2 {
        let done = form(&server, &reissue, &cookie, &[("csrf", &csrf), ("form", "x")]);
        let path = done.headers()["location"].to_str().unwrap();
        let html = page(&server, path, &cookie).text().unwrap();
        assert!(html.contains("A new install code is on its way."), "{html}");
        assert!(html.contains("operator:ann (127.0.0.1)"), "{html}");
    }
    assert_eq!(code_count(&server, &tenant), 2, "a repeated form is one code");

    let sent = || page(&server, "/console/mails?state=sent", &cookie).text().unwrap();
    wait_until("the new code's mail", || sent().contains("New install code"));
    let mails = sent();
    assert!(!mails.contains("&#x2f;retry"), "a sent mail cannot be resent: {mails}");
    assert!(mails.contains(" UTC"), "{mails}");
}

#[test]
fn unknown_filters_and_ids_are_refused() {
    let data = tempfile::tempdir().unwrap();
    let (server, operator) = start_with_operator(data.path(), &[]);
    let cookie = sign_in(&server, &operator);
    for path in [
        "/console/mails?state=lost",
        "/console?status=lost",
        "/console?cursor=x",
        "/console/mails?cursor=x",
    ] {
        let refused = page(&server, path, &cookie);
        assert_eq!(refused.status(), StatusCode::UNPROCESSABLE_ENTITY, "{path}");
        let text = refused.text().unwrap();
        assert!(text.contains("<h1>Your request could not be completed</h1>"), "{path}: {text}");
    }
    let csrf = csrf(&page(&server, "/console", &cookie).text().unwrap());
    let id = "01900000-0000-7000-8000-000000000000";
    for path in [format!("/console/mails/{id}/retry"), format!("/console/tenants/{id}/reissue")] {
        assert_eq!(page(&server, &path, &cookie).status(), StatusCode::NOT_FOUND, "{path}");
        let refused = form(&server, &path, &cookie, &[("csrf", &csrf), ("form", "y")]);
        assert_eq!(refused.status(), StatusCode::NOT_FOUND, "{path}");
        assert!(refused.text().unwrap().contains("has this ID"), "{path}");
    }
}

#[test]
fn operator_text_does_not_refer_to_vendor() {
    let data = tempfile::tempdir().unwrap();
    let (server, token) = start_with_operator(data.path(), &[]);
    let (tenant, _) = server.register("Acme", "essentials");
    let cookie = sign_in(&server, &token);
    let csrf = csrf(&page(&server, "/console", &cookie).text().unwrap());
    let id = TenantId(tenant.parse().unwrap());
    operate(data.path(), &[], async |registry| {
        registry.tenant_edit(id, TenantEdit::Suspend, operator()).await.unwrap();
    });
    let reissue = format!("/console/tenants/{tenant}/reissue");
    for refused in [
        page(&server, &reissue, &cookie),
        form(&server, &reissue, &cookie, &[("csrf", &csrf), ("form", "x")]),
    ] {
        assert_eq!(refused.status(), StatusCode::FORBIDDEN);
        let text = refused.text().unwrap();
        assert!(text.contains("registryctl tenant resume"), "{text}");
        assert!(!text.contains("your vendor"), "{text}");
    }
}

/// Follows the cursors of a list, and returns the number of its rows.
fn row_count(server: &Server, cookie: &str, path: &str, after: &str) -> usize {
    let (mut rows, mut cursor) = (0, Some(String::new()));
    while let Some(at) = cursor {
        let html = page(server, &format!("{path}?cursor={at}"), cookie).text().unwrap();
        let (_, list) = html.split_once(after).unwrap();
        rows += list.matches("<tr>").count() - 1;
        cursor = hidden_field(list, "cursor");
    }
    rows
}

#[test]
fn long_lists_are_paginated() {
    let data = tempfile::tempdir().unwrap();
    let (server, operator) = start_with_operator(data.path(), &[]);
    let (tenant, code) = server.register("Acme", "essentials");
    let long = "<&\"'".repeat(50);
    for number in 0..110 {
        let email = format!("{}{number}@{}.example", "'".repeat(60), "a".repeat(60));
        let body = json!({ "company_name": long, "contact_email": email, "edition": "essentials" });
        assert_eq!(server.post_as_service("/register-tenant", &body).0, 200);
    }
    assert_eq!(server.redeem(&code).0, 200);
    for _ in 0..80 {
        assert_eq!(server.reissue(&tenant).0, 200);
    }
    let cookie = sign_in(&server, &operator);
    let timeline = format!("/console/tenants/{tenant}");
    for path in CONSOLE_LISTS.into_iter().chain([timeline.as_str()]) {
        let html = page(&server, path, &cookie).text().unwrap();
        assert!(html.len() < 50_000, "{path}: {} bytes", html.len());
    }
    let events = row_count(&server, &cookie, &timeline, "<h2>Timeline</h2>");
    assert_eq!(events, 164, "four, and 80 times re-issued and mailed");
    assert_eq!(row_count(&server, &cookie, "/console/mails", "<h1>"), 191);
}

#[test]
fn deferred_mail_is_resent() {
    let data = tempfile::tempdir().unwrap();
    let (server, operator) = start_with_operator(data.path(), &[]);
    block_mailbox(data.path());
    server.register("Acme", "essentials");
    let cookie = sign_in(&server, &operator);
    let mails =
        |query: &str| page(&server, &format!("/console/mails{query}"), &cookie).text().unwrap();
    let wait_for_mails = |what: &str, query: &str, part: &str| {
        wait_for(what, || {
            let html = mails(query);
            if html.contains(part) { Ok(html) } else { Err(html) }
        })
    };
    let deferred = wait_for_mails("the delivery to fail", "", "mailbox");
    let (_, rest) = deferred.split_once("&#x2f;console&#x2f;mails&#x2f;").unwrap();
    let retry = format!("/console/mails/{}/retry", &rest[..36]);
    let csrf = csrf(&page(&server, &retry, &cookie).text().unwrap());
    let done = form(&server, &retry, &cookie, &[("csrf", &csrf)]);
    let path = done.headers()["location"].to_str().unwrap();
    let (notice, query) =
        ("The email is being resent.", path.strip_prefix("/console/mails").unwrap());
    assert!(mails(query).contains(notice));
    assert!(!mails("?done=retry").contains(notice), "a link from elsewhere shows no notice");
    let mailbox = data.path().join("mailbox");
    std::fs::remove_file(&mailbox).unwrap();
    std::fs::create_dir(&mailbox).unwrap();
    let sent = wait_for_mails("the delivery", "?state=sent", "acme");
    assert!(!sent.contains("mailbox"), "a sent mail has no error: {sent}");
    let late = form(&server, &retry, &cookie, &[("csrf", &csrf)]);
    assert_eq!(late.status(), StatusCode::CONFLICT);
    assert!(late.text().unwrap().contains("cannot be resent"));
    assert_eq!(page(&server, &retry, &cookie).status(), StatusCode::CONFLICT);
    let audit = page(&server, "/console/audit", &cookie).text().unwrap();
    assert_eq!(audit.matches("Email resent").count(), 1, "{audit}");
    assert!(audit.contains("<td>Signed in</td>"), "entries without a tenant are shown: {audit}");
}

#[test]
fn tenant_without_email_gets_no_code() {
    let data = tempfile::tempdir().unwrap();
    let (server, operator) = start_with_operator(data.path(), &[]);
    // The tenant is adopted from an appliance, so it has no contact.
    let tenant = "01900000-0000-7000-8000-000000000001";
    assert_eq!(server.sign("sub_1", &json!(5)).0, 200);
    let code = server.claim_code("sub_1");
    let (status, activated) = server.activate(&code, &json!(tenant));
    assert_eq!(status, 200, "{activated}");
    let cookie = sign_in(&server, &operator);
    let html = page(&server, &format!("/console/tenants/{tenant}"), &cookie).text().unwrap();
    assert!(html.contains("Unknown tenant adopted"), "{html}");
    let reissue = format!("/console/tenants/{tenant}/reissue");
    let offered = page(&server, &reissue, &cookie);
    assert_eq!(offered.status(), StatusCode::CONFLICT);
    assert!(offered.text().unwrap().contains("has no email address"));
    let csrf = csrf(&page(&server, "/console", &cookie).text().unwrap());
    let refused = form(&server, &reissue, &cookie, &[("csrf", &csrf), ("form", "x")]);
    assert_eq!(refused.status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert!(refused.text().unwrap().contains("has no email address"));
}

#[test]
fn new_sign_in_ends_the_browsers_session() {
    let data = tempfile::tempdir().unwrap();
    let (server, operator) = start_with_operator(data.path(), &[]);
    let (other, first) = (sign_in(&server, &operator), sign_in(&server, &operator));
    let again = form(&server, "/console/sign-in", &first, &[("token", &operator)]);
    assert_eq!(again.status(), StatusCode::SEE_OTHER);
    assert!(!is_signed_in(&server, &first));
    assert!(is_signed_in(&server, &other), "another browser's session continues");
}

fn revocations_are_shown(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let (server, token) = start_with_operator(data.path(), environment);
    let (tenant, code) = server.register("Acme", "pro");
    assert_eq!(server.redeem(&code).0, 200);
    let cookie = sign_in(&server, &token);
    let path = format!("/console/tenants/{tenant}");
    let html = || page(&server, &path, &cookie).text().unwrap();
    let before = html();
    assert!(before.contains("<td>appliance-1</td><td>Never</td>"), "{before}");
    assert!(before.contains("<dd>pro</dd>"), "{before}");
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
    let after = html();
    assert!(after.contains("<td>appliance-1</td><td>Never</td><td>Revoked</td>"), "{after}");
    assert!(after.contains("<dd>pro (revoked)</dd>"), "{after}");
}
