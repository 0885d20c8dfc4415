//! Delivers mails to a mail server (RFC 5321), over TLS: by STARTTLS (RFC 3207) or from the first
//! byte (RFC 8314).

use std::path::PathBuf;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use chrono::TimeDelta;
use lettre::address::Envelope;
use lettre::transport::smtp::PoolConfig;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::transport::smtp::{self, AsyncSmtpTransportBuilder};
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor};
use registry_core::mail::{MailError, Mailer, OutgoingMail};
use registry_core::tls_hint::explained;
use zeroize::Zeroizing;

use crate::render::Renderer;

/// Encryption of the connection to the mail server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SmtpTls {
    /// STARTTLS: the connection is encrypted before any credentials or mails are sent. A server
    /// without STARTTLS is not used.
    StartTls,
    /// TLS from the first byte.
    Implicit,
    /// No encryption.
    None,
}

impl SmtpTls {
    /// Returns the default port.
    #[must_use]
    pub fn port(self) -> u16 {
        match self {
            Self::StartTls => 587,
            Self::Implicit => 465,
            Self::None => 25,
        }
    }
}

/// Settings of the connection to the mail server.
#[derive(Clone)]
pub struct SmtpSettings {
    /// Name of the server, which its certificate must have.
    pub host: String,
    /// Port of the server; default: [`SmtpTls::port`].
    pub port: Option<u16>,
    /// Encryption of the connection.
    pub tls: SmtpTls,
    /// User name and password, if the server requires them.
    pub credentials: Option<(String, Zeroizing<String>)>,
    /// User name, and a file with an access token of OAuth 2.0, for a server that takes no password
    /// (XOAUTH2). The file is read before each mail, so another program can renew the token.
    pub token: Option<(String, PathBuf)>,
    /// Certificate authority in PEM, which replaces those of the system.
    pub ca_pem: Option<Vec<u8>>,
    /// Our name in EHLO; default: the machine's host name.
    pub hello_name: Option<String>,
    /// Maximum number of connections in the pool.
    pub connections: u32,
    /// Time limit of one mail, from connecting to the server's final reply.
    pub timeout: Duration,
}

/// Delivers mails to a mail server.
pub struct SmtpMailer {
    builder: AsyncSmtpTransportBuilder,
    token: Option<(String, PathBuf)>,
    /// The connections, and the token that they were opened with.
    current: RwLock<(Transport, Option<Zeroizing<String>>)>,
    renderer: Renderer,
    timeout: Duration,
}

type Transport = AsyncSmtpTransport<Tokio1Executor>;

/// Time limit for connecting to one of the server's addresses. A silent one must leave time for the
/// others: a machine often has an address for IPv6 and no way to it.
const ADDRESS_TIMEOUT: Duration = Duration::from_secs(4);

/// Time limit of a probe. It is short, since the client of `/readyz` waits for the result.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// An invalid setting of the mail server.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SmtpError(String);

impl SmtpMailer {
    /// Checks the settings. The mailer connects when it sends the first mail.
    pub fn new(settings: SmtpSettings, renderer: Renderer) -> Result<Self, SmtpError> {
        let SmtpSettings { host, port, tls, credentials, .. } = settings;
        let SmtpSettings { token, ca_pem, hello_name, connections, timeout, .. } = settings;
        let mut builder: AsyncSmtpTransportBuilder =
            AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&host);
        let address_timeout = ADDRESS_TIMEOUT.min(timeout / 3);
        builder = builder.port(port.unwrap_or(tls.port())).timeout(Some(address_timeout));
        builder = builder.pool_config(PoolConfig::new().max_size(connections));
        builder = match tls {
            SmtpTls::None => builder.tls(Tls::None),
            SmtpTls::StartTls => builder.tls(Tls::Required(parameters(&host, ca_pem.as_deref())?)),
            SmtpTls::Implicit => builder.tls(Tls::Wrapper(parameters(&host, ca_pem.as_deref())?)),
        };
        if let Some((user, password)) = credentials {
            builder = builder.credentials(Credentials::new(user, password.to_string()));
        }
        if let Some(name) = hello_name {
            builder = builder.hello_name(ClientId::Domain(name));
        }
        let current = RwLock::new((builder.clone().build(), None));
        Ok(Self { builder, token, current, renderer, timeout })
    }

    /// Returns the connections. A new token needs new ones.
    fn transport(&self) -> Result<Transport, MailError> {
        let token = self.token.as_ref().map(|(_, path)| {
            let token = std::fs::read_to_string(path).map_err(|error| {
                let path = path.display();
                MailError::Unavailable(format!("`mail.smtp.token_file` {path}: {error}"))
            });
            token.map(|token| Zeroizing::new(token.trim().to_owned()))
        });
        let token = token.transpose()?;
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner).clone();
        if current.1 == token { Ok(current.0) } else { Ok(self.renew(token)) }
    }

    /// Replaces the connections.
    fn renew(&self, token: Option<Zeroizing<String>>) -> Transport {
        let mut builder = self.builder.clone();
        if let Some(((user, _), token)) = self.token.as_ref().zip(token.as_ref()) {
            let credentials = Credentials::new(user.clone(), token.to_string());
            builder = builder.credentials(credentials).authentication(vec![Mechanism::Xoauth2]);
        }
        let transport = builder.build();
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = (transport.clone(), token);
        transport
    }

    /// Runs `work` with a time limit: the lease of the mail expires some time after it. After a
    /// timeout all connections are closed: the late reply on a reused one would be taken for the
    /// reply to the next command.
    async fn with_timeout(
        &self,
        timeout: Duration,
        work: impl AsyncFnOnce(&Transport) -> Result<(), MailError>,
    ) -> Result<(), MailError> {
        let transport = self.transport()?;
        if let Ok(result) = tokio::time::timeout(timeout, work(&transport)).await {
            return result;
        }
        let token = self.current.read().unwrap_or_else(PoisonError::into_inner).1.clone();
        self.renew(token);
        transport.shutdown().await;
        Err(MailError::Unclear(format!("the mail server took longer than {timeout:?}")))
    }
}

fn parameters(host: &str, ca_pem: Option<&[u8]>) -> Result<TlsParameters, SmtpError> {
    let mut builder = TlsParameters::builder(host.to_owned());
    if let Some(pem) = ca_pem {
        // Without this check, a file without a certificate would be accepted as an authority that
        // has issued none.
        if !String::from_utf8_lossy(pem).contains("-----BEGIN CERTIFICATE-----") {
            return Err(SmtpError("`mail.smtp.ca_file` has no certificate in PEM".to_owned()));
        }
        let certificate = Certificate::from_pem(pem)
            .map_err(|error| SmtpError(format!("`mail.smtp.ca_file` is invalid: {error}")))?;
        builder =
            builder.certificate_store(CertificateStore::None).add_root_certificate(certificate);
    }
    builder.build_rustls().map_err(|error| SmtpError(format!("TLS cannot be used: {error}")))
}

#[async_trait]
impl Mailer for SmtpMailer {
    async fn send(&self, mail: &OutgoingMail) -> Result<(), MailError> {
        let email = self.renderer.render(mail)?;
        let (envelope, raw) = (email.envelope(), email.formatted());
        self.with_timeout(self.timeout, async |transport| {
            let sent = transport.send_raw(envelope, &raw).await;
            sent.map(drop).map_err(|error| classify(&error, envelope))
        })
        .await
    }

    async fn probe(&self) -> Result<(), MailError> {
        self.with_timeout(self.timeout.min(PROBE_TIMEOUT), async |transport| {
            match transport.test_connection().await {
                Ok(true) => Ok(()),
                Ok(false) => {
                    Err(MailError::Unavailable("the mail server does not respond".to_owned()))
                }
                Err(error) => Err(MailError::Unavailable(describe(&error))),
            }
        })
        .await
    }

    fn send_timeout(&self) -> TimeDelta {
        TimeDelta::from_std(self.timeout).unwrap_or(TimeDelta::MAX)
    }
}

/// Returns the meaning of a failure for the mail. Replies about the login or about the server's
/// state are not about the mail: they are `Unavailable`.
fn classify(error: &smtp::Error, envelope: &Envelope) -> MailError {
    let text = describe(error);
    match error.status().map(u16::from) {
        Some(status) => classify_reply(status, &text)(text),
        None if error.is_client()
            && envelope.to().iter().any(|it| !AsRef::<str>::as_ref(it).is_ascii()) =>
        {
            MailError::Permanent(format!("the mail server accepts only ASCII in addresses: {text}"))
        }
        None if error.is_response() || is_not_utf8(error) => MailError::Unreadable(text),
        None => MailError::Unclear(text),
    }
}

/// True if the server's reply was not UTF-8. The kind of the error is not enough: an untrusted
/// certificate is `InvalidData`, too.
fn is_not_utf8(error: &smtp::Error) -> bool {
    let io =
        std::error::Error::source(error).and_then(|source| source.downcast_ref::<std::io::Error>());
    io.is_some_and(|io| {
        io.kind() == std::io::ErrorKind::InvalidData && io.to_string().contains("UTF-8")
    })
}

/// Classifies a reply by its status and text. Some servers reply 5yz to what passes by itself: a
/// quota, a rate limit or a full mailbox. Their enhanced status (RFC 3463) or their words tell.
fn classify_reply(status: u16, text: &str) -> fn(String) -> MailError {
    let is_about_load = ["5.2.2", "5.3.1", "5.4.5"].iter().any(|code| {
        text.split(|c: char| !c.is_ascii_digit() && c != '.').any(|word| word == *code)
    });
    let text = text.to_ascii_lowercase();
    let passes = ["try again", "try later", "temporar", "rate limit", "too many", "quota"];
    match status {
        500..600 if is_about_load || passes.iter().any(|words| text.contains(words)) => {
            MailError::Transient
        }
        _ => classify_status(status),
    }
}

/// Classifies a reply by its status. RFC 5321 §4.2.1: after 4yz the mail may be sent again, after
/// 5yz not. 421 is a server that shuts down (§3.8). 432, 454, 530, 534, 535 and 538 are about our
/// authentication (RFC 4954 §6, RFC 3207 §4.1), which an operator has to fix.
fn classify_status(status: u16) -> fn(String) -> MailError {
    match status {
        421 | 432 | 454 | 530 | 534 | 535 | 538 => MailError::Unavailable,
        400..500 => MailError::Transient,
        _ => MailError::Permanent,
    }
}

/// Returns the error and its causes, on one line.
fn describe(error: &smtp::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    if text.contains("No compatible authentication mechanism") {
        text.push_str(
            ": the server offers none that fits. registryctl and registryd speak PLAIN and LOGIN \
             (`mail.smtp.password`) and XOAUTH2 (`mail.smtp.token_file`)",
        );
    }
    explained(&text.split_whitespace().collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_classified() {
        let kind = |status| match classify_reply(status, "")(String::new()) {
            MailError::Transient(_) => "transient",
            MailError::Permanent(_) => "permanent",
            MailError::Unavailable(_) => "unavailable",
            MailError::Unclear(_) | MailError::Unreadable(_) => "unclear",
        };
        for (status, expected) in [
            (421, "unavailable"),
            (450, "transient"),
            (451, "transient"),
            (452, "transient"),
            (454, "unavailable"),
            (530, "unavailable"),
            (535, "unavailable"),
            (550, "permanent"),
            (552, "permanent"),
            (554, "permanent"),
        ] {
            assert_eq!(kind(status), expected, "{status}");
        }
    }

    #[test]
    fn passing_trouble_is_no_refusal() {
        for (status, text, passes) in [
            (550, "550 5.4.5 Daily user sending quota exceeded", true),
            (554, "554 5.7.0 try again later", true),
            (552, "552 5.2.2 mailbox is full", true),
            (550, "550 5.7.1 Too many messages from this address", true),
            (550, "550 5.1.1 no such user", false),
            (550, "550 15.4.5 is no status", false),
            (554, "554 5.7.1 message refused", false),
        ] {
            let is_transient =
                matches!(classify_reply(status, text)(String::new()), MailError::Transient(_));
            assert_eq!(is_transient, passes, "{text}");
        }
    }
}
