//! The first-boot page over HTTP, without a browser.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Stdio};
use std::time::Duration;

use crate::fake_registry::{FakeRegistry, TENANT, expired_code, identity};
use crate::machine::{CODE, Machine, PASSWORD, UNREACHABLE_URL, assert_success, stderr};
use crate::wait::wait_for;

/// Text of the last page, after an installation with a code.
const INSTALLED: &str = "This appliance is installed and registered to your company.";

/// Text of the last page, after an installation without a code.
pub(crate) const INSTALLED_WITHOUT_CODE: &str = "This appliance is installed without a code.";

/// A process that serves the page.
pub(crate) struct Page {
    process: Child,
    stdout: BufReader<ChildStdout>,
    pub(crate) address: String,
    pub(crate) token: String,
}

pub(crate) struct Response {
    pub(crate) status: u16,
    /// Status line and headers, in lower case.
    head: String,
    pub(crate) body: String,
}

impl Page {
    pub(crate) fn serve(machine: &Machine, service: &str, more: &[&str]) -> Self {
        Self::serve_with(machine, service, more, &[])
    }

    /// Serves the page with these environment variables.
    pub(crate) fn serve_with(
        machine: &Machine,
        service: &str,
        more: &[&str],
        environment: &[(String, String)],
    ) -> Self {
        let args =
            ["serve", "--listen", "127.0.0.1:0", "--registry-url", service, "--timeout", "2"];
        let mut command = machine.command(&[&args[..], more].concat());
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(process.stdout.take().unwrap());
        let mut page = Self { process, stdout, address: String::new(), token: String::new() };
        page.read_token();
        page
    }

    /// Serves the page of an installation that writes the Secrets to files.
    fn with_files(machine: &Machine, service: &str) -> Self {
        Self::serve(machine, service, &["--output", &machine.file("out")])
    }

    /// Reads the next token from standard output.
    pub(crate) fn read_token(&mut self) {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        let address = line.split_once("://").and_then(|(_, rest)| rest.split_once('/')).unwrap().0;
        self.address = address.to_owned();
        self.token = line.split_whitespace().last().unwrap().to_owned();
    }

    fn send(&self, request: &str) -> Response {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Response { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }

    pub(crate) fn get(&self, path: &str, cookie: &str) -> Response {
        self.send(&format!(
            "GET {path} HTTP/1.1\r\nhost: setup\r\ncookie: {cookie}\r\nconnection: close\r\n\r\n"
        ))
    }

    pub(crate) fn post(&self, path: &str, cookie: &str, fields: &[(&str, &str)]) -> Response {
        let encode =
            |text| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC);
        let body: Vec<_> =
            fields.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
        let body = body.join("&");
        self.send(&format!(
            "POST {path} HTTP/1.1\r\nhost: setup\r\ncookie: {cookie}\r\nconnection: close\r\n\
             content-length: {}\r\ncontent-type: application/x-www-form-urlencoded\r\n\r\n{body}",
            body.len()
        ))
    }

    /// Opens a session with the token. Returns its cookie, and the CSRF secret of its forms, which
    /// is empty if no form is shown.
    pub(crate) fn sign_in(&self) -> (String, String) {
        let response = self.post("/token", "", &[("token", &self.token)]);
        let (_, cookie) = response.head.split_once("set-cookie: ").unwrap();
        let cookie = cookie.split(';').next().unwrap().to_owned();
        let form = self.get("/", &cookie).body;
        let csrf = form
            .split_once("name=\"csrf\" value=\"")
            .map(|(_, rest)| rest.split('"').next().unwrap().to_owned());
        (cookie, csrf.unwrap_or_default())
    }

    /// Submits the form, which must be accepted.
    pub(crate) fn install(&self, cookie: &str, fields: &[(&str, &str)]) {
        assert_eq!(self.post("/install", cookie, fields).status, 303);
    }

    /// Waits until the page contains this text, and returns it.
    pub(crate) fn wait_for_text(&self, cookie: &str, text: &str) -> String {
        wait_for(text, || Some(self.get("/", cookie).body).filter(|body| body.contains(text)))
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.process.kill().and_then(|()| self.process.wait()).ok();
    }
}

/// Returns the fields of a valid form, with changes.
pub(crate) fn form<'a>(
    csrf: &'a str,
    changes: &[(&'static str, &'a str)],
) -> Vec<(&'static str, &'a str)> {
    let mut fields = vec![
        ("csrf", csrf),
        ("way", "code"),
        ("code", CODE),
        ("company", "Acme"),
        ("first_name", "Ada"),
        ("last_name", "Lovelace"),
        ("email", "ada@example.com"),
        ("password", PASSWORD),
        ("repeated", PASSWORD),
    ];
    for (name, value) in changes {
        fields.retain(|(field, _)| field != name);
        fields.push((name, value));
    }
    fields
}

#[test]
fn page_requires_a_session() {
    let machine = Machine::new();
    let mut page = Page::with_files(&machine, UNREACHABLE_URL);
    for cookie in [
        "",
        "appliance-setup=",
        "appliance-setup=00000000000000000000000000000000",
        "other=x; appliance-setup=1",
    ] {
        let response = page.get("/", cookie);
        assert_eq!(response.status, 200);
        assert!(response.body.contains("Setup token") && !response.body.contains("csrf"));
        for path in ["/install", "/network", "/code", "/retry"] {
            let response = page.post(path, cookie, &form("", &[]));
            assert_eq!(response.status, 303, "{path}");
            assert!(response.head.contains("location: /"), "{path}");
        }
        assert_eq!(page.get("/steps", cookie).status, 409);
    }
    let wrong = page.post("/token", "", &[("token", "AAAA-AAAA-AAAA")]);
    assert_eq!(wrong.status, 403);
    assert!(wrong.body.contains("not the token") && !wrong.head.contains("set-cookie"));
    assert_eq!(machine.status()["step"], "collect");

    let response = page.post("/token", "", &[("token", &page.token)]);
    assert!(response.head.contains("httponly; samesite=strict"), "{}", response.head);
    let again = page.post("/token", "", &[("token", &page.token)]);
    assert_eq!(again.status, 403, "a token can be used once");
    page.read_token();
    let (cookie, csrf) = page.sign_in();
    assert!(!csrf.is_empty());
    // Another site of this host may have set a cookie of the same name.
    let both = format!("appliance-setup=another; {cookie}");
    assert!(page.get("/", &both).body.contains("Your details"));
    for csrf in ["", "00000000000000000000000000000000"] {
        assert_eq!(page.post("/install", &cookie, &form(csrf, &[])).status, 403);
    }
    assert_eq!(machine.status()["step"], "collect");
}

#[test]
fn every_response_has_security_headers() {
    let machine = Machine::new();
    let page = Page::with_files(&machine, UNREACHABLE_URL);
    let (cookie, _) = page.sign_in();
    for path in ["/", "/style.css", "/progress.js", "/steps", "/nowhere"] {
        let response = page.get(path, &cookie);
        for header in [
            "content-security-policy: default-src 'none'",
            "cache-control: no-store",
            "x-content-type-options: nosniff",
            "referrer-policy: no-referrer",
            "x-frame-options: deny",
        ] {
            assert!(response.head.contains(header), "{path} {header}: {}", response.head);
        }
    }
}

#[test]
fn unusable_requests_have_no_effect() {
    let machine = Machine::new();
    let page = Page::with_files(&machine, UNREACHABLE_URL);
    let (cookie, _) = page.sign_in();
    assert_eq!(page.get("/nowhere", &cookie).status, 303, "an unknown path leads to the page");
    let large = "a".repeat(100_000);
    assert_eq!(page.post("/install", &cookie, &[("company", &large)]).status, 413);
    assert_eq!(page.post("/install", &cookie, &[]).status, 403);
    assert_eq!(machine.status()["step"], "collect");
}

#[test]
fn invalid_form_keeps_its_values() {
    let machine = Machine::new();
    let page = Page::with_files(&machine, UNREACHABLE_URL);
    let (cookie, csrf) = page.sign_in();
    let changes =
        [("company", "<script>alert(1)</script>"), ("email", "ada"), ("password", "short")];
    let response = page.post("/install", &cookie, &form(&csrf, &changes));
    assert_eq!(response.status, 422);
    for expected in [
        "&lt;script&gt;alert(1)",
        "value=\"ada\"",
        "value=\"Lovelace\"",
        CODE,
        "not an email address",
        "at least 12 characters",
    ] {
        assert!(response.body.contains(expected), "{expected}: {}", response.body);
    }
    for unexpected in ["<script>alert", PASSWORD, "value=\"short\""] {
        assert!(!response.body.contains(unexpected), "{unexpected}: {}", response.body);
    }
    assert_eq!(machine.status()["step"], "collect");
    let network = page.post("/network", &cookie, &form(&csrf, &[]));
    assert_eq!(network.status, 200);
    for expected in ["it refused the connection", "value=\"Lovelace\""] {
        assert!(network.body.contains(expected), "{expected}: {}", network.body);
    }
    assert!(!network.body.contains(PASSWORD));
}

/// R-messages-1.
#[test]
fn refused_code_can_be_corrected() {
    let machine = Machine::new();
    let registry = FakeRegistry::start(&[("410 Gone", expired_code()), ("200 OK", identity())]);
    let page = Page::with_files(&machine, &registry.url);
    let (cookie, csrf) = page.sign_in();
    page.install(&cookie, &form(&csrf, &[]));
    let reopened = page.wait_for_text(&cookie, "Install code has expired.");
    assert!(reopened.contains("value=\"Lovelace\"") && !reopened.contains(PASSWORD));
    assert!(!reopened.contains("Without a code"), "an entered code excludes this choice");
    let changes = [("way", "without"), ("edition", "ce")];
    let without_code = page.post("/install", &cookie, &form(&csrf, &changes));
    assert_eq!(without_code.status, 422);
    assert!(without_code.body.contains("waits for its tenant"), "{}", without_code.body);
    let changes = [("code", "WCD6-ERRE-QGRG"), ("password", ""), ("repeated", "")];
    page.install(&cookie, &form(&csrf, &changes));
    let done = page.wait_for_text(&cookie, INSTALLED);
    assert!(done.contains(TENANT), "{done}");
    let password = machine.secret_value("appliance-initial-tenant", "INITIAL_ADMIN_PASSWORD");
    assert_eq!(password.as_deref(), Some(PASSWORD));
    assert!(registry.requests()[1].contains("WCD6-ERRE-QGRG"));
}

#[test]
fn unredeemed_code_can_be_replaced() {
    let machine = Machine::new();
    let registry = FakeRegistry::start(&[
        ("500 Oh", "{}".to_owned()),
        ("500 Oh", "{}".to_owned()),
        ("200 OK", identity()),
    ]);
    let page = Page::with_files(&machine, &registry.url);
    let (cookie, csrf) = page.sign_in();
    page.install(&cookie, &form(&csrf, &[]));
    let waiting = page.wait_for_text(&cookie, "it failed (status 500)");
    for expected in ["Next attempt in", "Enter another code", "Try again now"] {
        assert!(waiting.contains(expected), "{expected}: {waiting}");
    }
    let steps = page.get("/steps", &cookie);
    assert!(steps.head.contains("x-phase: no-registry"), "{}", steps.head);
    assert!(steps.body.contains("Redeem the install code"), "{}", steps.body);
    let form = page.get("/code", &cookie).body;
    assert!(form.contains("replaces the code that has not been accepted yet"), "{form}");
    // Another code and a retry do not wait for the next attempt.
    let fields = [("csrf", csrf.as_str()), ("code", "WCD6-ERRE-QGRG")];
    assert_eq!(page.post("/code", &cookie, &fields).status, 303);
    page.wait_for_text(&cookie, "Next attempt in");
    assert_eq!(page.post("/retry", &cookie, &[("csrf", &csrf)]).status, 303);
    page.wait_for_text(&cookie, INSTALLED);
    let requests = registry.requests();
    let codes: Vec<_> = requests.iter().map(|it| it.contains("WCD6-ERRE-QGRG")).collect();
    assert_eq!(codes, [false, true, true]);
}

#[test]
fn killed_page_resumes_the_installation() {
    let machine = Machine::new();
    let page = Page::with_files(&machine, UNREACHABLE_URL);
    let (cookie, csrf) = page.sign_in();
    page.install(&cookie, &form(&csrf, &[]));
    page.wait_for_text(&cookie, "it refused the connection");
    let second = machine.setup(&["run", "--registry-url", UNREACHABLE_URL]);
    let expected = "Another appliance-setup process is using";
    assert!(stderr(&second).contains(expected), "{}", stderr(&second));
    drop(page);
    let registry = FakeRegistry::with_identity();
    let page = Page::with_files(&machine, &registry.url);
    page.wait_for_text(&page.sign_in().0, INSTALLED);
}

#[test]
fn page_is_served_over_tls() {
    let machine = Machine::new();
    let certificate = throwaway_servers::Certificate::make().unwrap();
    machine.write("chain.pem", &certificate.chain_pem);
    machine.write("key.pem", &certificate.key_pem);
    machine.write("ca.pem", &certificate.ca_pem);
    let [chain, key, ca, out] =
        ["chain.pem", "key.pem", "ca.pem", "out"].map(|name| machine.file(name));
    let swapped = ["serve", "--registry-url", UNREACHABLE_URL, "--output", &out];
    let swapped = [&swapped[..], &["--tls-cert", &key, "--tls-key", &chain]].concat();
    let refused = machine.setup(&swapped);
    assert!(stderr(&refused).contains("key.pem cannot be used"), "{}", stderr(&refused));
    let options = ["--output", &out, "--tls-cert", &chain, "--tls-key", &key];
    let page = Page::serve(&machine, UNREACHABLE_URL, &options);
    // A client that sends nothing does not block others.
    let _silent = TcpStream::connect(&page.address).unwrap();
    // `support-bundle` is the TLS client. It reports a redirect, because the page is not a
    // registry.
    let url = format!("https://{}", page.address);
    let file = machine.file("bundle.json");
    let bundle = ["support-bundle", "--out", &file, "--registry-url", &url];
    for (more, expected) in [
        (vec!["--ca-file", ca.as_str()], "it redirects to /"),
        (vec![], "certificate is not trusted"),
    ] {
        assert_success(&machine.setup(&[&bundle[..], &more].concat()));
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn page_installs_without_a_code() {
    let machine = Machine::new();
    let page = Page::with_files(&machine, UNREACHABLE_URL);
    let (cookie, csrf) = page.sign_in();
    let changes = [("way", "without"), ("edition", "ee"), ("license", " a.b.c "), ("code", "")];
    page.install(&cookie, &form(&csrf, &changes));
    page.wait_for_text(&cookie, INSTALLED_WITHOUT_CODE);
    let seed = machine.secret("appliance-license-seed");
    assert_eq!((seed["EDITION_CHOICE"].as_str(), seed["LICENSE_TOKEN"].as_str()), ("ee", "a.b.c"));
}
