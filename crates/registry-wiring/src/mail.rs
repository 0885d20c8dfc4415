//! The mailer: a mail server, or a folder of files.

use std::sync::Arc;

use anyhow::{Context as _, bail};
use registry_core::clock::Clock as _;
use registry_core::entropy;
use registry_core::id::MailId;
use registry_core::mail::{Mailer, OutgoingMail};
use registry_core::text::EmailAddress;
use registry_mail_smtp::{
    Brand, BrandSettings, FolderMailer, MailKind, Rendered, Renderer, Sender, SmtpMailer,
    SmtpSettings, SmtpTls, sample,
};

use crate::config::{Config, Smtp, TlsMode};
use crate::data::{DataFolder, configured_secret, ensure_folder, read_public};
use crate::os::{OsClock, OsEntropy};

/// Returns the renderer of the configured mails.
fn renderer(config: &Config, public_url: &str) -> anyhow::Result<Renderer> {
    let sender = Sender { address: config.mail.from.clone(), brand: brand(config, public_url)? };
    let templates = config.mail.templates.as_deref();
    Renderer::new(sender, templates).context("`mail.from` or `mail.templates` cannot be used")
}

/// Returns the configured branding for the templates.
pub fn brand(config: &Config, public_url: &str) -> anyhow::Result<Brand> {
    let branding = &config.branding;
    Ok(Brand::new(BrandSettings {
        product: branding.product.clone(),
        vendor: branding.vendor.clone(),
        color: branding.color.clone(),
        logo_url: branding.logo_url.clone(),
        support: branding.support.clone(),
        portal_url: config.portal(public_url),
    })?)
}

/// Renders a mail with made-up contents as customers would see it.
pub fn preview(
    config: &Config,
    public_url: &str,
    kind: MailKind,
    company: Option<&str>,
) -> anyhow::Result<Rendered> {
    Ok(renderer(config, public_url)?.preview(kind, company)?)
}

/// Sends the sample of an install-code mail to this address, and reports what the mail server says.
pub async fn send_sample(
    config: &Config,
    public_url: &str,
    to: EmailAddress,
) -> anyhow::Result<()> {
    let Some(smtp) = &config.mail.smtp else { bail!("`mail.smtp` is not set") };
    let mailer = server(smtp, public_url, renderer(config, public_url)?)?;
    let company = format!("Test mail of {public_url}");
    let message = sample(MailKind::InstallCode, Some(&company));
    let queued_at = OsClock.now();
    let id = MailId(entropy::uuid(&OsEntropy, queued_at));
    Ok(mailer.send(&OutgoingMail { id, to, queued_at, message }).await?)
}

/// Opens the mailer that `config` names.
pub(crate) fn mailer(
    config: &Config,
    public_url: &str,
    data: &DataFolder,
) -> anyhow::Result<Arc<dyn Mailer>> {
    let renderer = renderer(config, public_url)?;
    if let Some(smtp) = &config.mail.smtp {
        return Ok(Arc::new(server(smtp, public_url, renderer)?));
    }
    let mailbox = ensure_folder(data.mailbox())?;
    let mailer = FolderMailer::open(&mailbox, renderer);
    Ok(Arc::new(mailer.with_context(|| format!("{} cannot be used", mailbox.display()))?))
}

/// Renders the templates, and checks `mail.smtp.*` and the files that it names.
pub(crate) fn check(config: &Config, public_url: &str) -> anyhow::Result<()> {
    let renderer = renderer(config, public_url)?;
    config.mail.smtp.as_ref().map(|smtp| server(smtp, public_url, renderer)).transpose().map(drop)
}

fn server(smtp: &Smtp, public_url: &str, renderer: Renderer) -> anyhow::Result<SmtpMailer> {
    SmtpMailer::new(settings(smtp, public_url)?, renderer).context("`mail.smtp` cannot be used")
}

fn settings(smtp: &Smtp, public_url: &str) -> anyhow::Result<SmtpSettings> {
    let password = configured_secret(
        "mail.smtp.password",
        smtp.password.as_ref(),
        smtp.password_file.as_deref(),
    )?;
    Ok(SmtpSettings {
        host: smtp.host.clone(),
        port: smtp.port,
        tls: match smtp.tls {
            TlsMode::StartTls => SmtpTls::StartTls,
            TlsMode::Implicit => SmtpTls::Implicit,
            TlsMode::None => SmtpTls::None,
        },
        credentials: smtp.username.clone().zip(password),
        token: smtp.username.clone().zip(smtp.token_file.clone()),
        ca_pem: smtp
            .ca_file
            .as_deref()
            .map(|path| read_public("mail.smtp.ca_file", path))
            .transpose()?,
        hello_name: smtp.hello_name.clone().or_else(|| domain(public_url)),
        connections: smtp.connections,
        timeout: smtp.timeout.to_std(),
    })
}

/// Returns the host of a URL if it is a domain with a dot. Many mail servers refuse any other name
/// in EHLO.
fn domain(url: &str) -> Option<String> {
    let authority = url.split_once("://")?.1.split(['/', '?', '#']).next()?;
    let host = authority.rsplit('@').next()?.split(':').next()?;
    let is_address = host.parse::<std::net::Ipv4Addr>().is_ok() || host.starts_with('[');
    (host.contains('.') && !is_address).then(|| host.to_owned())
}

#[cfg(test)]
mod tests {
    use super::domain;

    #[test]
    fn name_in_hello_is_that_of_the_public_url() {
        for (url, expected) in [
            ("https://registry.vendor.example/", Some("registry.vendor.example")),
            ("https://registry.vendor.example:8443", Some("registry.vendor.example")),
            ("http://127.0.0.1:8080", None),
            ("http://[::1]:8080", None),
            ("http://localhost:8080", None),
        ] {
            assert_eq!(domain(url).as_deref(), expected, "{url}");
        }
    }
}
