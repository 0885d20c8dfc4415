//! Unattended installations, against a fake of the registry.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;

use crate::fake_registry::{FakeRegistry, TENANT, expired_code, header, identity};
use crate::machine::{CODE, Machine, PASSWORD, UNREACHABLE_URL, assert_success, stderr};

/// R-secrets-1, R-secrets-2.
#[test]
fn lost_response_is_requested_again() {
    let machine = Machine::new();
    let registry = FakeRegistry::start(&[("", String::new()), ("200 OK", identity())]);
    let out = machine.file("out");
    let output = machine.run(&registry.url, &["--output", &out, "--tries", "1"]);
    assert_eq!(output.status.code(), Some(5), "{}", stderr(&output));
    let expected = "Could not reach the license service at";
    assert!(stderr(&output).contains(expected), "{}", stderr(&output));
    assert_eq!(machine.status()["step"], "redeem");
    // The installation is resumed, so the code is not passed again.
    let resumed = machine.setup(&["run", "--registry-url", &registry.url, "--output", &out]);
    assert_success(&resumed);
    let requests = registry.requests();
    let [first, second] = [0, 1].map(|at| header(&requests[at], "idempotency-key:"));
    assert_eq!((requests.len(), first), (2, second), "both requests have the same key");
    assert!(requests[0].contains("appliance-0123456789abcdef"));
    for unexpected in ["tenant_id", PASSWORD] {
        assert!(!requests[0].contains(unexpected), "{unexpected}: {}", requests[0]);
    }
    for name in ["appliance-initial-tenant.json", "appliance-license-seed.json"] {
        let metadata = std::fs::metadata(machine.path("out").join(name)).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    }
    let status = machine.status();
    assert_eq!((&status["step"], status["tenant_id"].as_str()), (&"done".into(), Some(TENANT)));
    let stored = std::fs::read_to_string(machine.path("state").join("install.json")).unwrap();
    assert!(![CODE, PASSWORD].iter().any(|secret| stored.contains(secret)), "{stored}");
}

/// R-messages-1.
#[test]
fn refused_code_can_be_replaced() {
    let machine = Machine::new();
    let registry = FakeRegistry::start(&[("410 Gone", expired_code()), ("200 OK", identity())]);
    let out = machine.file("out");
    let output = machine.run(&registry.url, &["--output", &out]);
    assert_eq!(output.status.code(), Some(3));
    let expected = "Install code has expired. Request a fresh one.";
    assert!(stderr(&output).contains(expected), "{}", stderr(&output));
    assert_eq!(machine.status()["step"], "collect");
    machine.write("code", "WCD6-ERRE-QGRG");
    assert_success(&machine.run(&registry.url, &["--output", &out]));
}

#[test]
fn hostile_refusal_is_printed_without_controls() {
    let machine = Machine::new();
    let text = "\u{1b}]0;owned\u{7}No.\nstep      done\u{9b}2J\u{202e}";
    let body = serde_json::json!({ "error": text, "code": "expired_claim_code" }).to_string();
    let registry = FakeRegistry::start(&[("410 Gone", body)]);
    let refused = machine.run(&registry.url, &["--output", &machine.file("out")]);
    assert_eq!(refused.status.code(), Some(3));
    let [status, json] =
        [&["status"][..], &["status", "--json"]].map(|args| machine.setup(args).stdout);
    for printed in [refused.stderr, status, json] {
        let printed = String::from_utf8(printed).unwrap();
        let is_raw = |c: char| c == '\u{202e}' || (c != '\n' && c.is_control());
        assert!(printed.contains("owned") && !printed.contains(is_raw), "{printed:?}");
        assert!(!printed.contains("\nstep      done"), "{printed:?}");
    }
    assert_eq!(machine.status()["detail"], text);
}

#[test]
fn options_are_checked_before_the_code_is_redeemed() {
    let machine = Machine::new();
    let registry = FakeRegistry::with_identity();
    for (options, expected) in [
        (["--output", "/nowhere/at/all"], "is not an existing folder"),
        (["--keys", "/nowhere/keys.json"], "the keys for verifying licenses cannot be used"),
    ] {
        let output = machine.run(&registry.url, &options);
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains(expected), "{}", stderr(&output));
    }
    assert_eq!(registry.requests().len(), 0);
    assert_eq!(machine.status()["step"], "collect");
}

#[test]
fn missing_and_invalid_input_is_named() {
    let machine = Machine::new();
    let output = machine.setup(&["run"]);
    assert!(stderr(&output).contains("REGISTRY_URL"), "{}", stderr(&output));
    let output = machine.setup(&["run", "--registry-url", UNREACHABLE_URL]);
    assert!(stderr(&output).contains("--code and --config"), "{}", stderr(&output));
    machine.write("password", "short");
    let output = machine.run(UNREACHABLE_URL, &[]);
    assert!(stderr(&output).contains("12 characters"), "{}", stderr(&output));
    let output = machine.setup(&["reset"]);
    assert!(stderr(&output).contains("--yes"), "{}", stderr(&output));
    assert_success(&machine.setup(&["reset", "--yes"]));
    assert_eq!(machine.status()["step"], "collect");
}

#[test]
fn second_url_variable_is_read() {
    let machine = Machine::new();
    let registry = FakeRegistry::with_identity();
    let [code, config, out] = ["code", "config.toml", "out"].map(|name| machine.file(name));
    let mut command =
        machine.command(&["run", "--code", &code, "--config", &config, "--output", &out]);
    command.env("REGISTRY_URL", "").env("ALGA_LICENSE_SERVICE_URL", &registry.url);
    assert_success(&command.output().unwrap());
}

#[test]
fn damaged_state_can_be_reset() {
    let machine = Machine::new();
    std::fs::create_dir(machine.path("state")).unwrap();
    let file = machine.path("state").join("install.json");
    std::fs::write(&file, "{").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let output = machine.setup(&["run", "--registry-url", UNREACHABLE_URL]);
    assert!(!output.status.success());
    assert!(stderr(&output).contains("appliance-setup reset --yes"), "{}", stderr(&output));
    let bundle = machine.file("bundle.json");
    assert_success(&machine.setup(&["support-bundle", "--out", &bundle]));
    let bundle = std::fs::read_to_string(&bundle).unwrap();
    assert!(bundle.contains("is damaged"), "{bundle}");
    assert_success(&machine.setup(&["reset", "--yes"]));
    assert_eq!(machine.status()["step"], "collect");
}

#[test]
fn wrong_clock_is_reported() {
    let machine = Machine::new();
    let status = "200 OK\r\ndate: Wed, 01 Jan 2020 00:00:00 GMT";
    let registry = FakeRegistry::start(&[(status, identity())]);
    let output = machine.run(&registry.url, &["--output", &machine.file("out")]);
    assert_success(&output);
    let expected = "ahead of the service's clock. Set it";
    assert!(stderr(&output).contains(expected), "{}", stderr(&output));
}

#[test]
fn proxy_of_the_environment_is_used() {
    let machine = Machine::new();
    let proxy = FakeRegistry::with_identity();
    let args = machine.run_args("http://registry.invalid", &["--output", &machine.file("out")]);
    let mut command = machine.command(&args);
    command.env("http_proxy", &proxy.url);
    let refused = command.output().unwrap();
    assert_eq!(refused.status.code(), Some(1), "{}", stderr(&refused));
    let expected = proxy.url.replace("http://", "go through the proxy ");
    assert!(stderr(&refused).contains(&expected), "{}", stderr(&refused));
    assert_success(&command.env("REGISTRY_INSECURE_HTTP", "true").output().unwrap());
    let request = proxy.requests().remove(0);
    assert!(request.starts_with("POST http://registry.invalid/register"), "{request}");
}

#[test]
fn plain_http_to_another_machine_is_refused() {
    let machine = Machine::new();
    let out = machine.file("out");
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let addresses = if_addrs::get_if_addrs().unwrap().into_iter().map(|interface| interface.ip());
    let external = addresses.filter(|ip| ip.is_ipv4() && !ip.is_loopback());
    // Linux connects this address to the machine itself, even if the machine has no network.
    let unspecified = std::iter::once(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    for ip in external.chain(unspecified) {
        let url = format!("http://{ip}:{port}");
        let output = machine.run(&url, &["--output", &out, "--tries", "1"]);
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        let text = stderr(&output);
        assert!(text.contains(&url) && text.contains("--insecure-http"), "{text}");
        assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock, "{url}");
    }
    assert_eq!(machine.status()["step"], "collect");
    for name in ["install.json", "product.json"] {
        assert!(!machine.path("state").join(name).exists(), "{name}");
    }
    let url = format!("http://0.0.0.0:{port}");
    let page = machine.setup(&["serve", "--listen", "127.0.0.1:0", "--registry-url", &url]);
    assert_eq!(page.status.code(), Some(1), "{}", stderr(&page));
    let registry = FakeRegistry::with_identity();
    let url = registry.url.replace("127.0.0.1", "0.0.0.0");
    assert_success(&machine.run(&url, &["--output", &out, "--insecure-http"]));
}

#[test]
fn entered_code_excludes_an_installation_without_one() {
    let machine = Machine::new();
    let [out, config] = ["out", "config.toml"].map(|name| machine.file(name));
    let without_code = ["run", "--without-code", "ce", "--config", &config, "--output", &out];
    let options = ["--tries", "1", "--output", &out];
    assert_eq!(machine.run(UNREACHABLE_URL, &options).status.code(), Some(5));
    let output = machine.setup(&without_code);
    assert!(stderr(&output).contains("waits for its tenant"), "{}", stderr(&output));
    assert_success(&machine.setup(&["reset", "--yes"]));
    assert_success(&machine.setup(&without_code));
    let seed: Vec<_> = machine.secret("appliance-license-seed").into_iter().collect();
    assert_eq!(seed, [("EDITION_CHOICE".to_owned(), "ce".to_owned())]);
    assert_eq!(machine.secret_value("appliance-initial-tenant", "INITIAL_TENANT_ID"), None);
}
