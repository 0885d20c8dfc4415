//! The customer's door: registering and the portal, in a browser and without one.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![expect(dead_code, reason = "each test binary uses its part of the harness")]

mod both;
mod common;
mod fleet;
mod outside;

use std::path::Path;
use std::process::Command;

use both::{Environment, on_both_databases};
use common::{Server, start};
use outside::{operate, operator};
use registry_core::id::TenantId;
use registry_core::registry::operate::TenantEdit;
use reqwest::StatusCode;
use reqwest::blocking::Response;
use serde_json::{Value, json};

on_both_databases!(
    whoever_registers_in_anothers_name_gets_nothing_and_takes_nothing,
    a_suspended_customer_may_look_and_nothing_else,
    a_session_is_its_customers_and_forms_of_others_do_nothing,
);

fn walk(server: &Server, script: bool) -> Value {
    let walk = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/door.mjs");
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
        let server = start(data.path(), &[("REGISTRY_DOOR_BLOCKED_DOMAINS", r#"["spam.example"]"#)]);
        let codes = walk(&server, script);
        let redeem = |code: &Value| server.post("/register").json(&json!({ "claim_code": code, "appliance_id": "a" }));
        assert_eq!(redeem(&codes["first"]).send().unwrap().status(), StatusCode::CONFLICT, "the older one died");
        assert_eq!(redeem(&codes["second"]).send().unwrap().status(), StatusCode::OK);
        let tenants = server.look("/tenants").1;
        assert_eq!(tenants["items"].as_array().unwrap().len(), 1, "{tenants}");
        assert_eq!(tenants["items"][0]["company_name"], "Acme & <b>Söhne</b>");
    }
}

fn form(server: &Server, path: &str, cookie: &str, fields: &[(&str, &str)]) -> Response {
    server.post(path).header("cookie", cookie).form(fields).send().unwrap()
}

fn registration<'a>(form: &'a str, change: &[(&'static str, &'a str)]) -> Vec<(&'static str, &'a str)> {
    let mut fields =
        vec![("form", form), ("company_name", "Acme"), ("contact_email", "ada@acme.example"), ("product_code", "psa")];
    for (name, value) in change {
        fields.retain(|(known, _)| known != name);
        fields.push((name, value));
    }
    fields
}

fn tenants(server: &Server) -> usize {
    server.look("/tenants").1["items"].as_array().unwrap().len()
}

/// What the newest mail's link signs in with, once so many mails have come.
fn mailed_token(server: &Server, mails: usize) -> String {
    for _ in 0..200 {
        let mut files: Vec<_> =
            std::fs::read_dir(server.data.join("mailbox")).unwrap().map(|it| it.unwrap().path()).collect();
        files.retain(|path| path.extension().is_some_and(|it| it == "eml"));
        files.sort();
        if files.len() >= mails {
            let text = std::fs::read_to_string(files.pop().unwrap()).unwrap().replace("=\r\n", "").replace("=\n", "");
            let (_, rest) = text.split_once("/portal/sign-in/").unwrap();
            return rest[..64].to_owned();
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    panic!("the mail does not come")
}

fn sign_in(server: &Server, email: &str, mails: usize) -> (String, String) {
    let asked = form(server, "/portal/sign-in", "", &[("email", email)]);
    assert_eq!(asked.status(), StatusCode::OK);
    let token = mailed_token(server, mails);
    let opened = form(server, &format!("/portal/sign-in/{token}"), "", &[]);
    assert_eq!(opened.status(), StatusCode::SEE_OTHER);
    let cookie = opened.headers()["set-cookie"].to_str().unwrap().to_owned();
    for flag in ["HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(cookie.contains(flag), "{cookie}");
    }
    (cookie.split(';').next().unwrap().to_owned(), token)
}

fn csrf(page: &str) -> String {
    page.split_once("name=\"csrf\" value=\"").unwrap().1.split('"').next().unwrap().to_owned()
}

#[test]
fn a_form_that_is_sent_twice_is_one_registration_and_a_program_that_fills_all_fields_is_none() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), &[("REGISTRY_DOOR_BLOCKED_DOMAINS", r#"["spam.example"]"#)]);
    for _ in 0..3 {
        let done = form(&server, "/signup", "", &registration("f-1", &[]));
        assert!(done.status() == StatusCode::OK && done.text().unwrap().contains("Look into your inbox"));
    }
    assert_eq!(tenants(&server), 1);
    let other = form(&server, "/signup", "", &registration("f-1", &[("company_name", "Bolt")]));
    assert_eq!(other.status(), StatusCode::UNPROCESSABLE_ENTITY);
    let trapped = form(&server, "/signup", "", &registration("f-2", &[("website", "http://spam.example")]));
    assert!(trapped.text().unwrap().contains("Look into your inbox"), "it learns nothing");
    for email in ["eve@spam.example", "eve@mail.SPAM.example"] {
        let blocked = form(&server, "/signup", "", &registration("f-3", &[("contact_email", email)]));
        assert!(blocked.text().unwrap().contains("Addresses of this domain"), "{email}");
    }
    for name in ["Win at https://evil.example", "Acme \u{202e}elpmaxe"] {
        for field in ["company_name", "contact_name"] {
            let stuffed = form(&server, "/signup", "", &registration("f-5", &[(field, name)]));
            assert!(stuffed.text().unwrap().contains("without a link"), "{field} {name}");
        }
    }
    for email in
        ["ada@acme.example\r\nBcc: eve@evil.example", "\"a\r\nb\"@acme.example", "ada@acme.example, eve@evil.example"]
    {
        let injected = form(&server, "/signup", "", &registration("f-4", &[("contact_email", email)]));
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
        let done = form(&server, "/signup", "", &registration(&email, &[("contact_email", &email)]));
        assert_eq!(done.status(), StatusCode::OK);
    }
    let late = form(&server, "/signup", "", &registration("late", &[]));
    assert_eq!(late.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(late.headers().contains_key("retry-after") && late.text().unwrap().contains("Too much was asked for"));
    let late = form(&server, "/portal/sign-in", "", &[("email", "a0@acme.example")]);
    assert_eq!(late.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(tenants(&server), 3);
}

fn a_session_is_its_customers_and_forms_of_others_do_nothing(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    for (form_id, company, email) in [("1", "Acme", "ada@acme.example"), ("2", "Bolt", "bob@bolt.example")] {
        let fields = registration(form_id, &[("company_name", company), ("contact_email", email)]);
        assert_eq!(form(&server, "/signup", "", &fields).status(), StatusCode::OK);
    }
    let (cookie, token) = sign_in(&server, "ADA@acme.example", 3);
    // A link is good once, and no cookie that somebody chose beforehand becomes a session.
    assert_eq!(form(&server, &format!("/portal/sign-in/{token}"), "", &[]).status(), StatusCode::FORBIDDEN);
    let fixed = format!("registry-session={}", "a".repeat(64));
    let (fresh, _) = sign_in(&server, "ada@acme.example", 4);
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
        items.iter().find(|it| it["company_name"] == company).unwrap()["tenant_id"].as_str().unwrap().to_owned()
    };
    let code_state = |company: &str| {
        let shown = server.look(&format!("/tenants/{}", id(company))).1;
        shown["install_codes"].as_array().unwrap().len()
    };
    let (own, others) =
        (format!("/portal/tenants/{}/reissue", id("Acme")), format!("/portal/tenants/{}/reissue", id("Bolt")));
    let csrf = csrf(&mine);
    // Another's tenant, a form without the session's secret, one of another site, and nobody's.
    form(&server, &others, &cookie, &[("csrf", &csrf), ("form", "x")]);
    assert_eq!(page(&others, &cookie).status(), StatusCode::SEE_OTHER);
    for wrong in ["", &"0".repeat(64)] {
        for path in [own.as_str(), "/portal/sign-out"] {
            let stale = form(&server, path, &cookie, &[("csrf", wrong), ("form", "x")]);
            assert_eq!(stale.status(), StatusCode::FORBIDDEN, "{path}");
            assert!(stale.text().unwrap().contains("<h1>Once more, please</h1>"), "{path}");
        }
    }
    assert_eq!(form(&server, &own, "", &[("csrf", &csrf), ("form", "x")]).headers()["location"], "/portal/sign-in");
    for (header, site) in
        [("sec-fetch-site", "cross-site"), ("sec-fetch-site", "same-site"), ("origin", "http://evil.example")]
    {
        let foreign = server.post(&own).header("cookie", &cookie).header(header, site);
        assert_eq!(foreign.form(&[("csrf", csrf.as_str())]).send().unwrap().status(), StatusCode::FORBIDDEN, "{site}");
    }
    assert_eq!((code_state("Acme"), code_state("Bolt")), (1, 1));
    for _ in 0..2 {
        let done = form(&server, &own, &cookie, &[("csrf", &csrf), ("form", "x")]);
        assert!(done.text().unwrap().contains("A fresh code is on its way"));
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
    let again = form(&server, &format!("/portal/sign-in/{}", mailed_token(&server, 6)), &fresh, &[]);
    let later = again.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    assert_eq!(page("/portal", &fresh).status(), StatusCode::SEE_OTHER);
    let fresh = later;
    let csrf = self::csrf(&page("/portal", &fresh).text().unwrap());
    form(&server, "/portal/sign-out", &fresh, &[("csrf", &csrf), ("everywhere", "yes")]);
    assert_eq!(page("/portal", &fresh).status(), StatusCode::SEE_OTHER);
}

/// Registers a tenant, as the vendor's store does.
fn sold(server: &Server, company: &str, email: &str) -> String {
    let body = json!({ "company_name": company, "contact_email": email, "edition": "essentials", "send_email": false });
    server.service("/register-tenant", &body).1["tenant_id"].as_str().unwrap().to_owned()
}

fn whoever_registers_in_anothers_name_gets_nothing_and_takes_nothing(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    let own = sold(&server, "Acme", "viktor@acme.example");
    // The Kelvin sign is no k: mail to it goes to somebody else.
    sold(&server, "Eve", "vi\u{212a}tor@acme.example");
    let (cookie, _) = sign_in(&server, "Viktor@acme.example", 1);
    let mail = server.mails(1).remove(0);
    assert!(mail.contains("To: viktor@acme.example") || mail.contains("To: <viktor@acme.example>"), "{mail}");
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

#[test]
fn one_address_gets_so_many_mails_from_however_many_sources() {
    let data = tempfile::tempdir().unwrap();
    let server =
        start(data.path(), &[("REGISTRY_DOOR_ASKS", "3"), ("REGISTRY_HTTP_TRUSTED_PROXIES", "['127.0.0.1/32']")]);
    sold(&server, "Acme", "ada@acme.example");
    // An address that is known, and one that is not: refused alike.
    for email in ["ada@acme.example", "nobody@acme.example"] {
        let ask = |number: u8| {
            let asked = server.post("/portal/sign-in").header("x-forwarded-for", format!("192.0.2.{number}"));
            asked.form(&[("email", email)]).send().unwrap().status()
        };
        assert!((0..3).all(|number| ask(number) == StatusCode::OK), "{email}");
        assert_eq!(ask(9), StatusCode::TOO_MANY_REQUESTS, "{email}");
    }
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
    assert!(shown.contains("Acme") && !shown.contains("/reissue"), "{shown}");
    for path in ["/portal/download".to_owned(), format!("/portal/tenants/{tenant}/reissue")] {
        let answer = page(&path);
        assert_eq!(answer.headers()["location"], "/portal", "{path}");
    }
}

#[test]
fn cookies_of_a_registry_behind_https_go_nowhere_else() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), &[("REGISTRY_PUBLIC_URL", "https://registry.example")]);
    form(&server, "/signup", "", &registration("1", &[]));
    form(&server, "/portal/sign-in", "", &[("email", "ada@acme.example")]);
    let opened = form(&server, &format!("/portal/sign-in/{}", mailed_token(&server, 2)), "", &[]);
    let cookie = opened.headers()["set-cookie"].to_str().unwrap();
    assert!(cookie.starts_with("__Host-registry-session=") && cookie.ends_with("; Secure"), "{cookie}");
    let cookie = cookie.split(';').next().unwrap();
    let page = |cookie: &str| server.get("/portal").header("cookie", cookie).send().unwrap().status();
    assert_eq!(page(cookie), StatusCode::OK);
    assert_eq!(page(cookie.strip_prefix("__Host-").unwrap()), StatusCode::SEE_OTHER, "another host may have set it");
}

#[test]
fn every_error_is_a_page_in_the_readers_language() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), &[]);
    let large = format!("company_name={}", "a".repeat(70_000));
    let kind = "application/x-www-form-urlencoded";
    let (not_here, failed) = (("There is nothing here", "Hier ist nichts"), ("That did not work", "Das ging nicht"));
    let stale = ("Once more, please", "Bitte noch einmal");
    for (method, path, header, body, status, titles) in [
        ("GET", "/portal/nothing", ("a", "b"), "", 404, not_here),
        ("GET", "/signup/x/y", ("a", "b"), "", 404, not_here),
        ("GET", "/console/nothing", ("a", "b"), "", 404, not_here),
        ("GET", "/portal/tenants/lost/reissue", ("a", "b"), "", 400, not_here),
        ("PUT", "/signup", ("a", "b"), "", 405, not_here),
        ("POST", "/signup", ("content-type", "application/json"), "{}", 415, failed),
        ("POST", "/signup", ("content-type", kind), &large, 413, failed),
        ("POST", "/portal/sign-in", ("content-type", kind), "email=a&email=b", 422, failed),
        ("POST", "/signup", ("origin", "https://evil.example"), "", 403, stale),
        ("POST", "/console/sign-in", ("sec-fetch-site", "cross-site"), "", 403, stale),
    ] {
        for (language, title) in [("en", titles.0), ("de", titles.1)] {
            let asked = server.request(method, path).header(header.0, header.1);
            let answer = asked.header("accept-language", language).body(body.to_owned()).send().unwrap();
            assert_eq!(answer.status().as_u16(), status, "{path} {language}");
            assert!(answer.headers()["content-type"].to_str().unwrap().starts_with("text/html"), "{path}");
            assert!(answer.headers()["content-security-policy"].to_str().unwrap().contains("'none'"), "{path}");
            let shown = answer.text().unwrap();
            assert!(shown.contains(&format!("<html lang=\"{language}\">")), "{path}");
            assert!(shown.contains(&format!("<h1>{title}</h1>")), "{path} {language}: {shown}");
        }
    }
    for path in ["/signup/", "/portal/", "/console/"] {
        assert_eq!(server.get(path).send().unwrap().headers()["location"], path.trim_end_matches('/'));
    }
}

#[test]
fn pages_guard_themselves_and_the_door_can_be_turned_off() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), &[]);
    for path in ["/signup", "/portal/sign-in", "/portal", "/assets/door.css"] {
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
