//! The servers that registryd may be told to use, and how it is told.

use std::path::Path;
use std::time::Duration;

use registry_core::Registry;
use registry_core::audit::Actor;
use registry_core::mail::{MailQuery, MailState};
use registry_core::registry::releases::NewRelease;
use throwaway_servers::{S3Options, S3Server, SmtpOptions, SmtpServer};

use crate::both::Environment;

/// What must never be seen anywhere but where it is used.
pub(crate) const PASSWORD: &str = "canary-of-the-mail-password";
/// The same.
pub(crate) const S3_KEY: &str = "canary-of-the-s3-secret-access-key";

/// A mail server and an object store.
pub(crate) struct Outside {
    pub(crate) smtp: SmtpServer,
    pub(crate) s3: S3Server,
    folder: tempfile::TempDir,
}

impl Outside {
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

    /// What registryd has to be told to use these of them.
    pub(crate) fn environment(&self, servers: &[&str]) -> Vec<(&'static str, String)> {
        let mut told = Vec::new();
        if servers.contains(&"smtp") {
            told.extend([
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
            told.extend([
                ("REGISTRY_S3_BUCKET", bucket),
                ("REGISTRY_S3_ENDPOINT", self.s3.endpoint()),
                ("REGISTRY_S3_PUBLIC_ENDPOINT", self.s3.public_endpoint()),
                ("REGISTRY_S3_ACCESS_KEY_ID", access_key_id),
                ("REGISTRY_S3_SECRET_ACCESS_KEY", S3_KEY.to_owned()),
            ]);
        }
        told
    }
}

pub(crate) fn refs<'a>(told: &'a [(&'static str, String)]) -> Vec<(&'a str, &'a str)> {
    told.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

/// Publishes version 1.0 through the same use case that the admin command line calls.
pub(crate) fn publish(data: &Path, environment: Environment, content: &[u8]) {
    publish_as("1.0", data, environment, content);
}

/// The same, as this version.
pub(crate) fn publish_as(version: &str, data: &Path, environment: Environment, content: &[u8]) {
    operate(data, environment, async |registry| {
        let (version, file_name) = (version.to_owned(), "image.iso".to_owned());
        let new = NewRelease { version, file_name, ..NewRelease::default() };
        let mut upload = registry.release_begin(new, operator()).await.unwrap();
        upload.write(content).await.unwrap();
        registry.release_publish(upload).await.unwrap();
    });
}

pub(crate) fn operator() -> Actor {
    Actor { name: "operator:test".to_owned(), source: "test".to_owned() }
}

/// Does something with a registry on the same data and the same configuration, as the admin command
/// line does.
pub(crate) fn operate(data: &Path, environment: Environment, work: impl AsyncFnOnce(&Registry)) {
    let told = |name: &str| match name {
        "REGISTRY_DATA" => data.to_str(),
        name => environment.iter().find(|(known, _)| *known == name).map(|(_, value)| *value),
    };
    let config = registry_wiring::Config::load(None, |name| told(name).map(str::to_owned)).unwrap();
    let url = registry_wiring::DataFolder::open(data).unwrap().noted_public_url().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let registry = registry_wiring::build(&config, &url).await.unwrap().registry;
        work(&registry).await;
    });
}

/// Waits, at most two minutes.
pub(crate) fn wait_until(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..2_400 {
        if holds() {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("waited in vain for {what}");
}

/// Waits, at most two minutes, until no mail waits to be sent.
pub(crate) fn until_all_are_sent(data: &Path, environment: Environment) {
    operate(data, environment, async |registry| {
        for _ in 0..240 {
            let queued =
                MailQuery { state: Some(MailState::Queued), limit: 1, ..MailQuery::default() };
            if registry.mail_list(queued).await.unwrap().is_empty() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        panic!("mails are still waiting");
    });
}

pub(crate) fn message_id(raw: &str) -> String {
    let line = raw.lines().find(|line| line.to_ascii_lowercase().starts_with("message-id:"));
    line.unwrap_or_else(|| panic!("no Message-ID in {raw}")).to_owned()
}

/// The path of the download link in a mail's text.
pub(crate) fn download_path(raw: &str) -> String {
    // Lines of quoted-printable text are joined by `=` (RFC 2045 §6.7).
    let joined = raw.replace("=\r\n", "").replace("=\n", "");
    let rest = joined.split_once("/download/").unwrap_or_else(|| panic!("no link in {raw}")).1;
    let token: String =
        rest.chars().take_while(|c| c.is_ascii_alphanumeric() || "-_".contains(*c)).collect();
    format!("/download/{token}")
}
