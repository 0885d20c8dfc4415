//! Delivering the outbox: lease, send outside any transaction, settle.

use chrono::TimeDelta;

use crate::clock::Timestamp;
use crate::entropy;
use crate::id::{CodeId, MailId};
use crate::install_code::{CodeState, PlainCode};
use crate::mail::{
    DeliveryOutcome, Download, InstallCodeMessage, MailError, Message, OutgoingMail,
    PortalLinkMessage, QueuedMail, QueuedMessage, settle_failure,
};
use crate::registry::smtp_redaction::redact;
use crate::registry::{Error, Registry};
use crate::secret::{DownloadLink, SignInLink};
use crate::vault::OpenError;

/// How much longer a mail is leased than sending it and asking whether the server answers at all
/// may take: for composing it before, settling it after, and clocks of other machines that are
/// ahead.
const MARGIN: TimeDelta = TimeDelta::seconds(30);

/// A mail that was tried.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The mail.
    pub id: MailId,
    /// How it is settled.
    pub settlement: DeliveryOutcome,
    /// Until when it was leased.
    pub leased_until: Timestamp,
}

impl Registry {
    /// How long a mail is leased: as long as anybody might be sending it.
    pub(crate) fn lease(&self) -> TimeDelta {
        self.ports.mailer.patience() * 2 + MARGIN
    }

    /// Sends the oldest mail that is due, and settles it; `None` where none is. One at a time, so
    /// that whoever stops has one in flight at most, and mails go out in the order of their age.
    pub async fn mail_deliver(&self) -> Result<Option<Delivery>, Error> {
        let Some(delivery) = self.mail_try().await? else { return Ok(None) };
        self.mail_settle(&delivery).await?;
        Ok(Some(delivery))
    }

    /// Sends the oldest mail that is due. It has to be settled then.
    pub async fn mail_try(&self) -> Result<Option<Delivery>, Error> {
        let now = self.now();
        let leased_until = now + self.lease();
        let Some(mail) = self.ports.store.mail_lease(now, leased_until).await? else {
            return Ok(None);
        };
        let (id, attempts) = (mail.id, mail.attempts);
        let sent = match self.compose(mail).await {
            // Whoever composed for so long could still be sending when the next one begins.
            Ok(_) if self.now() + self.ports.mailer.patience() * 2 > leased_until => {
                Err(MailError::Unavailable("it took too long to make it".to_owned()))
            }
            Ok(outgoing) => self.send(&outgoing).await,
            Err(error) => Err(error),
        };
        let [jitter] = entropy::bytes(&*self.ports.entropy);
        let settlement = match sent {
            Ok(()) => DeliveryOutcome::Sent,
            Err(error) => settle_failure(error, attempts, self.now(), jitter),
        };
        Ok(Some(Delivery { id, settlement, leased_until }))
    }

    /// Records how a try ended. May be repeated until the lease ends.
    pub async fn mail_settle(&self, delivery: &Delivery) -> Result<(), Error> {
        let Delivery { id, settlement, leased_until } = delivery;
        Ok(self.ports.store.mail_settle(*id, *leased_until, settlement.clone(), self.now()).await?)
    }

    /// Sends a mail. Where what went wrong may be the server's fault or this mail's, the server is
    /// asked without it: else a single mail that breaks connections would hold up all others, and a
    /// server that is closed would give up all mails.
    async fn send(&self, mail: &OutgoingMail) -> Result<(), MailError> {
        let Err(error) = self.ports.mailer.send(mail).await else { return Ok(()) };
        let error = redact(error, mail);
        if matches!(error, MailError::Transient(_) | MailError::Unavailable(_)) {
            return Err(error);
        }
        let answers = self.ports.mailer.probe().await.is_ok();
        Err(error.judged(answers))
    }

    /// Why a code is not worth mailing any more.
    async fn outdated(&self, code: CodeId) -> Result<Option<&'static str>, MailError> {
        let found = self.ports.store.code_show(code).await;
        let found = found.map_err(|error| {
            MailError::Transient(format!("its code cannot be looked at: {error}"))
        })?;
        let Some((code, tenant)) = found else { return Ok(Some("its code is not there any more")) };
        Ok(match code.state(self.now()) {
            _ if tenant.status.is_closed() => Some("its tenant was suspended or cancelled"),
            // Whoever used it had it from a service: the mail is still what the customer was
            // promised, and its link works.
            CodeState::Live | CodeState::Consumed(_) => None,
            CodeState::Superseded(_) => Some("its code was replaced before it could be sent"),
            CodeState::Expired(_) => Some("its code ended before it could be sent"),
        })
    }

    /// Opens the mail's secret, and finds what there is to download.
    async fn compose(&self, mail: QueuedMail) -> Result<OutgoingMail, MailError> {
        let sealed =
            mail.sealed.ok_or_else(|| MailError::Permanent("its secret is gone".to_owned()))?;
        let mut opened =
            self.ports.vault.open(&mail.id.to_string(), &sealed).map_err(|error| match error {
                // The operator can put the key back.
                OpenError::UnknownKey(_) => MailError::Transient(error.to_string()),
                OpenError::Tampered => MailError::Permanent(error.to_string()),
            })?;
        let secret = std::mem::take(&mut *opened);
        let message = match mail.message {
            QueuedMessage::PortalLink { expires_at } => {
                if expires_at <= self.now() {
                    return Err(MailError::Permanent(
                        "its link ended before it could be sent".to_owned(),
                    ));
                }
                let link = SignInLink::new(format!("{}/{secret}", self.settings.sign_in_url));
                Message::PortalLink(PortalLinkMessage { link, expires_at })
            }
            QueuedMessage::InstallCode {
                code_id,
                company_name,
                contact_name,
                edition,
                reissued,
                code_expires_at,
                link_expires_at: _,
            } => {
                if let Some(why) = self.outdated(code_id).await? {
                    return Err(MailError::Permanent(why.to_owned()));
                }
                let download = self.download(code_id, code_expires_at).await?;
                let tenant_id = mail.tenant_id;
                Message::InstallCode(Box::new(InstallCodeMessage {
                    tenant_id,
                    company_name,
                    contact_name,
                    edition,
                    code: PlainCode::new(secret),
                    code_expires_at,
                    download,
                    reissued,
                }))
            }
        };
        Ok(OutgoingMail { id: mail.id, to: mail.to, queued_at: mail.queued_at, message })
    }

    /// What a mail offers for download: a link to us, which is good for whatever is current when it
    /// is followed.
    async fn download(
        &self,
        code: CodeId,
        expires_at: Timestamp,
    ) -> Result<Option<Download>, MailError> {
        let current = self.ports.store.release_current(self.settings.channel.clone()).await;
        let current =
            current.map_err(|error| MailError::Transient(format!("no download link: {error}")))?;
        let Some(release) = current else { return Ok(None) };
        if !self.seems_whole(&release, self.now()).await {
            return Ok(None);
        }
        let token = self.ports.vault.download_token(code);
        let link = DownloadLink::new(format!("{}/{}", self.settings.download_url, token.expose()));
        Ok(Some(Download { link, expires_at, after_redemption: self.settings.link_grace, release }))
    }
}
