//! Delivery of the outbox: lease a mail, send it outside any transaction, settle it.

use std::sync::Arc;

use chrono::TimeDelta;

use crate::clock::Timestamp;
use crate::entropy;
use crate::id::{CodeId, MailId};
use crate::install_code::{CodeState, PlainCode};
use crate::mail::{
    DeliveryOutcome, Download, InstallCodeMessage, MailError, Message, OutgoingMail,
    PortalLinkMessage, QueuedMail, QueuedMessage, settle_failure,
};
use crate::refusal::Refusal;
use crate::registry::smtp_redaction::redact;
use crate::registry::{Error, Registry, refuse};
use crate::secret::{DownloadLink, SignInLink};
use crate::store::{Decision, Outcome, Write};
use crate::vault::OpenError;

/// Part of a lease beyond the time that sending the mail and probing the mail server may take. The
/// margin covers composing the mail, settling it, and other machines whose clocks are ahead.
const MARGIN: TimeDelta = TimeDelta::seconds(30);

/// An attempt to deliver a mail.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The mail.
    pub id: MailId,
    /// Outcome of the attempt, with which the mail is settled.
    pub outcome: DeliveryOutcome,
    /// End of the lease.
    pub leased_until: Timestamp,
}

impl Registry {
    /// Returns the duration of a mail's lease: the longest time that a process may be sending it.
    pub(crate) fn lease(&self) -> TimeDelta {
        self.ports.mailer.send_timeout() * 2 + MARGIN
    }

    /// Sends the mail that has been due for longest, and settles it. Returns `None` if no mail is due.
    /// A caller that delivers one mail after the other has at most one
    /// in flight when it stops.
    pub async fn mail_deliver(&self) -> Result<Option<Delivery>, Error> {
        let Some(delivery) = self.mail_attempt().await? else { return Ok(None) };
        self.mail_settle(&delivery).await?;
        Ok(Some(delivery))
    }

    /// Sends the mail that has been due for longest. The caller must then settle it with
    /// [`mail_settle`](Self::mail_settle).
    pub async fn mail_attempt(&self) -> Result<Option<Delivery>, Error> {
        let now = self.now();
        let leased_until = now + self.lease();
        let Some(mail) = self.ports.store.mail_lease(now, leased_until).await? else {
            return Ok(None);
        };
        let (id, attempts) = (mail.id, mail.attempts);
        let sent = match self.compose(mail).await {
            // With so little of the lease left, another process could lease the mail while this one
            // is still sending it.
            Ok(_) if self.now() + self.ports.mailer.send_timeout() * 2 > leased_until => {
                Err(MailError::Unavailable("composing the mail took too long".to_owned()))
            }
            Ok(outgoing) => self.send(&outgoing).await,
            Err(error) => Err(error),
        };
        let [jitter] = entropy::bytes(&*self.ports.entropy);
        let outcome = match sent {
            Ok(()) => DeliveryOutcome::Sent,
            Err(error) => settle_failure(error, attempts, self.now(), jitter),
        };
        Ok(Some(Delivery { id, outcome, leased_until }))
    }

    /// Records the outcome of an attempt. May be repeated until the lease ends.
    pub async fn mail_settle(&self, delivery: &Delivery) -> Result<(), Error> {
        let Delivery { id, outcome, leased_until } = delivery;
        let (outcome, leased_until, now) = (outcome.clone(), *leased_until, self.now());
        let decide = Arc::new(move |mail: &Option<QueuedMail>| {
            let Some(mail) = mail else { return refuse(Refusal::MailNotFound, None) };
            let settled = mail.settled(outcome.clone(), leased_until, now);
            let writes = settled.clone().map(|mail| Write::UpdateMail(Box::new(mail)));
            let outcome = Ok(settled.unwrap_or_else(|| mail.clone()));
            Decision::commit(writes.into_iter().collect(), outcome)
        });
        match self.ports.store.mail_change(*id, decide).await? {
            Outcome::Aborted(error) => Err(error.into()),
            // A mail that was deleted in the meantime needs no outcome.
            Outcome::Done(_) | Outcome::Replayed(_) | Outcome::Refused(_) => Ok(()),
        }
    }

    /// Sends a mail. If the error may be due either to the mail server or to this mail, the server
    /// is probed without the mail. Otherwise one mail that breaks connections would block all
    /// others, and a server that is down would turn every mail into a dead letter.
    async fn send(&self, mail: &OutgoingMail) -> Result<(), MailError> {
        let Err(error) = self.ports.mailer.send(mail).await else { return Ok(()) };
        let error = redact(error, mail);
        if matches!(error, MailError::Transient(_) | MailError::Unavailable(_)) {
            return Err(error);
        }
        let server_responds = self.ports.mailer.probe().await.is_ok();
        Err(error.with_probe_result(server_responds))
    }

    /// Returns why a code is not worth mailing, if that is so.
    async fn reason_not_to_mail(&self, code: CodeId) -> Result<Option<&'static str>, MailError> {
        let found = self.ports.store.code_show(code).await;
        let found = found.map_err(|error| {
            MailError::Transient(format!("the install code cannot be read: {error}"))
        })?;
        let Some((code, tenant)) = found else {
            return Ok(Some("the install code no longer exists"));
        };
        Ok(match code.state(self.now()) {
            _ if tenant.status.is_closed() => Some("the tenant is suspended or cancelled"),
            // A used code was taken from a service's response. The customer was still promised this
            // mail, and its download link works.
            CodeState::Live | CodeState::Consumed(_) => None,
            CodeState::Superseded(_) => {
                Some("the install code was replaced before the mail was sent")
            }
            CodeState::Expired(_) => Some("the install code expired before the mail was sent"),
        })
    }

    /// Opens the mail's secret and adds the download, if there is one.
    async fn compose(&self, mail: QueuedMail) -> Result<OutgoingMail, MailError> {
        let sealed = mail.sealed.ok_or_else(|| {
            MailError::Permanent("the mail's code or link is no longer stored".to_owned())
        })?;
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
                        "the sign-in link expired before the mail was sent".to_owned(),
                    ));
                }
                let link = SignInLink::new(format!("{}/{secret}", self.settings.sign_in.url));
                Message::PortalLink(PortalLinkMessage { link, expires_at })
            }
            QueuedMessage::InstallCode {
                code_id,
                company_name,
                contact_name,
                edition,
                reissued,
                code_expires_at,
            } => {
                if let Some(reason) = self.reason_not_to_mail(code_id).await? {
                    return Err(MailError::Permanent(reason.to_owned()));
                }
                let download = self.download(code_id, code_expires_at).await?;
                let tenant_id = mail.tenant_id;
                Message::InstallCode(Box::new(InstallCodeMessage {
                    tenant_id,
                    company_name,
                    contact_name,
                    edition: self.settings.editions.label(&edition).to_owned(),
                    code: PlainCode::new(secret),
                    code_expires_at,
                    download,
                    reissued,
                }))
            }
        };
        Ok(OutgoingMail { id: mail.id, to: mail.to, queued_at: mail.queued_at, message })
    }

    /// Returns the download that a mail offers: a link to the registry, which leads to the release
    /// that is current when the link is followed.
    async fn download(
        &self,
        code: CodeId,
        expires_at: Timestamp,
    ) -> Result<Option<Download>, MailError> {
        let channel = self.settings.downloads.channel.clone();
        let current = self.ports.store.release_current(channel).await;
        let current =
            current.map_err(|error| MailError::Transient(format!("no download link: {error}")))?;
        let Some(release) = current else { return Ok(None) };
        if !self.seems_whole(&release, self.now()).await {
            return Ok(None);
        }
        let token = self.ports.vault.download_token(code);
        let link = DownloadLink::new(format!("{}/{}", self.settings.downloads.url, token.expose()));
        let after_redemption = self.settings.downloads.after_redemption;
        Ok(Some(Download { link, expires_at, after_redemption, release }))
    }
}
