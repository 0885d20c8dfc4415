//! Delivery through aiosmtpd, a mail server by other authors: our own test server could share a
//! mistake with our client.

#![expect(clippy::print_stderr, reason = "a skipped test says what it needs")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use registry_core::mail::{MailError, Mailer as _};
use registry_mail_smtp::{
    Brand, BrandSettings, Renderer, Sender, SmtpMailer, SmtpSettings, SmtpTls,
};
use registry_testkit::conformance::mail::{CODE, example};
use throwaway_servers::Certificate;

/// Returns true if aiosmtpd is installed. If it is not, fails in CI, and elsewhere prints how to
/// install it.
fn has_aiosmtpd() -> bool {
    let imported = Command::new("python3")
        .args(["-c", "import aiosmtpd"])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !imported {
        let missing = "aiosmtpd is not installed. To install it: pip install aiosmtpd";
        assert!(std::env::var_os("CI").is_none(), "{missing}");
        eprintln!("aiosmtpd_receives_mail is skipped: {missing}");
    }
    imported
}

/// Starts the server on this port, with user `registry` and password `secret`.
fn start_server(folder: &Path, certificate: &Certificate, port: u16) -> Child {
    let (chain, key) = (folder.join("chain.pem"), folder.join("key.pem"));
    std::fs::write(&chain, &certificate.chain_pem).unwrap();
    std::fs::write(&key, &certificate.key_pem).unwrap();
    Command::new("python3")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/aiosmtpd_server.py"))
        .args([&chain, &key])
        .args(["registry", "secret", &port.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn mailer(port: u16, ca_pem: &str, password: &str) -> SmtpMailer {
    let brand = Brand::new(BrandSettings::default()).unwrap();
    let sender = Sender { address: "registry@vendor.example".into(), brand };
    let settings = SmtpSettings {
        host: "localhost".to_owned(),
        port: Some(port),
        tls: SmtpTls::StartTls,
        credentials: Some(("registry".to_owned(), password.to_owned().into())),
        token: None,
        ca_pem: Some(ca_pem.as_bytes().to_vec()),
        hello_name: None,
        connections: 1,
        timeout: Duration::from_secs(20),
    };
    SmtpMailer::new(settings, Renderer::new(sender, None).unwrap()).unwrap()
}

#[tokio::test]
async fn aiosmtpd_receives_mail() {
    if !has_aiosmtpd() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let certificate = Certificate::make().unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut server = start_server(folder.path(), &certificate, port);
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "listening");

    let refused = mailer(port, &certificate.ca_pem, "wrong").send(&example("Acme", None)).await;
    assert!(matches!(refused, Err(MailError::Unavailable(_))), "{refused:?}");
    let mailer = mailer(port, &certificate.ca_pem, "secret");
    mailer.probe().await.unwrap();
    mailer.send(&example("Ünïcode & Söhne", Some("Ada"))).await.unwrap();
    let mail: serde_json::Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!((&mail["tls"], &mail["authenticated"]), (&true.into(), &true.into()));
    assert_eq!(mail["to"][0], "ada@example.com");
    let raw = mail["raw"].as_str().unwrap();
    let parsed = mail_parser::MessageParser::default().parse(raw).unwrap();
    assert!(parsed.body_text(0).unwrap().contains(CODE));
    // The server ends when its standard input is closed.
    drop(server.stdin.take());
    server.wait().unwrap();
}
