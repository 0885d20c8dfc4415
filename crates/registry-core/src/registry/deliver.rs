//! Delivering the outbox: lease, send outside any transaction, settle.

use chrono::TimeDelta;

use crate::id::MailId;
use crate::install_code::PlainCode;
use crate::mail::{
    Download, InstallCodeMessage, MailError, Message, OutgoingMail, QueuedMail, QueuedMessage, Settlement,
    settle_failure,
};
use crate::registry::{Error, Registry};
use crate::vault::OpenError;

/// How long a worker has for the mails it leased.
const LEASE: TimeDelta = TimeDelta::minutes(5);

/// How many mails a worker leases at once: few enough to be sent one after another within the lease.
const BATCH: u32 = 4;

/// A mail that was tried.
#[derive(Debug)]
pub struct Delivery {
    /// The mail.
    pub id: MailId,
    /// How it was settled.
    pub settlement: Settlement,
}

impl Registry {
    /// Sends what is due, up to a batch; fewer than were due where the store fails in between.
    pub async fn mail_deliver(&self) -> Result<Vec<Delivery>, Error> {
        let now = self.now();
        let mut deliveries = Vec::new();
        for mail in self.ports.store.mail_lease(now, now + LEASE, BATCH).await? {
            let (id, attempts) = (mail.id, mail.attempts);
            let sent = match self.compose(mail).await {
                Ok(outgoing) => self.ports.mailer.send(&outgoing).await,
                Err(error) => Err(error),
            };
            let now = self.now();
            let settlement = match sent {
                Ok(()) => Settlement::Sent,
                Err(error) => settle_failure(error, attempts, now),
            };
            self.ports.store.mail_settle(id, settlement.clone(), now).await?;
            deliveries.push(Delivery { id, settlement });
        }
        Ok(deliveries)
    }

    /// Opens the mail's secret and makes its link: the current image, until the queued date.
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
                company_name,
                contact_name,
                edition,
                reissued,
                code_expires_at,
                link_expires_at,
                ..
            } => {
                if code_expires_at <= self.now() {
                    return Err(MailError::Permanent("its code ended before it could be sent".to_owned()));
                }
                let download = self.download(link_expires_at).await?;
                let tenant_id = mail.tenant_id;
                Message::InstallCode(InstallCodeMessage {
                    tenant_id,
                    company_name,
                    contact_name,
                    edition,
                    code,
                    code_expires_at,
                    download,
                    reissued,
                })
            }
        };
        Ok(OutgoingMail { id: mail.id, to: mail.to, queued_at: mail.queued_at, message })
    }

    async fn download(&self, expires_at: crate::clock::Timestamp) -> Result<Option<Download>, MailError> {
        let transient = |error: &dyn std::fmt::Display| MailError::Transient(format!("no download link: {error}"));
        let current = self.ports.store.release_current(self.settings.channel.clone()).await;
        let Some(release) = current.map_err(|error| transient(&error))? else { return Ok(None) };
        let link = self.download_link(&release, self.now(), expires_at).await.map_err(|error| transient(&error))?;
        Ok(link.map(|link| Download { link, expires_at, release }))
    }
}
