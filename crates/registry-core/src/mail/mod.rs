//! Mail: messages as values, the outbox, and the port that sends mail.

mod retry;
mod settlement;

use async_trait::async_trait;
use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use crate::Refusal;
use crate::clock::Timestamp;
use crate::edition::EditionName;
use crate::id::{CodeId, MailId, TenantId};
use crate::install_code::PlainCode;
use crate::pagination::Cursor;
use crate::release::Release;
use crate::secret::{DownloadLink, Sealed, SignInLink};
use crate::string_enum::string_enum;
use crate::text::{CompanyName, EmailAddress, PersonName};

pub use retry::{LONGEST_DELAY, MAX_ATTEMPTS, retry_delay, settle_failure};

/// A mail in the outbox. Its secret is sealed separately. The message is rendered when it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuedMail {
    /// Id of the mail.
    pub id: MailId,
    /// The tenant that the mail is about.
    pub tenant_id: TenantId,
    /// The recipient.
    pub to: EmailAddress,
    /// The message, without its secret.
    pub message: QueuedMessage,
    /// The sealed secret of the message, until the mail is sent.
    pub sealed: Option<Sealed>,
    /// State of the delivery.
    pub state: MailState,
    /// Number of delivery attempts; deferred ones do not count.
    pub attempts: u32,
    /// Time at which the mail was queued.
    pub queued_at: Timestamp,
    /// Time of the next attempt. While the mail is leased, the end of the lease.
    pub due_at: Timestamp,
    /// Time at which the mail was sent, given up or discarded.
    pub settled_at: Option<Timestamp>,
    /// Error of the last attempt; `None` once the mail is sent.
    pub last_error: Option<String>,
    /// True if a stranger caused the mail. It goes after those of customers.
    pub is_for_stranger: bool,
}

/// The content of a queued mail, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum QueuedMessage {
    /// Contains an install code.
    InstallCode {
        /// Id of the code.
        code_id: CodeId,
        /// Name of the company.
        company_name: CompanyName,
        /// Name of the contact.
        contact_name: Option<PersonName>,
        /// The edition that the code granted when it was issued.
        edition: EditionName,
        /// Expiry of the code.
        code_expires_at: Timestamp,
        /// True if the code replaces an earlier one.
        reissued: bool,
    },
    /// Contains a sign-in link for the portal.
    PortalLink {
        /// Expiry of the link.
        expires_at: Timestamp,
    },
}

impl QueuedMail {
    /// A mail that is queued at `now`, and due at once.
    #[must_use]
    pub fn new(
        id: MailId,
        tenant_id: TenantId,
        to: EmailAddress,
        message: QueuedMessage,
        sealed: Sealed,
        now: Timestamp,
    ) -> Self {
        Self {
            id,
            tenant_id,
            to,
            message,
            sealed: Some(sealed),
            state: MailState::Queued,
            attempts: 0,
            queued_at: now,
            due_at: now,
            settled_at: None,
            last_error: None,
            is_for_stranger: false,
        }
    }

    /// Marks the mail as one that a stranger caused, or not.
    #[must_use]
    pub fn for_stranger(self, is_for_stranger: bool) -> Self {
        Self { is_for_stranger, ..self }
    }

    /// True if the code or link in the mail is still valid at `now`.
    #[must_use]
    pub fn is_content_valid_at(&self, now: Timestamp) -> bool {
        self.message.ends_at() > now
    }

    /// Refuses a mail that was already sent or discarded.
    pub fn check_unsettled(&self) -> Result<(), Refusal> {
        match self.state {
            MailState::Queued | MailState::Dead => Ok(()),
            MailState::Sent | MailState::Discarded => {
                Err(Refusal::MailSettled { state: self.state })
            }
        }
    }

    /// Refuses to send the mail again at `now` if it is settled, or if its code or link has
    /// expired.
    pub fn check_retry(&self, now: Timestamp) -> Result<(), Refusal> {
        self.check_unsettled()?;
        if self.is_content_valid_at(now) {
            Ok(())
        } else {
            Err(Refusal::MailOutdated { since: self.message.ends_at() })
        }
    }
}

impl QueuedMessage {
    /// Expiry of the code or link in the message.
    #[must_use]
    pub fn ends_at(&self) -> Timestamp {
        match self {
            Self::InstallCode { code_expires_at, .. } => *code_expires_at,
            Self::PortalLink { expires_at } => *expires_at,
        }
    }

    /// The kind of message, as a stable name.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::InstallCode { reissued: false, .. } => "install_code",
            Self::InstallCode { reissued: true, .. } => "install_code_reissued",
            Self::PortalLink { .. } => "portal_link",
        }
    }
}

/// State of a mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MailState {
    /// The mail waits for delivery.
    Queued,
    /// The mail was sent, and its secret was blanked.
    Sent,
    /// The mail was given up. An operator can send it again.
    Dead,
    /// The mail is not sent: its code was replaced first, or an operator discarded it.
    Discarded,
}

string_enum!(MailState {
    Queued = "queued",
    Sent = "sent",
    Dead = "dead",
    Discarded = "discarded",
});

impl MailState {
    /// Reads a filter by state. Empty text is no filter.
    pub fn parse_filter(text: &str) -> Result<Option<Self>, Refusal> {
        let unknown = || Refusal::Invalid { field: "state", problem: "is not known".to_owned() };
        let parse = |text: &str| Self::from_name(text).ok_or_else(unknown);
        Some(text).filter(|text| !text.is_empty()).map(parse).transpose()
    }
}

/// The outcome of a delivery attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeliveryOutcome {
    /// The next hop accepted the mail.
    Sent,
    /// The attempt failed. The next one is due later.
    Retry {
        /// Time of the next attempt.
        due_at: Timestamp,
        /// The error of this attempt.
        error: String,
    },
    /// The mail is given up.
    Dead {
        /// The error of the last attempt.
        error: String,
    },
    /// No mail can be sent now. The mail stays due, and no attempt is counted.
    Deferred {
        /// The reason why no mail can be sent.
        error: String,
    },
}

/// Numbers of mails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MailCounts {
    /// Mails that wait to be sent.
    pub queued: u64,
    /// Those of them that have waited for long.
    pub delayed: u64,
    /// Mails that were given up.
    pub dead: u64,
}

/// Filter and page of a list of mails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MailQuery {
    /// Only the mail with this id.
    pub id: Option<MailId>,
    /// Only mails about this tenant.
    pub tenant: Option<TenantId>,
    /// Only mails in this state.
    pub state: Option<MailState>,
    /// Maximum number of mails.
    pub limit: u32,
    /// Only mails after this position.
    pub after: Option<Cursor<MailId>>,
}

/// A mail ready to be rendered and sent.
#[derive(Debug)]
pub struct OutgoingMail {
    /// Id of the mail. The `Message-ID` MUST be derived from it, so that recipients can recognise a
    /// repeated delivery.
    pub id: MailId,
    /// The recipient.
    pub to: EmailAddress,
    /// Time at which the mail was queued, written as its `Date`.
    pub queued_at: Timestamp,
    /// The message, with its secret.
    pub message: Message,
}

/// The content of a mail, including its secret.
#[derive(Debug)]
pub enum Message {
    /// Contains an install code.
    InstallCode(Box<InstallCodeMessage>),
    /// Contains a sign-in link for the portal.
    PortalLink(PortalLinkMessage),
}

/// Message with a sign-in link for the portal.
#[derive(Debug)]
pub struct PortalLinkMessage {
    /// The link.
    pub link: SignInLink,
    /// Expiry of the link.
    pub expires_at: Timestamp,
}

/// Message with an install code.
#[derive(Debug)]
pub struct InstallCodeMessage {
    /// Id of the tenant.
    pub tenant_id: TenantId,
    /// Name of the company.
    pub company_name: CompanyName,
    /// Name of the contact.
    pub contact_name: Option<PersonName>,
    /// Label of the edition.
    pub edition: String,
    /// The code.
    pub code: PlainCode,
    /// Expiry of the code.
    pub code_expires_at: Timestamp,
    /// The image to install, if one is published.
    pub download: Option<Download>,
    /// True if the code replaces an earlier one.
    pub reissued: bool,
}

/// The download that a mail offers.
#[derive(Debug)]
pub struct Download {
    /// The link.
    pub link: DownloadLink,
    /// Expiry of the link, if the code is not redeemed earlier.
    pub expires_at: Timestamp,
    /// Period for which the link works after the code was redeemed.
    pub after_redemption: TimeDelta,
    /// The release behind the link.
    pub release: Release,
}

/// Errors of a delivery attempt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MailError {
    /// The mail was not accepted; a later attempt may succeed.
    #[error("{0}")]
    Transient(String),
    /// The mail was not accepted; another attempt would fail, too.
    #[error("{0}")]
    Permanent(String),
    /// No mail can be sent now: the server reports that, or rejects the login.
    #[error("{0}")]
    Unavailable(String),
    /// The connection failed or broke off, or no response arrived. The cause may be this mail or
    /// the server.
    #[error("{0}")]
    Unclear(String),
    /// The response cannot be parsed. The server may have accepted the mail.
    #[error("{0}")]
    Unreadable(String),
}

impl MailError {
    /// Returns the same kind of error with a different text.
    pub(crate) fn map(self, change: impl FnOnce(String) -> String) -> Self {
        match self {
            Self::Transient(text) => Self::Transient(change(text)),
            Self::Permanent(text) => Self::Permanent(change(text)),
            Self::Unavailable(text) => Self::Unavailable(change(text)),
            Self::Unclear(text) => Self::Unclear(change(text)),
            Self::Unreadable(text) => Self::Unreadable(change(text)),
        }
    }

    /// Decides between this mail and the server as the cause of an error that may be due to either.
    /// `server_responds` is true if the server responds to a probe, which sends no mail. If it does
    /// not, the server is the cause, and the error becomes [`Unavailable`](Self::Unavailable).
    /// Otherwise this mail is the cause: an unclear error becomes transient, and an unreadable
    /// response permanent, because each further attempt could deliver another copy. A transient
    /// error stays as it is.
    pub(crate) fn with_probe_result(self, server_responds: bool) -> Self {
        match self {
            Self::Permanent(text) | Self::Unclear(text) | Self::Unreadable(text)
                if !server_responds =>
            {
                Self::Unavailable(text)
            }
            Self::Unclear(text) => Self::Transient(text),
            Self::Unreadable(text) => Self::Permanent(format!("it may have arrived: {text}")),
            error => error,
        }
    }
}

/// The port that sends mail.
#[async_trait]
pub trait Mailer: Send + Sync {
    /// Sends a mail. MUST NOT return `Ok` before the next hop has taken responsibility for the mail
    /// (a server's `250`, a durable file). Sending the same mail again MUST use the same
    /// `Message-ID`. MUST return within [`send_timeout`](Self::send_timeout), whether it succeeds
    /// or fails.
    async fn send(&self, mail: &OutgoingMail) -> Result<(), MailError>;

    /// Checks that mail can be sent now. MUST return within [`send_timeout`](Self::send_timeout).
    async fn probe(&self) -> Result<(), MailError>;

    /// Deletes what was delivered into a place of ours before this time, and returns the number.
    async fn delete_delivered(&self, _before: Timestamp) -> Result<u64, MailError> {
        Ok(0)
    }

    /// Maximum duration of one call of [`send`](Self::send) or [`probe`](Self::probe). Lease times
    /// are derived from it.
    fn send_timeout(&self) -> TimeDelta;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probe_decides_who_caused_the_error() {
        use MailError::{Permanent, Transient, Unavailable, Unclear, Unreadable};
        let text = || "x".to_owned();
        for (error, server_responds, expected) in [
            (Permanent(text()), true, Permanent(text())),
            (Permanent(text()), false, Unavailable(text())),
            (Unclear(text()), true, Transient(text())),
            (Unclear(text()), false, Unavailable(text())),
            (Unreadable(text()), true, Permanent("it may have arrived: x".into())),
            (Unreadable(text()), false, Unavailable(text())),
            (Transient(text()), false, Transient(text())),
        ] {
            assert_eq!(error.with_probe_result(server_responds), expected);
        }
    }
}
