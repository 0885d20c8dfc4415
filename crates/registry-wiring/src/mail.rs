//! Which mailer: a mail server, or a folder of files.

use std::sync::Arc;

use anyhow::Context as _;
use registry_core::mail::Mailer;
use registry_mail_smtp::{
    Brand, BrandSettings, FolderMailer, MailKind, Rendered, Renderer, Sender, SmtpMailer,
    SmtpSettings, SmtpTls,
};

use crate::config::{Config, Smtp, TlsMode};
use crate::data::{DataFolder, made, read_public, secret};

/// What renders the mails of this configuration.
fn renderer(config: &Config, public_url: &str) -> anyhow::Result<Renderer> {
    let sender = Sender { address: config.mail.from.clone(), brand: brand(config, public_url)? };
    let templates = config.mail.templates.as_deref();
    Renderer::new(sender, templates).context("`mail.from` or `mail.templates` cannot be used")
}

/// The branding, as templates see it.
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

/// A mail with made-up contents, as customers of this configuration would see it.
pub fn preview(
    config: &Config,
    public_url: &str,
    kind: MailKind,
    company: Option<&str>,
) -> anyhow::Result<Rendered> {
    Ok(renderer(config, public_url)?.preview(kind, company)?)
}

pub(crate) fn mailer(
    config: &Config,
    public_url: &str,
    data: &DataFolder,
) -> anyhow::Result<Arc<dyn Mailer>> {
    let renderer = renderer(config, public_url)?;
    if let Some(smtp) = &config.mail.smtp {
        let mailer =
            SmtpMailer::new(settings(smtp)?, renderer).context("`mail.smtp` cannot be used")?;
        return Ok(Arc::new(mailer));
    }
    let mailbox = made(data.mailbox())?;
    let mailer = FolderMailer::open(&mailbox, renderer);
    Ok(Arc::new(mailer.with_context(|| format!("{} cannot be used", mailbox.display()))?))
}

fn settings(smtp: &Smtp) -> anyhow::Result<SmtpSettings> {
    let password =
        secret("mail.smtp.password", smtp.password.as_ref(), smtp.password_file.as_deref())?;
    Ok(SmtpSettings {
        host: smtp.host.clone(),
        port: smtp.port,
        tls: match smtp.tls {
            TlsMode::StartTls => SmtpTls::StartTls,
            TlsMode::Implicit => SmtpTls::Implicit,
            TlsMode::None => SmtpTls::None,
        },
        credentials: smtp.username.clone().zip(password),
        ca_pem: smtp
            .ca_file
            .as_deref()
            .map(|path| read_public("mail.smtp.ca_file", path))
            .transpose()?,
        hello_name: smtp.hello_name.clone(),
        connections: smtp.connections,
        timeout: smtp.timeout.to_std(),
    })
}
