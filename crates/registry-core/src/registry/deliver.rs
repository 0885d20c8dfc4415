//! Delivering the outbox: lease, send outside any transaction, settle.

use chrono::TimeDelta;

use crate::clock::Timestamp;
use crate::entropy;
use crate::id::{CodeId, MailId};
use crate::install_code::PlainCode;
use crate::mail::{
    Download, InstallCodeMessage, MailError, Message, OutgoingMail, QueuedMail, QueuedMessage, Settlement,
    settle_failure,
};
use crate::registry::{Error, Registry};
use crate::secret::DownloadLink;
use crate::vault::OpenError;

/// How much longer a mail is leased than sending it and asking whether the server answers at all may take: for composing
/// it before, and settling it after.
const MARGIN: TimeDelta = TimeDelta::seconds(10);

/// A mail that was tried.
#[derive(Debug)]
pub struct Delivery {
    /// The mail.
    pub id: MailId,
    /// How it was settled.
    pub settlement: Settlement,
}

impl Registry {
    /// Sends the oldest mail that is due; `None` where none is. One at a time, so that whoever stops has one in flight at
    /// most, and mails go out in the order of their age.
    pub async fn mail_deliver(&self) -> Result<Option<Delivery>, Error> {
        let now = self.now();
        let until = now + self.ports.mailer.patience() * 2 + MARGIN;
        let Some(mail) = self.ports.store.mail_lease(now, until).await? else { return Ok(None) };
        let (id, attempts) = (mail.id, mail.attempts);
        let sent = match self.compose(mail).await {
            Ok(outgoing) => self.send(&outgoing).await.map_err(|error| without_secrets(error, &outgoing)),
            Err(error) => Err(error),
        };
        let now = self.now();
        let [jitter] = entropy::bytes(&*self.ports.entropy);
        let settlement = match sent {
            Ok(()) => Settlement::Sent,
            Err(error) => settle_failure(error, attempts, now, jitter),
        };
        self.ports.store.mail_settle(id, until, settlement.clone(), now).await?;
        Ok(Some(Delivery { id, settlement }))
    }

    /// Sends a mail. A failure that looks like the server's is one only if the server fails without this mail too: else a
    /// single mail that breaks connections would hold up all others.
    async fn send(&self, mail: &OutgoingMail) -> Result<(), MailError> {
        match self.ports.mailer.send(mail).await {
            Err(MailError::Unavailable(error)) => match self.ports.mailer.probe().await {
                Ok(()) => Err(MailError::Transient(error)),
                Err(_) => Err(MailError::Unavailable(error)),
            },
            sent => sent,
        }
    }

    /// Opens the mail's secret, and finds what there is to download.
    async fn compose(&self, mail: QueuedMail) -> Result<OutgoingMail, MailError> {
        let sealed = mail.sealed.ok_or_else(|| MailError::Permanent("its secret is gone".to_owned()))?;
        let mut opened = self.ports.vault.open(&mail.id.to_string(), &sealed).map_err(|error| match error {
            // The operator can put the key back.
            OpenError::UnknownKey(_) => MailError::Transient(error.to_string()),
            OpenError::Tampered => MailError::Permanent(error.to_string()),
        })?;
        let code = PlainCode::new(std::mem::take(&mut *opened));
        let message = match mail.message {
            QueuedMessage::InstallCode {
                code_id,
                company_name,
                contact_name,
                edition,
                reissued,
                code_expires_at,
                link_expires_at: _,
            } => {
                if code_expires_at <= self.now() {
                    return Err(MailError::Permanent("its code ended before it could be sent".to_owned()));
                }
                let download = self.download(code_id, code_expires_at).await?;
                let tenant_id = mail.tenant_id;
                Message::InstallCode(Box::new(InstallCodeMessage {
                    tenant_id,
                    company_name,
                    contact_name,
                    edition,
                    code,
                    code_expires_at,
                    download,
                    reissued,
                }))
            }
        };
        Ok(OutgoingMail { id: mail.id, to: mail.to, queued_at: mail.queued_at, message })
    }

    /// What a mail offers for download: a link to us, which is good for whatever is current when it is followed.
    async fn download(&self, code: CodeId, expires_at: Timestamp) -> Result<Option<Download>, MailError> {
        let current = self.ports.store.release_current(self.settings.channel.clone()).await;
        let current = current.map_err(|error| MailError::Transient(format!("no download link: {error}")))?;
        let Some(release) = current else { return Ok(None) };
        if !self.seems_whole(&release, self.now()).await {
            return Ok(None);
        }
        let token = self.ports.vault.download_token(code);
        let link = DownloadLink::new(format!("{}/{}", self.settings.download_url, token.expose()));
        Ok(Some(Download { link, expires_at, after_redemption: self.settings.link_grace, release }))
    }
}

/// What went wrong, without what only the recipient may read: a server is free to quote the mail it refuses.
fn without_secrets(error: MailError, mail: &OutgoingMail) -> MailError {
    let hide = |text: String| match &mail.message {
        Message::InstallCode(message) => {
            let link = message.download.iter().map(|download| download.link.expose().to_owned());
            let secrets =
                [message.code.grouped().to_string(), message.code.expose().to_owned()].into_iter().chain(link);
            secrets.fold(text, |text, secret| text.replace(&secret, "[…]"))
        }
        Message::RegistrationLink(message) => text.replace(message.link.expose(), "[…]"),
        Message::PortalLink(message) => text.replace(message.link.expose(), "[…]"),
    };
    match error {
        MailError::Transient(text) => MailError::Transient(hide(text)),
        MailError::Permanent(text) => MailError::Permanent(hide(text)),
        MailError::Unavailable(text) => MailError::Unavailable(hide(text)),
    }
}
