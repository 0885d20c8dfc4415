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
/// it before, settling it after, and clocks of other machines that are ahead.
const MARGIN: TimeDelta = TimeDelta::seconds(30);

/// How many characters of what went wrong are kept.
const ERROR_LENGTH: usize = 300;

/// A mail that was tried.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The mail.
    pub id: MailId,
    /// How it is settled.
    pub settlement: Settlement,
    /// Until when it was leased.
    pub leased_until: Timestamp,
}

impl Registry {
    /// How long a mail is leased: as long as anybody might be sending it.
    pub(crate) fn lease(&self) -> TimeDelta {
        self.ports.mailer.patience() * 2 + MARGIN
    }

    /// Sends the oldest mail that is due, and settles it; `None` where none is. One at a time, so that whoever stops has one
    /// in flight at most, and mails go out in the order of their age.
    pub async fn mail_deliver(&self) -> Result<Option<Delivery>, Error> {
        let Some(delivery) = self.mail_try().await? else { return Ok(None) };
        self.mail_settle(&delivery).await?;
        Ok(Some(delivery))
    }

    /// Sends the oldest mail that is due. It has to be settled then.
    pub async fn mail_try(&self) -> Result<Option<Delivery>, Error> {
        let now = self.now();
        let leased_until = now + self.lease();
        let Some(mail) = self.ports.store.mail_lease(now, leased_until).await? else { return Ok(None) };
        let (id, attempts) = (mail.id, mail.attempts);
        let sent = match self.compose(mail).await {
            // Whoever composed for so long could still be sending when the next one begins.
            Ok(_) if self.now() + self.ports.mailer.patience() * 2 > leased_until => {
                Err(MailError::Unavailable("it took too long to make it".to_owned()))
            }
            Ok(outgoing) => self.send(&outgoing).await.map_err(|error| shown(error, &outgoing)),
            Err(error) => Err(error),
        };
        let [jitter] = entropy::bytes(&*self.ports.entropy);
        let settlement = match sent {
            Ok(()) => Settlement::Sent,
            Err(error) => settle_failure(error, attempts, self.now(), jitter),
        };
        Ok(Some(Delivery { id, settlement, leased_until }))
    }

    /// Records how a try ended. May be repeated until the lease ends.
    pub async fn mail_settle(&self, delivery: &Delivery) -> Result<(), Error> {
        let Delivery { id, settlement, leased_until } = delivery;
        Ok(self.ports.store.mail_settle(*id, *leased_until, settlement.clone(), self.now()).await?)
    }

    /// Sends a mail. A failure that nobody explains is the server's only if the server fails without this mail too: else a
    /// single mail that breaks connections would hold up all others.
    async fn send(&self, mail: &OutgoingMail) -> Result<(), MailError> {
        match self.ports.mailer.send(mail).await {
            Err(MailError::Unclear(error)) => match self.ports.mailer.probe().await {
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

/// What went wrong, in short and without what only the recipient may read: a server is free to quote the mail it refuses.
fn shown(error: MailError, mail: &OutgoingMail) -> MailError {
    let secrets: Vec<String> = match &mail.message {
        Message::InstallCode(message) => {
            let link = message.download.iter().map(|download| download.link.expose().to_owned());
            [message.code.grouped().to_string(), message.code.expose().to_owned()].into_iter().chain(link).collect()
        }
        Message::RegistrationLink(message) => vec![message.link.expose().to_owned()],
        Message::PortalLink(message) => vec![message.link.expose().to_owned()],
    };
    // Lines of quoted-printable text are broken anywhere, by `=` (RFC 2045 §6.7).
    let squeezed = |text: &str| text.chars().filter(|c| !c.is_whitespace() && *c != '=').collect::<String>();
    let show = |text: String| {
        let plain = squeezed(&text);
        if secrets.iter().any(|secret| plain.contains(&squeezed(secret))) {
            // `permanent error (550)`
            let kind = text.split(':').next().filter(|kind| kind.len() < 40 && !secrets.contains(&squeezed(kind)));
            return format!("{}: the answer quotes the mail, and is not kept", kind.unwrap_or("refused"));
        }
        text.chars().take(ERROR_LENGTH).collect()
    };
    match error {
        MailError::Transient(text) => MailError::Transient(show(text)),
        MailError::Permanent(text) => MailError::Permanent(show(text)),
        MailError::Unavailable(text) => MailError::Unavailable(show(text)),
        MailError::Unclear(text) => MailError::Unclear(show(text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edition::EditionName;
    use crate::id::TenantId;
    use crate::text::{CompanyName, EmailAddress};

    #[test]
    fn an_answer_that_quotes_the_mail_is_not_kept_however_it_is_broken() {
        let mail = OutgoingMail {
            id: MailId(uuid::Uuid::nil()),
            to: EmailAddress::from_stored("a@example.com".into()),
            queued_at: Timestamp::default(),
            message: Message::InstallCode(Box::new(InstallCodeMessage {
                tenant_id: TenantId(uuid::Uuid::nil()),
                company_name: CompanyName::from_stored("Acme".into()),
                contact_name: None,
                edition: EditionName::new("pro"),
                code: PlainCode::new("K7QPM2RX9TDV".into()),
                code_expires_at: Timestamp::default(),
                download: None,
                reissued: false,
            })),
        };
        let text = |said: &str| shown(MailError::Permanent(said.to_owned()), &mail).to_string();
        assert_eq!(text("550 no such user"), "550 no such user");
        assert_eq!(text(&"x".repeat(1_000)).chars().count(), ERROR_LENGTH);
        let padding = "y".repeat(ERROR_LENGTH - 5);
        for quoted in [
            "spam: K7QP-M2RX-9TDV",
            "spam: K7QPM2RX9TDV",
            "spam: K7QP-M2=\r\nRX-9TDV",
            &format!("{padding}K7QP-M2RX-9TDV"),
        ] {
            let kept = text(quoted);
            assert!(!kept.contains("K7QP") && kept.contains("quotes the mail"), "{kept}");
        }
    }
}
