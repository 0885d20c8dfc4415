//! The same against a mail server that others wrote, where it is installed: what our own server and
//! our own client agree on might still be wrong.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::Duration;

use registry_core::mail::{MailError, Mailer as _};
use registry_mail_smtp::{
    Brand, BrandSettings, Renderer, Sender, SmtpMailer, SmtpSettings, SmtpTls,
};
use registry_testkit::conformance::mail::{CODE, example};
use throwaway_servers::Certificate;

fn python_has(module: &str) -> bool {
    let found = Command::new("python3")
        .args(["-c", &format!("import {module}")])
        .stderr(Stdio::null())
        .status();
    found.is_ok_and(|status| status.success())
}

fn mailer(port: u16, ca_pem: &str, password: &str) -> SmtpMailer {
    let brand = Brand::new(BrandSettings::default()).unwrap();
    let sender = Sender { address: "registry@vendor.example".into(), brand };
    let settings = SmtpSettings {
        host: "localhost".to_owned(),
        port: Some(port),
        tls: SmtpTls::StartTls,
        credentials: Some(("registry".to_owned(), password.to_owned().into())),
        ca_pem: Some(ca_pem.as_bytes().to_vec()),
        hello_name: None,
        connections: 1,
        timeout: Duration::from_secs(20),
    };
    SmtpMailer::new(settings, Renderer::new(sender, None).unwrap()).unwrap()
}

#[tokio::test]
async fn a_mail_goes_over_starttls_and_auth_through_a_server_that_others_wrote() {
    if !python_has("aiosmtpd") {
        assert!(
            std::env::var_os("CI").is_none(),
            "aiosmtpd is not installed, and not left out in CI"
        );
        eprintln!("aiosmtpd is not installed: nothing was tried (pip install aiosmtpd)");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let certificate = Certificate::make().unwrap();
    let (chain, key) = (folder.path().join("chain.pem"), folder.path().join("key.pem"));
    std::fs::write(&chain, &certificate.chain_pem).unwrap();
    std::fs::write(&key, &certificate.key_pem).unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut server = Command::new("python3")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/others_server.py"))
        .args([&chain, &key])
        .args(["registry", "secret"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = server.stdin.take().unwrap();
    writeln!(told, "{port}").unwrap();
    let mut said = BufReader::new(server.stdout.take().unwrap()).lines();
    assert_eq!(said.next().unwrap().unwrap(), "listening");

    let refused = mailer(port, &certificate.ca_pem, "wrong").send(&example("Acme", None)).await;
    assert!(matches!(refused, Err(MailError::Unavailable(_))), "{refused:?}");
    let mailer = mailer(port, &certificate.ca_pem, "secret");
    mailer.probe().await.unwrap();
    mailer.send(&example("Ünïcode & Söhne", Some("Ada"))).await.unwrap();
    let mail: serde_json::Value = serde_json::from_str(&said.next().unwrap().unwrap()).unwrap();
    assert_eq!((&mail["tls"], &mail["authenticated"]), (&true.into(), &true.into()));
    assert_eq!(mail["to"][0], "ada@example.com");
    let raw = mail["raw"].as_str().unwrap();
    let parsed = mail_parser::MessageParser::default().parse(raw).unwrap();
    assert!(parsed.body_text(0).unwrap().contains(CODE));
    drop(told);
    server.wait().unwrap();
}
