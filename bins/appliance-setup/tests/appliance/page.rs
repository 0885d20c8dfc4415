//! The first-boot page over HTTP, without a browser: who may see it, what it keeps, and where it
//! goes on.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Stdio};
use std::time::Duration;

use crate::machine::{CODE, Machine, PASSWORD};
use crate::run::{TENANT, identity, registry};

/// A page that is being served.
pub(crate) struct Page {
    child: Child,
    lines: BufReader<ChildStdout>,
    pub(crate) address: String,
    pub(crate) token: String,
}

impl Page {
    pub(crate) fn serve(machine: &Machine, service: &str, more: &[&str]) -> Self {
        let args =
            ["serve", "--listen", "127.0.0.1:0", "--registry-url", service, "--timeout", "2"];
        let mut command = machine.command(&[&args[..], more].concat());
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let mut page = Self { child, lines, address: String::new(), token: String::new() };
        page.read_token();
        page
    }

    /// Into files.
    fn with_files(machine: &Machine, service: &str) -> Self {
        Self::serve(machine, service, &["--output", machine.path("out").to_str().unwrap()])
    }

    /// The next token on the console.
    pub(crate) fn read_token(&mut self) {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        let address = line.split_once("://").and_then(|(_, rest)| rest.split_once('/')).unwrap().0;
        self.address = address.to_owned();
        self.token = line.split_whitespace().last().unwrap().to_owned();
    }

    fn send(&self, request: &str) -> Answer {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }

    fn get(&self, path: &str, cookie: &str) -> Answer {
        self.send(&format!(
            "GET {path} HTTP/1.1\r\nhost: setup\r\ncookie: {cookie}\r\nconnection: close\r\n\r\n"
        ))
    }

    fn post(&self, path: &str, cookie: &str, fields: &[(&str, &str)]) -> Answer {
        let encode =
            |text| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC);
        let body: Vec<_> =
            fields.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
        let body = body.join("&");
        self.send(&format!(
            "POST {path} HTTP/1.1\r\nhost: setup\r\ncookie: {cookie}\r\nconnection: close\r\ncontent-length: {}\r\n\
             content-type: application/x-www-form-urlencoded\r\n\r\n{body}",
            body.len()
        ))
    }

    /// Opens a session: its cookie, and what its forms carry.
    fn sign_in(&self) -> (String, String) {
        let answer = self.post("/token", "", &[("token", &self.token)]);
        let cookie =
            answer.head.split_once("set-cookie: ").unwrap().1.split(';').next().unwrap().to_owned();
        let form = self.get("/", &cookie).body;
        let csrf = form
            .split_once("name=\"csrf\" value=\"")
            .map(|(_, rest)| rest.split('"').next().unwrap().to_owned());
        (cookie, csrf.unwrap_or_default())
    }

    fn until(&self, cookie: &str, expected: &str) -> String {
        for _ in 0..200 {
            let body = self.get("/", cookie).body;
            if body.contains(expected) {
                return body;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("{expected}: {}", self.get("/", cookie).body)
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.child.kill().and_then(|()| self.child.wait()).ok();
    }
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

fn form<'a>(csrf: &'a str, change: &[(&'static str, &'a str)]) -> Vec<(&'static str, &'a str)> {
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
    for (name, value) in change {
        fields.retain(|(known, _)| known != name);
        fields.push((name, value));
    }
    fields
}

#[test]
fn whoever_does_not_read_the_console_sees_and_changes_nothing() {
    let machine = Machine::new();
    let mut page = Page::with_files(&machine, "http://127.0.0.1:1");
    for cookie in [
        "",
        "appliance-setup=",
        "appliance-setup=00000000000000000000000000000000",
        "other=x; appliance-setup=1",
    ] {
        let answer = page.get("/", cookie);
        assert!(
            answer.status == 200
                && answer.body.contains("Setup token")
                && !answer.body.contains("csrf")
        );
        for path in ["/install", "/network", "/code", "/retry"] {
            let answer = page.post(path, cookie, &form("", &[]));
            assert_eq!((answer.status, answer.head.contains("location: /")), (303, true), "{path}");
        }
        assert_eq!(page.get("/steps", cookie).status, 409);
    }
    let wrong = page.post("/token", "", &[("token", "AAAA-AAAA-AAAA")]);
    assert!(
        wrong.status == 403
            && wrong.body.contains("not the token")
            && !wrong.head.contains("set-cookie")
    );
    assert_eq!(machine.status()["step"], "collect");

    let answer = page.post("/token", "", &[("token", &page.token)]);
    assert!(answer.head.contains("httponly; samesite=strict"), "{}", answer.head);
    assert_eq!(page.post("/token", "", &[("token", &page.token)]).status, 403, "it is good once");
    page.read_token();
    let (cookie, csrf) = page.sign_in();
    assert!(!csrf.is_empty());
    // Another page of this host has a cookie of the same name.
    let both = format!("appliance-setup=another; {cookie}");
    assert!(page.get("/", &both).body.contains("Your details"));
    // A form of another site does not have what ours have.
    for csrf in ["", "00000000000000000000000000000000"] {
        assert_eq!(page.post("/install", &cookie, &form(csrf, &[])).status, 403);
    }
    assert_eq!(machine.status()["step"], "collect");
}

#[test]
fn every_page_guards_itself_and_an_unknown_path_leads_back() {
    let machine = Machine::new();
    let page = Page::with_files(&machine, "http://127.0.0.1:1");
    let (cookie, _) = page.sign_in();
    for path in ["/", "/style.css", "/progress.js", "/steps", "/nowhere"] {
        let answer = page.get(path, &cookie);
        for header in [
            "content-security-policy: default-src 'none'",
            "cache-control: no-store",
            "x-content-type-options: nosniff",
            "referrer-policy: no-referrer",
            "x-frame-options: deny",
        ] {
            assert!(answer.head.contains(header), "{path} {header}: {}", answer.head);
        }
    }
    assert_eq!(page.get("/nowhere", &cookie).status, 303);
    let large = "a".repeat(100_000);
    assert_eq!(page.post("/install", &cookie, &[("company", &large)]).status, 413);
    assert_eq!(page.post("/install", &cookie, &[]).status, 403);
}

#[test]
fn a_mistake_loses_nothing_and_what_was_typed_is_text() {
    let machine = Machine::new();
    let page = Page::with_files(&machine, "http://127.0.0.1:1");
    let (cookie, csrf) = page.sign_in();
    let typed = [("company", "<script>alert(1)</script>"), ("email", "ada"), ("password", "short")];
    let answer = page.post("/install", &cookie, &form(&csrf, &typed));
    assert_eq!(answer.status, 422);
    assert!(
        answer.body.contains("&lt;script&gt;alert(1)") && !answer.body.contains("<script>alert"),
        "{}",
        answer.body
    );
    for expected in [
        "value=\"ada\"",
        "value=\"Lovelace\"",
        CODE,
        "not an e-mail address",
        "12 characters at least",
    ] {
        assert!(answer.body.contains(expected), "{expected}: {}", answer.body);
    }
    assert!(!answer.body.contains(PASSWORD) && !answer.body.contains("value=\"short\""));
    assert_eq!(machine.status()["step"], "collect");
    let network = page.post("/network", &cookie, &form(&csrf, &[]));
    assert!(
        network.status == 200 && network.body.contains("it refused the connection"),
        "{}",
        network.body
    );
    assert!(network.body.contains("value=\"Lovelace\"") && !network.body.contains(PASSWORD));
}

#[test]
fn a_refused_code_is_corrected_alone_and_the_installation_is_shown_done() {
    let machine = Machine::new();
    let problem =
        r#"{"error":"Install code has expired. Request a fresh one.","code":"expired_claim_code"}"#;
    let (url, requests) = registry(&[("410 Gone", problem.to_owned()), ("200 OK", identity())]);
    let page = Page::with_files(&machine, &url);
    let (cookie, csrf) = page.sign_in();
    assert_eq!(page.post("/install", &cookie, &form(&csrf, &[])).status, 303);
    let reopened = page.until(&cookie, "Install code has expired.");
    assert!(reopened.contains("value=\"Lovelace\"") && !reopened.contains(PASSWORD));
    assert!(
        !reopened.contains("without a code"),
        "a code was setup_form: there is no other way any more"
    );
    let without =
        page.post("/install", &cookie, &form(&csrf, &[("way", "without"), ("edition", "ce")]));
    assert!(
        without.status == 422 && without.body.contains("waits for its tenant"),
        "{}",
        without.body
    );
    let again = form(&csrf, &[("code", "WCD6-ERRE-QGRG"), ("password", ""), ("repeated", "")]);
    assert_eq!(page.post("/install", &cookie, &again).status, 303);
    let done = page.until(&cookie, "This appliance is bound to its tenant.");
    assert!(done.contains(TENANT), "{done}");
    assert_eq!(machine.values("appliance-initial-tenant")["INITIAL_ADMIN_PASSWORD"], PASSWORD);
    assert!(requests.lock().unwrap()[1].contains("WCD6-ERRE-QGRG"));
}

#[test]
fn trouble_is_shown_with_its_next_try_and_another_code_may_take_its_place() {
    let machine = Machine::new();
    let (url, requests) = registry(&[
        ("500 Oh", "{}".to_owned()),
        ("500 Oh", "{}".to_owned()),
        ("200 OK", identity()),
    ]);
    let page = Page::with_files(&machine, &url);
    let (cookie, csrf) = page.sign_in();
    assert_eq!(page.post("/install", &cookie, &form(&csrf, &[])).status, 303);
    let stuck = page.until(&cookie, "it failed (status 500)");
    assert!(
        stuck.contains("The next try is in") && stuck.contains("Enter another code"),
        "{stuck}"
    );
    assert_eq!(page.get("/", &cookie).status, 200);
    let steps = page.get("/steps", &cookie);
    assert!(
        steps.head.contains("x-phase: no-registry")
            && steps.body.contains("Redeem the install code")
    );
    assert!(page.get("/code", &cookie).body.contains("It takes the place of the one that waits"));
    // Its next try would be in seconds, and is now.
    assert_eq!(
        page.post("/code", &cookie, &[("csrf", &csrf), ("code", "WCD6-ERRE-QGRG")]).status,
        303
    );
    page.until(&cookie, "The next try is in");
    assert_eq!(page.post("/retry", &cookie, &[("csrf", &csrf)]).status, 303);
    page.until(&cookie, "This appliance is bound to its tenant.");
    let codes: Vec<_> =
        requests.lock().unwrap().iter().map(|it| it.contains("WCD6-ERRE-QGRG")).collect();
    assert_eq!(codes, [false, true, true]);
}

#[test]
fn a_page_that_is_killed_goes_on_where_it_was_and_only_one_installs() {
    let machine = Machine::new();
    let page = Page::with_files(&machine, "http://127.0.0.1:1");
    let (cookie, csrf) = page.sign_in();
    page.post("/install", &cookie, &form(&csrf, &[]));
    page.until(&cookie, "it refused the connection");
    let second = machine.setup(&["run", "--registry-url", "http://127.0.0.1:1"]);
    assert!(crate::machine::printed(&second).contains("another appliance-setup works"));
    drop(page);
    let (url, _) = registry(&[("200 OK", identity())]);
    let page = Page::with_files(&machine, &url);
    page.until(&page.sign_in().0, "This appliance is bound to its tenant.");
}

#[test]
fn over_tls_the_page_has_the_certificate_that_was_given() {
    let machine = Machine::new();
    let certificate = throwaway_servers::Certificate::make().unwrap();
    let [chain, key, ca] = ["chain.pem", "key.pem", "ca.pem"]
        .map(|name| machine.path(name).to_str().unwrap().to_owned());
    std::fs::write(&chain, certificate.chain_pem).unwrap();
    std::fs::write(&key, certificate.key_pem).unwrap();
    std::fs::write(&ca, certificate.ca_pem).unwrap();
    let out = machine.path("out").to_str().unwrap().to_owned();
    let with = |chain: &str, key: &str| {
        [
            "serve",
            "--registry-url",
            "http://127.0.0.1:1",
            "--output",
            &out,
            "--tls-cert",
            chain,
            "--tls-key",
            key,
        ]
        .map(str::to_owned)
    };
    let refused = machine.setup(&with(&key, &chain).each_ref().map(String::as_str));
    assert!(
        crate::machine::printed(&refused).contains("key.pem cannot be used"),
        "{}",
        crate::machine::printed(&refused)
    );
    let page = Page::serve(
        &machine,
        "http://127.0.0.1:1",
        &["--output", &out, "--tls-cert", &chain, "--tls-key", &key],
    );
    // Somebody who connects and says nothing holds up nobody.
    let _dawdling = TcpStream::connect(&page.address).unwrap();
    // The program itself is the client: a page is no registry, and leads away.
    let url = format!("https://{}", page.address);
    let bundle = machine.path("bundle.json").to_str().unwrap().to_owned();
    for (more, expected) in [
        (vec!["--ca-file", ca.as_str()], "it sends us elsewhere, to /"),
        (vec![], "certificate is not trusted"),
    ] {
        let args =
            [&["support-bundle", "--out", &bundle, "--registry-url", &url][..], &more].concat();
        assert!(machine.setup(&args).status.success());
        let text = std::fs::read_to_string(&bundle).unwrap();
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn without_a_code_is_a_choice_on_the_page_too() {
    let machine = Machine::new();
    let page = Page::with_files(&machine, "http://127.0.0.1:1");
    let (cookie, csrf) = page.sign_in();
    let without =
        form(&csrf, &[("way", "without"), ("edition", "ee"), ("license", " a.b.c "), ("code", "")]);
    assert_eq!(page.post("/install", &cookie, &without).status, 303);
    page.until(&cookie, "an identity of its own");
    let seed = machine.values("appliance-license-seed");
    assert_eq!((seed["EDITION_CHOICE"].as_str(), seed["LICENSE_TOKEN"].as_str()), ("ee", "a.b.c"));
}
