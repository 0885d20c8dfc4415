//! Delivers to a mail server (RFC 5321), over TLS: STARTTLS (RFC 3207) or from the first byte (RFC
//! 8314).

use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use chrono::TimeDelta;
use lettre::address::Envelope;
use lettre::transport::smtp::PoolConfig;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::transport::smtp::{self, AsyncSmtpTransportBuilder};
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor};
use registry_core::mail::{MailError, Mailer, OutgoingMail};
use zeroize::Zeroizing;

use crate::render::Renderer;

/// How the connection is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SmtpTls {
    /// Begins in clear and is upgraded before anything is said; a server that does not offer it is
    /// not used.
    StartTls,
    /// From the first byte.
    Implicit,
    /// Not at all.
    None,
}

impl SmtpTls {
    /// The port that such a server listens on.
    #[must_use]
    pub fn port(self) -> u16 {
        match self {
            Self::StartTls => 587,
            Self::Implicit => 465,
            Self::None => 25,
        }
    }
}

/// Which server, and how.
#[derive(Clone)]
pub struct SmtpSettings {
    /// The server's name, which its certificate must bear.
    pub host: String,
    /// The port; the usual one of `tls` unless given.
    pub port: Option<u16>,
    /// How the connection is protected.
    pub tls: SmtpTls,
    /// The user and the password, where the server wants some.
    pub credentials: Option<(String, Zeroizing<String>)>,
    /// The certificate authority, as PEM, instead of those of the system.
    pub ca_pem: Option<Vec<u8>>,
    /// What we call ourselves; the machine's name unless given.
    pub hello_name: Option<String>,
    /// How many connections are kept open at most.
    pub connections: u32,
    /// How long sending one mail may take, from connecting to the server's last word.
    pub timeout: Duration,
}

/// Sends mails through a server.
pub struct SmtpMailer {
    builder: AsyncSmtpTransportBuilder,
    transport: RwLock<Transport>,
    renderer: Renderer,
    timeout: Duration,
}

type Transport = AsyncSmtpTransport<Tokio1Executor>;

/// How long asking whether the server answers may take: somebody waits for it.
const PROBE: Duration = Duration::from_secs(5);

/// Why the server cannot be used as it is set.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SmtpError(String);

impl SmtpMailer {
    /// Prepares to send; connects when the first mail is sent.
    pub fn new(settings: SmtpSettings, renderer: Renderer) -> Result<Self, SmtpError> {
        let SmtpSettings { host, port, tls, credentials, ca_pem, hello_name, connections, timeout } =
            settings;
        let mut builder: AsyncSmtpTransportBuilder =
            AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&host);
        builder = builder.port(port.unwrap_or(tls.port())).timeout(Some(timeout));
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
        Ok(Self { transport: RwLock::new(builder.clone().build()), builder, renderer, timeout })
    }

    fn transport(&self) -> Transport {
        self.transport.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Bounds what the server may take: a lease on the mail ends some time after. A connection that
    /// was left in the middle of something must never be used again, since what comes late would be
    /// taken for the answer to something else; so all of them are given up.
    async fn within(
        &self,
        patience: Duration,
        work: impl AsyncFnOnce(&Transport) -> Result<(), MailError>,
    ) -> Result<(), MailError> {
        let transport = self.transport();
        if let Ok(done) = tokio::time::timeout(patience, work(&transport)).await {
            return done;
        }
        *self.transport.write().unwrap_or_else(PoisonError::into_inner) =
            self.builder.clone().build();
        transport.shutdown().await;
        Err(MailError::Unclear(format!("the mail server took longer than {patience:?}")))
    }
}

fn parameters(host: &str, ca_pem: Option<&[u8]>) -> Result<TlsParameters, SmtpError> {
    let mut builder = TlsParameters::builder(host.to_owned());
    if let Some(pem) = ca_pem {
        // Without this, a file of anything else would be an authority that nobody is certified by.
        if !String::from_utf8_lossy(pem).contains("-----BEGIN CERTIFICATE-----") {
            return Err(SmtpError("`mail.smtp.ca_file` has no certificate in PEM".to_owned()));
        }
        let certificate = Certificate::from_pem(pem)
            .map_err(|error| SmtpError(format!("no certificate: {error}")))?;
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
        self.within(self.timeout, async |transport| {
            let sent = transport.send_raw(envelope, &raw).await;
            sent.map(drop).map_err(|error| classify(&error, envelope))
        })
        .await
    }

    async fn probe(&self) -> Result<(), MailError> {
        self.within(self.timeout.min(PROBE), async |transport| {
            match transport.test_connection().await {
                Ok(true) => Ok(()),
                Ok(false) => {
                    Err(MailError::Unavailable("the mail server does not answer".to_owned()))
                }
                Err(error) => Err(MailError::Unavailable(words(&error))),
            }
        })
        .await
    }

    fn patience(&self) -> TimeDelta {
        TimeDelta::from_std(self.timeout).unwrap_or(TimeDelta::MAX)
    }
}

/// What a failure means for the mail. Replies to us, about who we are and whether the server serves
/// at all, say nothing about it.
fn classify(error: &smtp::Error, envelope: &Envelope) -> MailError {
    let text = words(error);
    match error.status().map(u16::from) {
        Some(status) => of_status(status)(text),
        None if error.is_client()
            && envelope.to().iter().any(|it| !AsRef::<str>::as_ref(it).is_ascii()) =>
        {
            MailError::Permanent(format!("the mail server does not take such addresses: {text}"))
        }
        None if error.is_response() || is_not_text(error) => MailError::Unreadable(text),
        None => MailError::Unclear(text),
    }
}

/// Whether the server's answer was none in UTF-8. (A certificate that is not trusted is invalid
/// data too.)
fn is_not_text(error: &smtp::Error) -> bool {
    let io =
        std::error::Error::source(error).and_then(|source| source.downcast_ref::<std::io::Error>());
    io.is_some_and(|io| {
        io.kind() == std::io::ErrorKind::InvalidData && io.to_string().contains("UTF-8")
    })
}

/// RFC 5321 §4.2.1: 4yz may be tried again, 5yz may not. 421 is the server closing down (§3.8);
/// 432, 454, 530, 534, 535 and 538 are about our authentication (RFC 4954 §6, RFC 3207 §4.1), which
/// an operator mends.
fn of_status(status: u16) -> fn(String) -> MailError {
    match status {
        421 | 432 | 454 | 530 | 534 | 535 | 538 => MailError::Unavailable,
        400..500 => MailError::Transient,
        _ => MailError::Permanent,
    }
}

/// The error and what is behind it, on one line.
fn words(error: &smtp::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_about_the_mail_or_about_us() {
        let kind = |status| match of_status(status)(String::new()) {
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
}
