//! The external servers that registryd uses, and changes that an operator makes beside it.

pub(crate) mod holding_smtp;

use std::path::Path;
use std::time::Duration;

use registry_core::Registry;
use registry_core::audit::Actor;
use registry_core::mail::{MailQuery, MailState};
use registry_core::registry::releases::NewRelease;
use throwaway_servers::{S3Options, S3Server, SmtpOptions, SmtpServer};

use crate::databases::Environment;

/// Password of the mail server; must not appear anywhere else.
pub(crate) const PASSWORD: &str = "canary-of-the-mail-password";
/// Secret access key of the object store; must not appear anywhere else.
pub(crate) const S3_KEY: &str = "canary-of-the-s3-secret-access-key";

/// A mail server and an object store.
pub(crate) struct ExternalServers {
    pub(crate) smtp: SmtpServer,
    pub(crate) s3: S3Server,
    folder: tempfile::TempDir,
}

impl ExternalServers {
    pub(crate) fn start() -> Self {
        let user = Some(("registry".to_owned(), PASSWORD.to_owned()));
        let smtp = SmtpServer::start(SmtpOptions { user, ..SmtpOptions::default() }).unwrap();
        let s3 = S3Server::start(S3Options {
            secret_access_key: S3_KEY.to_owned(),
            ..S3Options::default()
        })
        .unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), &smtp.ca_pem).unwrap();
        Self { smtp, s3, folder }
    }

    /// Returns the environment in which registryd uses these servers: `smtp`, `s3`, or both.
    pub(crate) fn environment(&self, servers: &[&str]) -> Vec<(&'static str, String)> {
        let mut environment = Vec::new();
        if servers.contains(&"smtp") {
            environment.extend([
                ("REGISTRY_MAIL_FROM", "registry@vendor.example".to_owned()),
                ("REGISTRY_MAIL_SMTP_HOST", "localhost".to_owned()),
                ("REGISTRY_MAIL_SMTP_PORT", self.smtp.port().to_string()),
                ("REGISTRY_MAIL_SMTP_USERNAME", "registry".to_owned()),
                ("REGISTRY_MAIL_SMTP_PASSWORD", PASSWORD.to_owned()),
                (
                    "REGISTRY_MAIL_SMTP_CA_FILE",
                    self.folder.path().join("ca.pem").to_str().unwrap().to_owned(),
                ),
            ]);
        }
        if servers.contains(&"s3") {
            let S3Options { bucket, access_key_id, .. } = S3Options::default();
            environment.extend([
                ("REGISTRY_S3_BUCKET", bucket),
                ("REGISTRY_S3_ENDPOINT", self.s3.endpoint()),
                ("REGISTRY_S3_PUBLIC_ENDPOINT", self.s3.public_endpoint()),
                ("REGISTRY_S3_ACCESS_KEY_ID", access_key_id),
                ("REGISTRY_S3_SECRET_ACCESS_KEY", S3_KEY.to_owned()),
            ]);
        }
        environment
    }
}

/// Borrows the values of an environment.
pub(crate) fn as_refs<'a>(owned: &'a [(&'static str, String)]) -> Vec<(&'a str, &'a str)> {
    owned.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

/// Publishes version 1.0 through the same use case as the admin command line.
pub(crate) fn publish(data: &Path, environment: Environment, content: &[u8]) {
    publish_as("1.0", data, environment, content);
}

/// Publishes this version through the same use case as the admin command line.
pub(crate) fn publish_as(version: &str, data: &Path, environment: Environment, content: &[u8]) {
    operate(data, environment, async |registry| {
        let (version, file_name) = (version.to_owned(), "image.iso".to_owned());
        let new = NewRelease { version, file_name, ..NewRelease::default() };
        let mut upload = registry.release_begin(new, operator()).await.unwrap();
        upload.write(content).await.unwrap();
        registry.release_publish(upload).await.unwrap();
    });
}

/// The actor of changes that an operator makes in a test.
pub(crate) fn operator() -> Actor {
    Actor { name: "operator:test".to_owned(), source: "test".to_owned() }
}

/// Works with a registry on the same data and configuration, beside registryd, as the admin command
/// line does.
pub(crate) fn operate(data: &Path, environment: Environment, work: impl AsyncFnOnce(&Registry)) {
    let variable = |name: &str| match name {
        "REGISTRY_DATA" => data.to_str(),
        name => environment.iter().find(|(known, _)| *known == name).map(|(_, value)| *value),
    };
    let config =
        registry_wiring::Config::load(None, |name| variable(name).map(str::to_owned)).unwrap();
    let url = std::fs::read_to_string(data.join("public-url")).unwrap().trim().to_owned();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let registry = registry_wiring::build(&config, &url).await.unwrap().registry;
        work(&registry).await;
    });
}

/// Polls until `holds` is true, for about two minutes: a deferred mail may wait for one.
pub(crate) fn wait_until(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..2_400 {
        if holds() {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("waited two minutes for {what}");
}

/// Polls until no mail is queued, for about two minutes. A mail is queued until it is settled, so
/// none is being sent then.
pub(crate) fn wait_until_mails_are_settled(data: &Path, environment: Environment) {
    operate(data, environment, async |registry| {
        let mut queued = Vec::new();
        for _ in 0..240 {
            let query =
                MailQuery { state: Some(MailState::Queued), limit: 10, ..MailQuery::default() };
            queued = registry.mail_list(query).await.unwrap();
            if queued.is_empty() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        let errors: Vec<_> = queued.iter().map(|mail| (&mail.id, &mail.last_error)).collect();
        panic!("mails are still queued after two minutes: {errors:?}");
    });
}

/// Returns the line with the `Message-ID` of a mail.
pub(crate) fn message_id(raw: &str) -> String {
    let line = raw.lines().find(|line| line.to_ascii_lowercase().starts_with("message-id:"));
    line.unwrap_or_else(|| panic!("no Message-ID in {raw}")).to_owned()
}

/// Returns the path of the download link in a mail.
pub(crate) fn download_path(raw: &str) -> String {
    let text = unfolded(raw);
    let rest = text.split_once("/download/").unwrap_or_else(|| panic!("no link in {raw}")).1;
    let token: String =
        rest.chars().take_while(|c| c.is_ascii_alphanumeric() || "-_".contains(*c)).collect();
    format!("/download/{token}")
}

/// Returns a mail with the soft line breaks of its quoted-printable parts removed (RFC 2045 §6.7).
pub(crate) fn unfolded(raw: &str) -> String {
    raw.replace("=\r\n", "").replace("=\n", "")
}
