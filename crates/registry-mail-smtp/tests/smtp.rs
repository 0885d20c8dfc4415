//! Delivery through a mail server with STARTTLS and AUTH, and the meaning of its replies.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use registry_core::mail::{MailError, Mailer as _, OutgoingMail};
use registry_core::text::EmailAddress;
use registry_mail_smtp::{
    Brand, BrandSettings, Renderer, Sender, SmtpMailer, SmtpSettings, SmtpTls,
};
use registry_testkit::conformance::mail::{CODE, example};
use throwaway_servers::{SmtpOptions, SmtpServer};

const PASSWORD: &str = "canary-of-the-password";

fn user() -> (String, String) {
    ("registry".to_owned(), PASSWORD.to_owned())
}

fn server() -> SmtpServer {
    SmtpServer::start(SmtpOptions { user: Some(user()), ..SmtpOptions::default() }).unwrap()
}

fn settings(server: &SmtpServer) -> SmtpSettings {
    SmtpSettings {
        host: "localhost".to_owned(),
        port: Some(server.port()),
        tls: SmtpTls::StartTls,
        credentials: Some((user().0, user().1.into())),
        token: None,
        ca_pem: Some(server.ca_pem.clone().into_bytes()),
        hello_name: Some("registry.vendor.example".to_owned()),
        connections: 2,
        timeout: Duration::from_secs(10),
    }
}

fn mailer(settings: SmtpSettings) -> SmtpMailer {
    let brand = BrandSettings {
        support: Some("help@vendor.example".to_owned()),
        ..BrandSettings::default()
    };
    let sender =
        Sender { address: "registry@vendor.example".into(), brand: Brand::new(brand).unwrap() };
    SmtpMailer::new(settings, Renderer::new(sender, None).unwrap()).unwrap()
}

/// Polls until `holds` is true, for about ten seconds.
async fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let mut polls = 0;
    while !holds() {
        polls += 1;
        assert!(polls < 1_000, "waited ten seconds for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn mail_to(address: &str) -> OutgoingMail {
    OutgoingMail { to: EmailAddress::parse(address).unwrap(), ..example("Acme", None) }
}

fn new_mailer() -> (SmtpMailer, impl Fn() -> Vec<Vec<u8>>) {
    let server = server();
    let mailer = mailer(settings(&server));
    (mailer, move || server.received().into_iter().map(|mail| mail.raw.into_bytes()).collect())
}

registry_testkit::mail_conformance!(new_mailer());

#[tokio::test]
async fn mails_share_a_starttls_connection() {
    let server = server();
    let mailer = mailer(settings(&server));
    mailer.send(&mail_to("ada@example.com")).await.unwrap();
    let mut mails = 1;
    // A connection returns to the pool in the background, after `send` has returned. So the next
    // mail may need a new one.
    while server.sessions() == mails {
        assert!(mails < 100, "each of {mails} mails had its own connection");
        mailer.send(&mail_to("ada@example.com")).await.unwrap();
        mails += 1;
    }
    let received = server.received();
    assert_eq!(received.len(), mails as usize);
    for mail in received {
        assert!(mail.tls && mail.authenticated);
        assert_eq!(
            (mail.from.as_str(), &mail.to[..]),
            ("registry@vendor.example", &["ada@example.com".to_owned()][..])
        );
        assert!(mail.raw.contains("Reply-To: help@vendor.example"), "{}", mail.raw);
    }
}

#[tokio::test]
async fn implicit_tls_is_used() {
    let options = SmtpOptions { implicit_tls: true, user: Some(user()), ..SmtpOptions::default() };
    let server = SmtpServer::start(options).unwrap();
    let mailer = mailer(SmtpSettings { tls: SmtpTls::Implicit, ..settings(&server) });
    mailer.probe().await.unwrap();
    mailer.send(&mail_to("ada@example.com")).await.unwrap();
    assert!(server.received()[0].tls);
}

#[tokio::test]
async fn replies_decide_about_retries() {
    let server = server();
    let mailer = mailer(settings(&server));
    let send = async |to: &str| mailer.send(&mail_to(to)).await;
    let Err(MailError::Transient(text)) = send("busy-1@example.com").await else {
        panic!("a busy server")
    };
    assert!(text.contains("try again later"), "{text}");
    send("busy-1@example.com").await.unwrap();
    let Err(MailError::Permanent(text)) = send("unknown@example.com").await else {
        panic!("an unknown recipient")
    };
    assert!(text.contains("no such user"), "{text}");
    let quoted = send("quoting@example.com").await;
    assert!(matches!(&quoted, Err(MailError::Permanent(_))), "{quoted:?}");
    assert!(
        matches!(send("deaf@example.com").await, Err(MailError::Unclear(_))),
        "the reply got lost"
    );
    assert!(matches!(send("odd@example.com").await, Err(MailError::Unreadable(_))), "not UTF-8");
    mailer.probe().await.unwrap();
    assert_eq!(
        server.received().len(),
        3,
        "the retried mail, and those with a lost and an unreadable reply"
    );
    let Err(MailError::Permanent(text)) = send("grüße@example.com").await else {
        panic!("an address that is not ASCII")
    };
    assert!(text.contains("accepts only ASCII"), "{text}");
}

#[tokio::test]
async fn failed_login_or_connection_is_unavailable() {
    let server = server();
    let other_authority = throwaway_servers::Certificate::make().unwrap().ca_pem.into_bytes();
    let plain = SmtpServer::start(SmtpOptions { plain: true, ..SmtpOptions::default() }).unwrap();
    let mut down = SmtpServer::start(SmtpOptions::default()).unwrap();
    down.stop();
    for (what, settings, part) in [
        (
            "a wrong password",
            SmtpSettings {
                credentials: Some(("registry".into(), "wrong".to_owned().into())),
                ..settings(&server)
            },
            "not these credentials",
        ),
        (
            "no credentials",
            SmtpSettings { credentials: None, ..settings(&server) },
            "authentication required",
        ),
        (
            "another authority",
            SmtpSettings { ca_pem: Some(other_authority), ..settings(&server) },
            "certificate",
        ),
        (
            "no STARTTLS",
            SmtpSettings { credentials: None, ..settings(&plain) },
            "STARTTLS is not supported",
        ),
        ("a server that is down", settings(&down), "refused"),
        ("an unknown host", SmtpSettings { host: "mail.invalid".into(), ..settings(&server) }, ""),
    ] {
        let mailer = mailer(settings);
        let sent = mailer.send(&mail_to("ada@example.com")).await;
        let text = match sent {
            Err(MailError::Unavailable(text)) => text,
            // After an unclear failure, core probes the server.
            Err(MailError::Unclear(text)) if mailer.probe().await.is_err() => text,
            sent => panic!("{what}: {sent:?}"),
        };
        assert!(
            text.contains(part) && !text.contains(PASSWORD) && !text.contains('\n'),
            "{what}: {text}"
        );
        assert!(!text.contains(CODE));
    }
    assert_eq!(server.received(), []);
}

#[tokio::test]
async fn slow_server_times_out() {
    let server = server();
    let mailer = mailer(SmtpSettings { timeout: Duration::from_millis(700), ..settings(&server) });
    mailer.probe().await.unwrap();
    let sent = mailer.send(&mail_to("slow@example.com")).await;
    assert!(matches!(sent, Err(MailError::Unclear(_))), "{sent:?}");
}

#[tokio::test]
async fn late_reply_is_discarded() {
    let server = server();
    // The server takes two seconds, so its reply arrives after the timeout.
    let mailer =
        mailer(SmtpSettings { timeout: Duration::from_millis(1_500), ..settings(&server) });
    let late = mailer.send(&mail_to("slow@example.com")).await;
    assert!(matches!(late, Err(MailError::Unclear(_))), "{late:?}");
    mailer.probe().await.unwrap();
    wait_until("the server's late reply", || server.count() == 1).await;
    for _ in 0..3 {
        let refused = mailer.send(&mail_to("quoting@example.com")).await;
        assert!(matches!(refused, Err(MailError::Permanent(_))), "{refused:?}");
    }
}

#[tokio::test]
async fn restarted_server_is_used_again() {
    let mut server = server();
    let mailer = mailer(settings(&server));
    mailer.send(&mail_to("ada@example.com")).await.unwrap();
    server.stop();
    assert!(matches!(mailer.send(&mail_to("ada@example.com")).await, Err(MailError::Unclear(_))));
    server.resume().unwrap();
    mailer.send(&mail_to("ada@example.com")).await.unwrap();
}

#[test]
fn invalid_certificate_is_refused() {
    let server = server();
    let settings = SmtpSettings { ca_pem: Some(b"not PEM".to_vec()), ..settings(&server) };
    let sender = Sender {
        address: "a@vendor.example".into(),
        brand: Brand::new(BrandSettings::default()).unwrap(),
    };
    assert!(SmtpMailer::new(settings, Renderer::new(sender, None).unwrap()).is_err());
}

/// The command that signs in with a token.
fn auth(token: &str) -> String {
    use base64::Engine as _;
    let response = format!("user=registry\x01auth=Bearer {token}\x01\x01");
    format!("AUTH XOAUTH2 {}", base64::prelude::BASE64_STANDARD.encode(response))
}

/// Starts a mail server that replies like this to EHLO and to RCPT, and accepts all else.
async fn replying(ehlo: &'static str, rcpt: &'static str) -> u16 {
    use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (reader, mut writer) = stream.into_split();
                let mut lines = BufReader::new(reader).lines();
                let mut reply = "220 mail.example";
                while writer.write_all(format!("{reply}\r\n").as_bytes()).await.is_ok() {
                    let Ok(Some(line)) = lines.next_line().await else { return };
                    reply = match line.get(..4).unwrap_or_default() {
                        "EHLO" => ehlo,
                        "RCPT" => rcpt,
                        "AUTH" if line == auth("token-1") => "235 welcome",
                        "AUTH" => "535 5.7.8 wrong token",
                        _ => "250 fine",
                    };
                }
            });
        }
    });
    port
}

fn plain_mailer(port: u16) -> SmtpMailer {
    let server = server();
    mailer(SmtpSettings {
        host: "127.0.0.1".to_owned(),
        port: Some(port),
        tls: SmtpTls::None,
        credentials: None,
        ca_pem: None,
        ..settings(&server)
    })
}

/// A server that does not take our name refuses the probe, too. So core knows that the server does
/// not mean the mail (`MailError::with_probe_result`).
#[tokio::test]
async fn refused_name_fails_without_a_mail() {
    for ehlo in ["501 5.5.2 invalid name", "504 5.5.2 need a domain", "550 5.7.1 not allowed"] {
        let mailer = plain_mailer(replying(ehlo, "250 fine").await);
        assert!(mailer.send(&mail_to("ada@example.com")).await.is_err(), "{ehlo}");
        let text = mailer.probe().await.unwrap_err().to_string();
        assert!(text.contains(&ehlo[..3]), "{text}");
    }
}

/// A quota or a rate limit passes by itself, whatever the status says.
#[tokio::test]
async fn load_of_the_server_is_no_refusal_of_the_mail() {
    for rcpt in
        ["550 5.4.5 daily quota exceeded", "554 5.7.0 try again later", "552 5.2.2 mailbox full"]
    {
        let mailer = plain_mailer(replying("250 mail.example", rcpt).await);
        let sent = mailer.send(&mail_to("ada@example.com")).await;
        assert!(matches!(sent, Err(MailError::Transient(_))), "{rcpt}: {sent:?}");
    }
    let mailer = plain_mailer(replying("250 mail.example", "550 5.1.1 no such user").await);
    let sent = mailer.send(&mail_to("ada@example.com")).await;
    assert!(matches!(sent, Err(MailError::Permanent(_))), "{sent:?}");
}

/// A server that takes a token only: the file is read before each mail.
#[tokio::test]
async fn token_of_a_file_signs_in() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    let ehlo = "250-mail.example\r\n250 AUTH XOAUTH2";
    let port = replying(ehlo, "250 fine").await;
    let server = server();
    let mailer = mailer(SmtpSettings {
        host: "127.0.0.1".to_owned(),
        port: Some(port),
        tls: SmtpTls::None,
        credentials: None,
        token: Some(("registry".to_owned(), file.clone())),
        ca_pem: None,
        ..settings(&server)
    });
    let sent = mailer.send(&mail_to("ada@example.com")).await;
    let Err(MailError::Unavailable(text)) = sent else { panic!("{sent:?}") };
    assert!(text.contains("mail.smtp.token_file"), "{text}");
    std::fs::write(&file, "token-1\n").unwrap();
    mailer.send(&mail_to("ada@example.com")).await.unwrap();
    std::fs::write(&file, "wrong\n").unwrap();
    let sent = mailer.send(&mail_to("ada@example.com")).await;
    assert!(matches!(sent, Err(MailError::Unavailable(_))), "{sent:?}");
}

/// A server that offers nothing that a password can be used with.
#[tokio::test]
async fn missing_way_to_sign_in_is_explained() {
    let port = replying("250-mail.example\r\n250 AUTH XOAUTH2", "250 fine").await;
    let server = server();
    let mailer = mailer(SmtpSettings {
        host: "127.0.0.1".to_owned(),
        port: Some(port),
        tls: SmtpTls::None,
        ca_pem: None,
        ..settings(&server)
    });
    let text = mailer.probe().await.unwrap_err().to_string();
    assert!(text.contains("mail.smtp.token_file"), "{text}");
}
