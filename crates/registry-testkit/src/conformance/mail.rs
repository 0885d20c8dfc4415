//! Conformance of mailers: a case for each MUST in `registry_core::mail`, checked on the raw mails
//! that were delivered.

use chrono::TimeDelta;
use registry_core::clock::Timestamp;
use registry_core::id::{MailId, ReleaseId, TenantId};
use registry_core::install_code::PlainCode;
use registry_core::mail::{Download, InstallCodeMessage, Mailer, Message, OutgoingMail};
use registry_core::release::Release;
use registry_core::secret::DownloadLink;
use registry_core::text::{Channel, CompanyName, EmailAddress, PersonName, Version};
use uuid::Uuid;

/// Creates the conformance tests of a mailer. `$new` is an expression that creates `(mailer,
/// inbox)`: a mailer and an empty inbox. `inbox()` returns the raw mails delivered so far.
#[macro_export]
macro_rules! mail_conformance {
    ($new:expr) => {
        $crate::mail_conformance!(@cases $new;
            mail_has_code_link_and_dates,
            resent_mail_keeps_its_message_id,
            mail_without_release_says_so,
            hostile_names_stay_text,
        );
    };
    (@cases $new:expr; $($case:ident),+ $(,)?) => {$(
        #[tokio::test]
        async fn $case() {
            let (mailer, inbox) = $new;
            $crate::conformance::mail::$case(&mailer, &inbox).await;
        }
    )+};
}

/// The install code of [`example`].
pub const CODE: &str = "K7QP-M2RX-9TDV";

/// The download link of [`example`].
pub const LINK: &str =
    "https://registry.example/download/AAAAAAAAAAAAAAAAAAAABwABAgMEBQYHCAkKCwwNDg8";

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_timestamp(1_800_000_000 + seconds, 0).unwrap()
}

/// Returns a mail with an install code, as the registry sends it, to this company and contact.
#[must_use]
pub fn example(company: &str, contact: Option<&str>) -> OutgoingMail {
    let release = Release {
        id: ReleaseId(Uuid::nil()),
        channel: Channel::from_stored("stable".to_owned()),
        version: Version::from_stored("1.2.3".to_owned()),
        key: registry_core::blob::BlobKey::parse("stable/1/image.iso").unwrap(),
        file_name: "image.iso".to_owned(),
        size: 1_234_567_890,
        sha256: "ab".repeat(32),
        published_at: at(0),
        manifest: None,
        yanked_at: None,
    };
    let link = DownloadLink::new(LINK.to_owned());
    let download =
        Download { link, expires_at: at(604_800), after_redemption: TimeDelta::days(7), release };
    OutgoingMail {
        id: MailId(Uuid::from_u128(7)),
        to: EmailAddress::parse("ada@example.com").unwrap(),
        queued_at: at(0),
        message: Message::InstallCode(Box::new(InstallCodeMessage {
            tenant_id: TenantId(Uuid::from_u128(8)),
            company_name: CompanyName::from_stored(company.to_owned()),
            contact_name: contact.map(|name| PersonName::from_stored(name.to_owned())),
            edition: "pro".to_owned(),
            code: PlainCode::parse(CODE).unwrap(),
            code_expires_at: at(604_800),
            download: Some(download),
            reissued: false,
        })),
    }
}

fn only(inbox: &dyn Fn() -> Vec<Vec<u8>>) -> Vec<u8> {
    let mut mails = inbox();
    assert_eq!(mails.len(), 1);
    mails.remove(0)
}

fn parse(raw: &[u8]) -> mail_parser::Message<'_> {
    mail_parser::MessageParser::default().parse(raw).expect("a mail")
}

/// The mail contains the code, the download link and both expiry dates, in text and HTML. The
/// subject contains no code. R-register-tenant-9.
pub async fn mail_has_code_link_and_dates(mailer: &dyn Mailer, inbox: &dyn Fn() -> Vec<Vec<u8>>) {
    mailer.probe().await.unwrap();
    mailer.send(&example("Ünïcode & Söhne <Ltd>", Some("Ada Lovelace"))).await.unwrap();
    let raw = only(inbox);
    let mail = parse(&raw);
    assert_eq!(mail.to().unwrap().first().unwrap().address(), Some("ada@example.com"));
    assert_eq!(mail.date().unwrap().to_timestamp(), at(0).timestamp());
    let subject = mail.subject().unwrap();
    assert!(subject.contains("install code"), "{subject}");
    assert!(!subject.contains("Söhne"), "a stranger may have written the name: {subject}");
    assert!(!subject.contains("K7QP"), "a locked phone shows subjects: {subject}");
    let text = mail.body_text(0).unwrap().into_owned();
    let html = mail.body_html(0).unwrap().replace("&#x2f;", "/");
    for (body, link) in [(&text, LINK.to_owned()), (&html, LINK.replace('&', "&amp;"))] {
        for part in [
            CODE,
            &link,
            "22 January 2027, 08:00 UTC",
            "1.2.3",
            "1.23 GB",
            &"ab".repeat(32),
            "Ada Lovelace",
        ] {
            assert!(body.contains(part), "{part} is missing in {body}");
        }
    }
    assert!(text.lines().any(|line| line.trim() == CODE), "the code has its own line");
    assert!(text.lines().any(|line| line.trim() == LINK), "the link has its own line");
    assert!(html.contains("Ünïcode &amp; Söhne &lt;Ltd&gt;"));
    assert_eq!(mail.header("Auto-Submitted").and_then(|it| it.as_text()), Some("auto-generated"));
}

/// A mail that is sent again has the same message id, so that mail clients can show it once.
pub async fn resent_mail_keeps_its_message_id(
    mailer: &dyn Mailer,
    inbox: &dyn Fn() -> Vec<Vec<u8>>,
) {
    let mail = example("Acme", None);
    mailer.send(&mail).await.unwrap();
    mailer.send(&mail).await.unwrap();
    let ids: Vec<_> =
        inbox().iter().map(|raw| parse(raw).message_id().unwrap().to_owned()).collect();
    assert!(!ids.is_empty() && ids.iter().all(|id| *id == ids[0]));
    assert!(ids[0].contains(&mail.id.to_string()));
}

/// A mail without a release has no link and says that there is no image yet.
pub async fn mail_without_release_says_so(mailer: &dyn Mailer, inbox: &dyn Fn() -> Vec<Vec<u8>>) {
    let mut mail = example("Acme", None);
    let Message::InstallCode(message) = &mut mail.message else { panic!("an install code") };
    (message.download, message.reissued) = (None, true);
    mailer.send(&mail).await.unwrap();
    let raw = only(inbox);
    let mail = parse(&raw);
    let text = mail.body_text(0).unwrap();
    assert!(text.contains(CODE) && !text.contains("/download/"), "{text}");
    assert!(text.contains("No image is available yet") && text.contains("replaces"), "{text}");
}

/// Names of companies and contacts never become headers, markup or template code.
pub async fn hostile_names_stay_text(mailer: &dyn Mailer, inbox: &dyn Fn() -> Vec<Vec<u8>>) {
    let script = "<script>alert(1)</script> {{ 7*7 }} Bcc: eve@example.com";
    let long = "שלום ".repeat(40);
    mailer
        .send(&example(&format!("{script}{long}"), Some("x\r\nBcc: eve@example.com")))
        .await
        .unwrap();
    let raw = only(inbox);
    let mail = parse(&raw);
    assert!(mail.bcc().is_none());
    let html = mail.body_html(0).unwrap();
    assert!(
        !html.contains("<script>") && html.contains("&lt;script&gt;") && html.contains("{{ 7*7 }}"),
        "{html}"
    );
}
