//! The portal: sign-in, sessions, and the view of a customer's tenants.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![expect(dead_code, reason = "each test binary uses its part of the harness")]

mod common;
mod databases;
mod external;
mod fleet;
mod pages;

use common::{Server, start};
use databases::{Environment, on_both_databases};
use external::{operate, operator, publish_as};
use pages::{
    csrf, form, mailed_token, new_cookie, page, register_by_service, registration, sign_in,
};
use registry_core::audit::Action;
use registry_core::id::TenantId;
use registry_core::registry::tenant_admin::TenantEdit;
use registry_core::registry::timeline::Event;
use reqwest::StatusCode;
use serde_json::json;

on_both_databases!(
    session_belongs_to_its_customer,
    forged_form_is_refused,
    repeated_reissue_form_is_one_code,
    sign_out_ends_sessions,
    customer_sees_only_own_tenants,
    suspended_customer_can_only_look,
);

/// Starts registryd, and registers Acme by Ada and Bolt by Bob on the pages: two mails.
fn two_customers(data: &tempfile::TempDir, environment: Environment) -> Server {
    let server = start(data.path(), environment);
    for (id, company, email) in
        [("1", "Acme", "ada@acme.example"), ("2", "Bolt", "bob@bolt.example")]
    {
        let fields = registration(id, &[("company_name", company), ("contact_email", email)]);
        assert_eq!(form(&server, "/signup", "", &fields).status(), StatusCode::OK);
    }
    server
}

fn tenant_id(server: &Server, company: &str) -> String {
    let tenants = server.get_as_service("/tenants").1;
    let mut items = tenants["items"].as_array().unwrap().iter();
    let tenant = items.find(|it| it["company_name"] == company).unwrap();
    tenant["tenant_id"].as_str().unwrap().to_owned()
}

/// Returns the number of install codes that a company has ever had.
fn code_count(server: &Server, company: &str) -> usize {
    let tenant = server.get_as_service(&format!("/tenants/{}", tenant_id(server, company))).1;
    tenant["install_codes"].as_array().unwrap().len()
}

fn reissue_path(server: &Server, company: &str) -> String {
    format!("/portal/tenants/{}/reissue", tenant_id(server, company))
}

fn portal(server: &Server, cookie: &str) -> String {
    page(server, "/portal", cookie).text().unwrap()
}

fn is_signed_in(server: &Server, cookie: &str) -> bool {
    match page(server, "/portal", cookie).status() {
        StatusCode::OK => true,
        StatusCode::SEE_OTHER => false,
        status => panic!("the portal returned {status}"),
    }
}

fn session_belongs_to_its_customer(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = two_customers(&data, environment);
    let (cookie, token) = sign_in(&server, "ADA@acme.example", 3);
    let again = form(&server, &format!("/portal/sign-in/{token}"), "", &[]);
    assert_eq!(again.status(), StatusCode::FORBIDDEN, "a link works once");
    let chosen = format!("registry-session={}", "a".repeat(64));
    form(&server, "/portal/sign-in", "", &[("email", "ada@acme.example")]);
    let link = format!("/portal/sign-in/{}", mailed_token(&server, 4));
    let second = new_cookie(&form(&server, &link, &chosen, &[]));
    assert!(second != chosen && second != cookie, "a session's token is never chosen beforehand");
    let of_link = format!("registry-session={token}");
    for invalid in ["", "registry-session=", chosen.as_str(), of_link.as_str()] {
        assert!(!is_signed_in(&server, invalid), "{invalid}");
    }
    let html = portal(&server, &format!("{chosen}; {cookie}"));
    assert!(html.contains("Acme") && !html.contains("Bolt"), "{html}");

    let others = reissue_path(&server, "Bolt");
    let missing = "/portal/tenants/01900000-0000-7000-8000-000000000000/reissue";
    let csrf = csrf(&html);
    for response in [
        form(&server, &others, &cookie, &[("csrf", &csrf), ("form", "x")]),
        page(&server, &others, &cookie),
        page(&server, missing, &cookie),
    ] {
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "as if it did not exist");
        assert!(response.text().unwrap().contains("This registration was not found."));
    }
    assert_eq!(code_count(&server, "Bolt"), 1);
}

fn forged_form_is_refused(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = two_customers(&data, environment);
    let (cookie, _) = sign_in(&server, "ada@acme.example", 3);
    let (own, csrf) = (reissue_path(&server, "Acme"), csrf(&portal(&server, &cookie)));
    for wrong in ["", &"0".repeat(64)] {
        for path in [own.as_str(), "/portal/sign-out"] {
            let refused = form(&server, path, &cookie, &[("csrf", wrong), ("form", "x")]);
            assert_eq!(refused.status(), StatusCode::FORBIDDEN, "{path}");
            assert!(refused.text().unwrap().contains("<h1>This form has expired</h1>"), "{path}");
        }
    }
    let anonymous = form(&server, &own, "", &[("csrf", &csrf), ("form", "x")]);
    assert_eq!(anonymous.headers()["location"], "/portal/sign-in");
    for (header, site) in [
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        ("origin", "http://evil.example"),
    ] {
        let foreign = server.post(&own).header("cookie", &cookie).header(header, site);
        let refused = foreign.form(&[("csrf", csrf.as_str())]).send().unwrap();
        assert_eq!(refused.status(), StatusCode::FORBIDDEN, "{site}");
    }
    assert_eq!(code_count(&server, "Acme"), 1);
}

fn repeated_reissue_form_is_one_code(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = two_customers(&data, environment);
    let (cookie, _) = sign_in(&server, "ada@acme.example", 3);
    let (own, csrf) = (reissue_path(&server, "Acme"), csrf(&portal(&server, &cookie)));
    let notice = "A new install code is on its way";
    for _ in 0..2 {
        let done = form(&server, &own, &cookie, &[("csrf", &csrf), ("form", "x")]);
        let path = done.headers()["location"].to_str().unwrap();
        assert!(page(&server, path, &cookie).text().unwrap().contains(notice));
        let forged = page(&server, "/portal?done=reissue", &cookie).text().unwrap();
        assert!(!forged.contains(notice), "a link from elsewhere shows no notice");
    }
    assert_eq!(code_count(&server, "Acme"), 2);
}

fn sign_out_ends_sessions(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = two_customers(&data, environment);
    let (first, _) = sign_in(&server, "ada@acme.example", 3);
    let (second, _) = sign_in(&server, "ada@acme.example", 4);
    let first_csrf = csrf(&portal(&server, &first));
    form(&server, "/portal/sign-out", &first, &[("csrf", &first_csrf)]);
    assert!(!is_signed_in(&server, &first) && is_signed_in(&server, &second), "one session ends");

    form(&server, "/portal/sign-in", "", &[("email", "ada@acme.example")]);
    let link = format!("/portal/sign-in/{}", mailed_token(&server, 5));
    let third = new_cookie(&form(&server, &link, &second, &[]));
    assert!(!is_signed_in(&server, &second), "a new sign-in ends the browser's earlier session");

    let (fourth, _) = sign_in(&server, "ada@acme.example", 6);
    let third_csrf = csrf(&portal(&server, &third));
    let everywhere = [("csrf", third_csrf.as_str()), ("everywhere", "yes")];
    form(&server, "/portal/sign-out", &third, &everywhere);
    assert!(!is_signed_in(&server, &third) && !is_signed_in(&server, &fourth), "all end");
}

fn customer_sees_only_own_tenants(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    let own = register_by_service(&server, "Acme", "viktor@acme.example");
    // The Kelvin sign (U+212A) is not a k: it is another address.
    register_by_service(&server, "Eve", "vi\u{212a}tor@acme.example");
    let (cookie, _) = sign_in(&server, "Viktor@acme.example", 1);
    let mail = server.mails(1).remove(0);
    assert!(
        mail.contains("To: viktor@acme.example") || mail.contains("To: <viktor@acme.example>"),
        "{mail}"
    );
    let html = portal(&server, &cookie);
    assert!(html.contains("Acme") && !html.contains("Eve"), "{html}");

    // Somebody else can register tenants with this address. They hide nothing.
    for number in 0..20 {
        register_by_service(&server, &format!("Spam {number}"), "viktor@acme.example");
    }
    let first = portal(&server, &cookie);
    assert!(first.contains("Spam 19") && !first.contains("Acme"));
    let cursor = pages::hidden_field(&first, "cursor").unwrap();
    let next = page(&server, &format!("/portal?cursor={cursor}"), &cookie).text().unwrap();
    assert!(next.contains("Acme"), "{next}");
    let reissue = page(&server, &format!("/portal/tenants/{own}/reissue"), &cookie);
    assert_eq!(reissue.status(), StatusCode::OK, "also for a tenant on a later page");
    let invalid = page(&server, "/portal?cursor=x", &cookie);
    assert_eq!(invalid.status(), StatusCode::UNPROCESSABLE_ENTITY);
}

fn suspended_customer_can_only_look(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    let tenant = register_by_service(&server, "Acme", "ada@acme.example");
    let (cookie, _) = sign_in(&server, "ada@acme.example", 1);
    let id = TenantId(tenant.parse().unwrap());
    operate(data.path(), environment, async |registry| {
        registry.tenant_edit(id, TenantEdit::Suspend, operator()).await.unwrap();
    });
    let html = portal(&server, &cookie);
    assert!(
        html.contains("Acme") && !html.contains("&#x2f;reissue") && !html.contains("/reissue"),
        "{html}"
    );
    for path in ["/portal/download".to_owned(), format!("/portal/tenants/{tenant}/reissue")] {
        let response = page(&server, &path, &cookie);
        assert_eq!(response.status(), StatusCode::FORBIDDEN, "{path}");
        assert!(response.text().unwrap().contains("suspended or cancelled"), "{path}");
    }
    let (again, _) = sign_in(&server, "ada@acme.example", 2);
    assert!(is_signed_in(&server, &again), "a suspended customer can sign in");
}

#[test]
fn portal_shows_appliances_and_image() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), &[]);
    publish_as("2.5.0", data.path(), &[], &vec![7; 1_234_567]);
    let (_, code) = server.register("Acme", "pro");
    let (status, redeemed) = server.redeem(&code);
    assert_eq!(status, 200, "{redeemed}");
    let (cookie, _) = sign_in(&server, "acme@example.com", 2);
    let portal = |language: &str| {
        let request = server.get("/portal").header("cookie", &cookie);
        request.header("accept-language", language).send().unwrap().text().unwrap()
    };
    let (english, german) = (portal("en"), portal("de"));
    assert!(
        english.contains("<code>appliance-1</code>") && english.contains("<td>Never</td>"),
        "{english}"
    );
    assert!(english.contains(" UTC</td>"), "the license's expiry: {english}");
    assert!(english.contains("1.23 MB") && german.contains("1,23 MB"), "{german}");
    assert!(english.contains("image.iso") && english.contains("Version 2.5.0"), "{english}");
    let full_stops = |page: &str| page.matches('.').count();
    assert!(full_stops(&german) > full_stops(&english), "German dates, such as 25.11.2026");
}

#[test]
fn ended_subscription_is_shown() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), &[]);
    server.subscribe("sub_1");
    let (cookie, _) = sign_in(&server, "a@example.com", 2);
    assert!(portal(&server, &cookie).contains("<dd>pro</dd>"));
    server.post_as_service("/revoke", &json!({ "stripe_sub_id": "sub_1" }));
    let html = portal(&server, &cookie);
    assert!(html.contains("<dd>pro (subscription ended)</dd>"), "{html}");
}

#[test]
fn download_is_audited() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), &[]);
    publish_as("2.5.0", data.path(), &[], &vec![7; 1_234_567]);
    let (tenant, _) = server.register("Acme", "pro");
    let (cookie, _) = sign_in(&server, "acme@example.com", 2);
    let redirect = page(&server, "/portal/download", &cookie);
    assert_eq!(redirect.status(), StatusCode::SEE_OTHER);
    let url = redirect.headers()["location"].to_str().unwrap().to_owned();
    let path = url.strip_prefix(&server.url).unwrap();
    assert_eq!(server.get(path).send().unwrap().bytes().unwrap().len(), 1_234_567);
    let id = TenantId(tenant.parse().unwrap());
    operate(data.path(), &[], async |registry| {
        let (events, _) = registry.tenant_timeline(id, 100, None).await.unwrap();
        let is_download = |event: &Event| match event {
            Event::Audited(entry) => entry.action == Action::DownloadStarted,
            Event::Mailed(_) => false,
        };
        assert!(events.iter().any(is_download), "{events:?}");
    });
}

#[test]
fn link_of_another_address_replaces_session() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), &[]);
    register_by_service(&server, "Acme", "ada@acme.example");
    register_by_service(&server, "Bolt", "bob@bolt.example");
    let (ada, _) = sign_in(&server, "ada@acme.example", 1);
    form(&server, "/portal/sign-in", "", &[("email", "bob@bolt.example")]);
    let link = format!("/portal/sign-in/{}", mailed_token(&server, 2));
    let bob = new_cookie(&form(&server, &link, &ada, &[]));
    let html = portal(&server, &bob);
    assert!(html.contains("Bolt") && !html.contains("Acme"), "{html}");
    assert!(!is_signed_in(&server, &ada), "the browser's earlier session has ended");
}

#[test]
fn input_never_leads_to_another_site() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), &[]);
    register_by_service(&server, "Bolt", "bob@bolt.example");
    let (cookie, _) = sign_in(&server, "bob@bolt.example", 1);
    for path in [
        "/portal//evil.example",
        "//evil.example/portal",
        "/portal/sign-in?next=https://evil.example",
        "/portal?done=https://evil.example",
        "/signup/?to=//evil.example",
        "/console/sign-in?next=//evil.example",
    ] {
        let response = page(&server, path, &cookie);
        let location = response.headers().get("location").map(|to| to.to_str().unwrap());
        assert!(!location.unwrap_or_default().contains("evil"), "{path}: {location:?}");
        assert!(!response.text().unwrap().contains("evil.example"), "{path}");
    }
    for email in [
        "bob@bolt.example\r\nBcc: eve@evil.example",
        "<script>alert(1)</script>@x.example",
        "a@b, c@d",
    ] {
        let refused = form(&server, "/portal/sign-in", "", &[("email", email)]);
        assert_eq!(refused.status(), StatusCode::UNPROCESSABLE_ENTITY, "{email}");
        assert!(!refused.text().unwrap().contains("<script>"), "{email}");
    }
}

#[test]
fn sign_in_does_not_reveal_known_addresses() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), &[]);
    register_by_service(&server, "Acme", "ada@acme.example");
    let request_link = |email: &str| {
        let response = form(&server, "/portal/sign-in", "", &[("email", email)]);
        let status = response.status();
        let mut headers: Vec<_> = response
            .headers()
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .collect();
        headers.retain(|(name, _)| name != "x-request-id" && name != "date");
        (status, headers, response.text().unwrap().replace(email, "ADDRESS"))
    };
    assert_eq!(request_link("ada@acme.example"), request_link("eve@acme.example"));
}

#[test]
fn https_cookie_is_bound_to_host() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), &[("REGISTRY_PUBLIC_URL", "https://registry.example")]);
    form(&server, "/signup", "", &registration("1", &[]));
    form(&server, "/portal/sign-in", "", &[("email", "ada@acme.example")]);
    let opened = form(&server, &format!("/portal/sign-in/{}", mailed_token(&server, 2)), "", &[]);
    let cookie = opened.headers()["set-cookie"].to_str().unwrap();
    assert!(
        cookie.starts_with("__Host-registry-session=") && cookie.ends_with("; Secure"),
        "{cookie}"
    );
    let cookie = new_cookie(&opened);
    assert!(is_signed_in(&server, &cookie));
    let without_prefix = cookie.strip_prefix("__Host-").unwrap();
    assert!(!is_signed_in(&server, without_prefix), "another host may have set this cookie");
}

#[test]
fn mails_to_an_address_are_limited() {
    let data = tempfile::tempdir().unwrap();
    let environment =
        [("REGISTRY_RATE_LIMIT_MAILS", "3"), ("REGISTRY_HTTP_TRUSTED_PROXIES", "['127.0.0.1/32']")];
    let server = start(data.path(), &environment);
    register_by_service(&server, "Acme", "ada@acme.example");
    // Each request has another source. Known and unknown addresses are limited alike.
    for email in ["ada@acme.example", "nobody@acme.example"] {
        let request_link = |number: u8| {
            let source = format!("192.0.2.{number}");
            let request = server.post("/portal/sign-in").header("x-forwarded-for", source);
            request.form(&[("email", email)]).send().unwrap().status()
        };
        assert!((0..3).all(|number| request_link(number) == StatusCode::OK), "{email}");
        assert_eq!(request_link(9), StatusCode::TOO_MANY_REQUESTS, "{email}");
    }
}
