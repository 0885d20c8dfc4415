//! The portal: who sees what, and whose session ends when.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![expect(dead_code, reason = "each test binary uses its part of the harness")]

mod both;
mod common;
mod fleet;
mod outside;
mod pages;

use both::{Environment, on_both_databases};
use common::start;
use outside::{operate, operator, publish_as};
use pages::{csrf, form, mailed_token, registration, sign_in, sold};
use registry_core::audit::Action;
use registry_core::id::TenantId;
use registry_core::registry::tenant_admin::TenantEdit;
use registry_core::registry::timeline::Event;
use reqwest::StatusCode;

on_both_databases!(
    whoever_registers_in_anothers_name_gets_nothing_and_takes_nothing,
    a_suspended_customer_may_look_and_nothing_else,
    a_session_is_its_customers_and_forms_of_others_do_nothing,
);

fn a_session_is_its_customers_and_forms_of_others_do_nothing(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    for (form_id, company, email) in
        [("1", "Acme", "ada@acme.example"), ("2", "Bolt", "bob@bolt.example")]
    {
        let fields = registration(form_id, &[("company_name", company), ("contact_email", email)]);
        assert_eq!(form(&server, "/signup", "", &fields).status(), StatusCode::OK);
    }
    let (cookie, token) = sign_in(&server, "ADA@acme.example", 3);
    // A link is good once, and no cookie that somebody chose beforehand becomes a session.
    assert_eq!(
        form(&server, &format!("/portal/sign-in/{token}"), "", &[]).status(),
        StatusCode::FORBIDDEN
    );
    let fixed = format!("registry-session={}", "a".repeat(64));
    form(&server, "/portal/sign-in", "", &[("email", "ada@acme.example")]);
    let opened =
        form(&server, &format!("/portal/sign-in/{}", mailed_token(&server, 4)), &fixed, &[]);
    let fresh =
        opened.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    assert!(fresh != fixed && fresh != cookie);
    let page = |path: &str, cookie: &str| server.get(path).header("cookie", cookie).send().unwrap();
    for nobody in ["", "registry-session=", fixed.as_str(), &format!("registry-session={token}")] {
        assert_eq!(page("/portal", nobody).status(), StatusCode::SEE_OTHER, "{nobody}");
    }
    let mine = page("/portal", &format!("{fixed}; {cookie}")).text().unwrap();
    assert!(mine.contains("Acme") && !mine.contains("Bolt"));
    let all = server.look("/tenants").1;
    let id = |company: &str| {
        let items = all["items"].as_array().unwrap();
        items.iter().find(|it| it["company_name"] == company).unwrap()["tenant_id"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let code_state = |company: &str| {
        let shown = server.look(&format!("/tenants/{}", id(company))).1;
        shown["install_codes"].as_array().unwrap().len()
    };
    let (own, others) = (
        format!("/portal/tenants/{}/reissue", id("Acme")),
        format!("/portal/tenants/{}/reissue", id("Bolt")),
    );
    let csrf = csrf(&mine);
    // Another's tenant, a form without the session's secret, one of another site, and nobody's.
    let anothers = form(&server, &others, &cookie, &[("csrf", &csrf), ("form", "x")]);
    let nobodys = "/portal/tenants/01900000-0000-7000-8000-000000000000/reissue";
    for answer in [anothers, page(&others, &cookie), page(nobodys, &cookie)] {
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "as if there were none");
        assert!(answer.text().unwrap().contains("There is no such tenant"));
    }
    for wrong in ["", &"0".repeat(64)] {
        for path in [own.as_str(), "/portal/sign-out"] {
            let stale = form(&server, path, &cookie, &[("csrf", wrong), ("form", "x")]);
            assert_eq!(stale.status(), StatusCode::FORBIDDEN, "{path}");
            assert!(stale.text().unwrap().contains("<h1>Once more, please</h1>"), "{path}");
        }
    }
    assert_eq!(
        form(&server, &own, "", &[("csrf", &csrf), ("form", "x")]).headers()["location"],
        "/portal/sign-in"
    );
    for (header, site) in [
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        ("origin", "http://evil.example"),
    ] {
        let foreign = server.post(&own).header("cookie", &cookie).header(header, site);
        assert_eq!(
            foreign.form(&[("csrf", csrf.as_str())]).send().unwrap().status(),
            StatusCode::FORBIDDEN,
            "{site}"
        );
    }
    assert_eq!((code_state("Acme"), code_state("Bolt")), (1, 1));
    for _ in 0..2 {
        let done = form(&server, &own, &cookie, &[("csrf", &csrf), ("form", "x")]);
        let to = done.headers()["location"].to_str().unwrap().to_owned();
        assert!(page(&to, &cookie).text().unwrap().contains("A fresh code is on its way"));
        let forged = page("/portal?done=reissue", &cookie).text().unwrap();
        assert!(!forged.contains("A fresh code is on its way"), "nobody else's link says so");
    }
    assert_eq!(code_state("Acme"), 2, "sent twice, it is one code");
    // Signing out ends this session; everywhere, the other one too.
    form(&server, "/portal/sign-out", &cookie, &[("csrf", &csrf)]);
    assert_eq!(
        (page("/portal", &cookie).status(), page("/portal", &fresh).status()),
        (StatusCode::SEE_OTHER, StatusCode::OK)
    );
    // The browser's earlier session ends when it signs in again.
    let again = form(&server, "/portal/sign-in", "", &[("email", "ada@acme.example")]);
    assert_eq!(again.status(), StatusCode::OK);
    let again =
        form(&server, &format!("/portal/sign-in/{}", mailed_token(&server, 6)), &fresh, &[]);
    let later =
        again.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    assert_eq!(page("/portal", &fresh).status(), StatusCode::SEE_OTHER);
    let fresh = later;
    let csrf = pages::csrf(&page("/portal", &fresh).text().unwrap());
    form(&server, "/portal/sign-out", &fresh, &[("csrf", &csrf), ("everywhere", "yes")]);
    assert_eq!(page("/portal", &fresh).status(), StatusCode::SEE_OTHER);
}

fn whoever_registers_in_anothers_name_gets_nothing_and_takes_nothing(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    let own = sold(&server, "Acme", "viktor@acme.example");
    // The Kelvin sign is no k: mail to it goes to somebody else.
    sold(&server, "Eve", "vi\u{212a}tor@acme.example");
    let (cookie, _) = sign_in(&server, "Viktor@acme.example", 1);
    let mail = server.mails(1).remove(0);
    assert!(
        mail.contains("To: viktor@acme.example") || mail.contains("To: <viktor@acme.example>"),
        "{mail}"
    );
    let page = |path: &str| server.get(path).header("cookie", &cookie).send().unwrap();
    let shown = page("/portal").text().unwrap();
    assert!(shown.contains("Acme") && !shown.contains("Eve"), "{shown}");

    for number in 0..20 {
        sold(&server, &format!("Spam {number}"), "viktor@acme.example");
    }
    let first = page("/portal").text().unwrap();
    assert!(first.contains("Spam 19") && !first.contains("Acme"));
    let cursor = first.split_once("name=\"cursor\" value=\"").unwrap().1.split('"').next().unwrap();
    assert!(page(&format!("/portal?cursor={cursor}")).text().unwrap().contains("Acme"));
    let reissue = format!("/portal/tenants/{own}/reissue");
    assert_eq!(page(&reissue).status(), StatusCode::OK, "also from a later page");
    assert_eq!(page("/portal?cursor=x").status(), StatusCode::UNPROCESSABLE_ENTITY);
}

fn a_suspended_customer_may_look_and_nothing_else(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    let tenant = sold(&server, "Acme", "ada@acme.example");
    let (cookie, _) = sign_in(&server, "ada@acme.example", 1);
    let id = TenantId(tenant.parse().unwrap());
    operate(data.path(), environment, async |registry| {
        registry.tenant_edit(id, TenantEdit::Suspend, operator()).await.unwrap();
    });
    let page = |path: &str| server.get(path).header("cookie", &cookie).send().unwrap();
    let shown = page("/portal").text().unwrap();
    assert!(
        shown.contains("Acme") && !shown.contains("&#x2f;reissue") && !shown.contains("/reissue"),
        "{shown}"
    );
    for path in ["/portal/download".to_owned(), format!("/portal/tenants/{tenant}/reissue")] {
        let answer = page(&path);
        assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{path}");
        assert!(answer.text().unwrap().contains("suspended, or cancelled"), "{path}");
    }
    let (again, _) = sign_in(&server, "ada@acme.example", 2);
    let shown = server.get("/portal").header("cookie", again).send().unwrap();
    assert_eq!(shown.status(), StatusCode::OK, "and signs in to look");
}

/// Everything that a customer of a paid edition sees, in both languages.
#[test]
fn the_portal_shows_appliances_licenses_and_the_image_and_downloads_are_audited() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), &[]);
    publish_as("2.5.0", data.path(), &[], &vec![7; 1_234_567]);
    let (tenant, code) = server.register("Acme", "pro");
    let (status, redeemed) = server.redeem(&code);
    assert_eq!(status, 200, "{redeemed}");
    let (cookie, _) = sign_in(&server, "acme@example.com", 2);
    let page = |language: &str| {
        let asked =
            server.get("/portal").header("cookie", &cookie).header("accept-language", language);
        asked.send().unwrap().text().unwrap()
    };
    let (english, german) = (page("en"), page("de"));
    assert!(
        english.contains("<code>appliance-1</code>") && english.contains("<td>never</td>"),
        "{english}"
    );
    assert!(english.contains(" UTC</td>"), "the license's end: {english}");
    assert!(english.contains("1.23 MB") && german.contains("1,23 MB"), "{german}");
    assert!(english.contains("image.iso") && english.contains("Version 2.5.0"), "{english}");
    let day = |shown: &str, separator: char| shown.matches(separator).count();
    assert!(day(&german, '.') > day(&english, '.'), "25.11.2026");

    let download = server.get("/portal/download").header("cookie", &cookie).send().unwrap();
    assert_eq!(download.status(), StatusCode::SEE_OTHER);
    let to = download.headers()["location"]
        .to_str()
        .unwrap()
        .strip_prefix(&server.url)
        .unwrap()
        .to_owned();
    assert_eq!(server.get(&to).send().unwrap().bytes().unwrap().len(), 1_234_567);
    let id = TenantId(tenant.parse().unwrap());
    operate(data.path(), &[], async |registry| {
        let (events, _) = registry.tenant_timeline(id, 100, None).await.unwrap();
        let is_download = |it: &Event| matches!(it, Event::Audited(entry) if entry.action == Action::DownloadStarted);
        assert!(events.iter().any(is_download), "{events:?}");
    });
}

/// Somebody else's link, in a browser that is signed in; and links that lead away.
#[test]
fn a_link_of_another_address_signs_in_as_that_one_and_nothing_leads_elsewhere() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), &[]);
    sold(&server, "Acme", "ada@acme.example");
    sold(&server, "Bolt", "bob@bolt.example");
    let (ada, _) = sign_in(&server, "ada@acme.example", 1);
    form(&server, "/portal/sign-in", "", &[("email", "bob@bolt.example")]);
    let opened = form(&server, &format!("/portal/sign-in/{}", mailed_token(&server, 2)), &ada, &[]);
    let bob =
        opened.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let page = |path: &str, cookie: &str| server.get(path).header("cookie", cookie).send().unwrap();
    let shown = page("/portal", &bob).text().unwrap();
    assert!(shown.contains("Bolt") && !shown.contains("Acme"), "each sees their own");
    assert_eq!(
        page("/portal", &ada).status(),
        StatusCode::SEE_OTHER,
        "the browser's earlier session is over"
    );
    for path in [
        "/portal//evil.example",
        "//evil.example/portal",
        "/portal/sign-in?next=https://evil.example",
        "/portal?done=https://evil.example",
        "/signup/?to=//evil.example",
        "/console/sign-in?next=//evil.example",
    ] {
        let answer = page(path, &bob);
        let away = answer
            .headers()
            .get("location")
            .map(|to| to.to_str().unwrap().to_owned())
            .unwrap_or_default();
        assert!(!away.contains("evil"), "{path}: {away}");
        assert!(!answer.text().unwrap().contains("evil.example"), "{path}");
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
fn known_and_unknown_addresses_are_answered_alike() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), &[]);
    sold(&server, "Acme", "ada@acme.example");
    let answer = |email: &str| {
        let answer = form(&server, "/portal/sign-in", "", &[("email", email)]);
        let status = answer.status();
        let mut headers: Vec<_> = answer
            .headers()
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .collect();
        headers.retain(|(name, _)| name != "x-request-id" && name != "date");
        (status, headers, answer.text().unwrap().replace(email, "ADDRESS"))
    };
    assert_eq!(answer("ada@acme.example"), answer("eve@acme.example"));
}

#[test]
fn cookies_of_a_registry_behind_https_go_nowhere_else() {
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
    let cookie = cookie.split(';').next().unwrap();
    let page =
        |cookie: &str| server.get("/portal").header("cookie", cookie).send().unwrap().status();
    assert_eq!(page(cookie), StatusCode::OK);
    assert_eq!(
        page(cookie.strip_prefix("__Host-").unwrap()),
        StatusCode::SEE_OTHER,
        "another host may have set it"
    );
}

#[test]
fn one_address_gets_so_many_mails_from_however_many_sources() {
    let data = tempfile::tempdir().unwrap();
    let server = start(
        data.path(),
        &[("REGISTRY_DOOR_ASKS", "3"), ("REGISTRY_HTTP_TRUSTED_PROXIES", "['127.0.0.1/32']")],
    );
    sold(&server, "Acme", "ada@acme.example");
    // An address that is known, and one that is not: refused alike.
    for email in ["ada@acme.example", "nobody@acme.example"] {
        let ask = |number: u8| {
            let asked = server
                .post("/portal/sign-in")
                .header("x-forwarded-for", format!("192.0.2.{number}"));
            asked.form(&[("email", email)]).send().unwrap().status()
        };
        assert!((0..3).all(|number| ask(number) == StatusCode::OK), "{email}");
        assert_eq!(ask(9), StatusCode::TOO_MANY_REQUESTS, "{email}");
    }
}
