//! What the tests of pages share: forms, and signing in.

use std::path::Path;
use std::time::Duration;

use registry_wiring::{Config, TokenRole, Tokens};
use reqwest::StatusCode;
use reqwest::blocking::Response;
use serde_json::json;

use crate::common::Server;

/// A token of this role; registryd admits it from its start on.
pub(crate) fn token(data: &Path, name: &str, role: TokenRole) -> String {
    let config = Config { data: data.to_owned(), ..Config::default() };
    Tokens::open_to_change(&config).unwrap().create(name, role).unwrap().expose().to_owned()
}

pub(crate) fn page(server: &Server, path: &str, cookie: &str) -> Response {
    server.get(path).header("cookie", cookie).send().unwrap()
}

/// What a hidden field of a page holds.
pub(crate) fn hidden(page: &str, name: &str) -> Option<String> {
    let (_, rest) = page.split_once(&format!("name=\"{name}\" value=\""))?;
    Some(rest.split('"').next().unwrap().to_owned())
}

pub(crate) fn form(server: &Server, path: &str, cookie: &str, fields: &[(&str, &str)]) -> Response {
    server.post(path).header("cookie", cookie).form(fields).send().unwrap()
}

pub(crate) fn registration<'a>(
    form: &'a str,
    change: &[(&'static str, &'a str)],
) -> Vec<(&'static str, &'a str)> {
    let mut fields = vec![
        ("form", form),
        ("company_name", "Acme"),
        ("contact_email", "ada@acme.example"),
        ("product_code", "psa"),
    ];
    for (name, value) in change {
        fields.retain(|(known, _)| known != name);
        fields.push((name, value));
    }
    fields
}

/// What the newest mail's link signs in with, once so many mails have come.
pub(crate) fn mailed_token(server: &Server, mails: usize) -> String {
    for _ in 0..200 {
        let mut files: Vec<_> = std::fs::read_dir(server.data.join("mailbox"))
            .unwrap()
            .map(|it| it.unwrap().path())
            .collect();
        files.retain(|path| path.extension().is_some_and(|it| it == "eml"));
        files.sort();
        if files.len() >= mails {
            let text = std::fs::read_to_string(files.pop().unwrap())
                .unwrap()
                .replace("=\r\n", "")
                .replace("=\n", "");
            let (_, rest) = text.split_once("/portal/sign-in/").unwrap();
            return rest[..64].to_owned();
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("the mail does not come")
}

pub(crate) fn sign_in(server: &Server, email: &str, mails: usize) -> (String, String) {
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

/// The secret of a session's forms.
pub(crate) fn csrf(page: &str) -> String {
    hidden(page, "csrf").unwrap()
}

/// Registers a tenant, as the vendor's store does.
pub(crate) fn sold(server: &Server, company: &str, email: &str) -> String {
    let body = json!({ "company_name": company, "contact_email": email, "edition": "essentials", "send_email": false });
    server.service("/register-tenant", &body).1["tenant_id"].as_str().unwrap().to_owned()
}
