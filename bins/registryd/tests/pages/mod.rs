//! Shared steps of the tests of pages: forms, and signing in.

use std::path::Path;

use registry_wiring::{Config, TokenRole, Tokens};
use reqwest::StatusCode;
use reqwest::blocking::Response;
use serde_json::json;

use crate::common::Server;

/// Paths of the console's lists.
pub(crate) const CONSOLE_LISTS: [&str; 5] = [
    "/console",
    "/console/mails",
    "/console/releases",
    "/console/not-checking-in",
    "/console/audit",
];

/// Creates a token with this role, before registryd starts and accepts it.
pub(crate) fn token(data: &Path, name: &str, role: TokenRole) -> String {
    let config = Config { data: data.to_owned(), ..Config::default() };
    Tokens::open_to_change(&config).unwrap().create(name, role).unwrap().expose().to_owned()
}

pub(crate) fn page(server: &Server, path: &str, cookie: &str) -> Response {
    server.get(path).header("cookie", cookie).send().unwrap()
}

/// Returns the value of a page's hidden field.
pub(crate) fn hidden_field(page: &str, name: &str) -> Option<String> {
    let (_, rest) = page.split_once(&format!("name=\"{name}\" value=\""))?;
    Some(rest.split('"').next().unwrap().to_owned())
}

/// Returns the secret of the session's forms.
pub(crate) fn csrf(page: &str) -> String {
    hidden_field(page, "csrf").unwrap()
}

pub(crate) fn form(server: &Server, path: &str, cookie: &str, fields: &[(&str, &str)]) -> Response {
    server.post(path).header("cookie", cookie).form(fields).send().unwrap()
}

/// Returns the cookie that a response sets, without its attributes.
pub(crate) fn new_cookie(response: &Response) -> String {
    let cookie = response.headers()["set-cookie"].to_str().unwrap();
    cookie.split(';').next().unwrap().to_owned()
}

/// Returns the fields of a registration, with these changes.
pub(crate) fn registration<'a>(
    form: &'a str,
    change: &[(&'static str, &'a str)],
) -> Vec<(&'static str, &'a str)> {
    let mut fields = vec![
        ("form", form),
        ("company_name", "Acme"),
        ("contact_email", "ada@acme.example"),
        ("product_code", "default"),
    ];
    for (name, value) in change {
        fields.retain(|(known, _)| known != name);
        fields.push((name, value));
    }
    fields
}

/// Waits until the mailbox holds `mails` mails, and returns the sign-in token of the newest.
pub(crate) fn mailed_token(server: &Server, mails: usize) -> String {
    let newest = server.mails(mails).pop().unwrap().replace("=\r\n", "").replace("=\n", "");
    let (_, rest) = newest.split_once("/portal/sign-in/").unwrap();
    rest[..64].to_owned()
}

/// Signs a customer in, and returns the cookie and the used token. The sign-in mail is the
/// `mails`th mail in the mailbox.
pub(crate) fn sign_in(server: &Server, email: &str, mails: usize) -> (String, String) {
    let requested = form(server, "/portal/sign-in", "", &[("email", email)]);
    assert_eq!(requested.status(), StatusCode::OK);
    let token = mailed_token(server, mails);
    let opened = form(server, &format!("/portal/sign-in/{token}"), "", &[]);
    assert_eq!(opened.status(), StatusCode::SEE_OTHER);
    let cookie = opened.headers()["set-cookie"].to_str().unwrap();
    for flag in ["HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(cookie.contains(flag), "{cookie}");
    }
    (new_cookie(&opened), token)
}

/// Registers a tenant through the API, without a mail, and returns its id.
pub(crate) fn register_by_service(server: &Server, company: &str, email: &str) -> String {
    let body = json!({
        "company_name": company, "contact_email": email, "edition": "essentials",
        "send_email": false,
    });
    server.post_as_service("/register-tenant", &body).1["tenant_id"].as_str().unwrap().to_owned()
}

/// Replaces the mailbox by a file, so that no mail can be delivered.
pub(crate) fn block_mailbox(data: &Path) {
    let mailbox = data.join("mailbox");
    std::fs::remove_dir_all(&mailbox).unwrap();
    std::fs::write(&mailbox, "").unwrap();
}
