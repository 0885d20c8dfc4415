//! Mail: messages as values, the outbox they wait in, and the port that sends them.

use async_trait::async_trait;
use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::edition::EditionName;
use crate::id::{CodeId, MailId, TenantId};
use crate::install_code::PlainCode;
use crate::pagination::Cursor;
use crate::release::Release;
use crate::secret::{DownloadLink, Sealed, SignInLink};
use crate::string_enum::string_enum;
use crate::text::{CompanyName, EmailAddress, PersonName};

/// A mail in the outbox: everything but its secret, which is sealed aside. It is rendered when it
/// is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuedMail {
    /// Its id.
    pub id: MailId,
    /// The tenant it is about.
    pub tenant_id: TenantId,
    /// To whom.
    pub to: EmailAddress,
    /// What it says.
    pub message: QueuedMessage,
    /// The secret it brings, until it is sent.
    pub sealed: Option<Sealed>,
    /// Where it is on its way.
    pub state: MailState,
    /// How often it was tried.
    pub attempts: u32,
    /// When it was queued.
    pub queued_at: Timestamp,
    /// When it is to be tried next; while it is being sent, when its lease ends.
    pub due_at: Timestamp,
    /// When it was sent or given up.
    pub settled_at: Option<Timestamp>,
    /// What went wrong at the last try; nothing once it is sent.
    pub last_error: Option<String>,
}

/// What a queued mail says, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum QueuedMessage {
    /// Brings an install code.
    InstallCode {
        /// The code's id.
        code_id: CodeId,
        /// The company.
        company_name: CompanyName,
        /// The contact's name.
        contact_name: Option<PersonName>,
        /// The edition that the code carried when it was minted.
        edition: EditionName,
        /// When the code ends.
        code_expires_at: Timestamp,
        /// When the link in the mail ends, where the code is not redeemed before: with the code.
        link_expires_at: Timestamp,
        /// Whether it replaces an earlier code.
        reissued: bool,
    },
    /// Brings the link that signs in to the portal.
    PortalLink {
        /// When it ends.
        expires_at: Timestamp,
    },
}

impl QueuedMail {
    /// Whether what it brings still works at `now`.
    #[must_use]
    pub fn brings_something_at(&self, now: Timestamp) -> bool {
        self.message.ends_at() > now
    }

    /// Whether it can be sent again at `now`: it was not sent, and what it brings still works.
    #[must_use]
    pub fn can_be_retried(&self, now: Timestamp) -> bool {
        matches!(self.state, MailState::Queued | MailState::Dead) && self.brings_something_at(now)
    }
}

impl QueuedMessage {
    /// When what it brings ends: the code, or the link.
    #[must_use]
    pub fn ends_at(&self) -> Timestamp {
        match self {
            Self::InstallCode { code_expires_at, .. } => *code_expires_at,
            Self::PortalLink { expires_at } => *expires_at,
        }
    }

    /// The word for what it is.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::InstallCode { reissued: false, .. } => "install_code",
            Self::InstallCode { reissued: true, .. } => "install_code_reissued",
            Self::PortalLink { .. } => "portal_link",
        }
    }
}

/// Where a mail is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MailState {
    /// To be sent.
    Queued,
    /// Sent; its secret is blanked.
    Sent,
    /// Given up; an operator can send it again.
    Dead,
    /// Not to be sent any more: its code was replaced before it went out.
    Discarded,
}

string_enum!(MailState { Queued = "queued", Sent = "sent", Dead = "dead", Discarded = "discarded" });

/// How a try to send ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeliveryOutcome {
    /// Accepted by the next hop.
    Sent,
    /// Try again then.
    Retry {
        /// When.
        due_at: Timestamp,
        /// What went wrong.
        error: String,
    },
    /// Give up.
    Dead {
        /// What went wrong.
        error: String,
    },
    /// Not tried: no mail can be sent now. It stays due, and no try is counted.
    Deferred {
        /// What is in the way.
        error: String,
    },
}

/// Which mails to list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MailQuery {
    /// Only the one with this id.
    pub id: Option<MailId>,
    /// Only those about this tenant.
    pub tenant: Option<TenantId>,
    /// Only those in this state.
    pub state: Option<MailState>,
    /// At most so many.
    pub limit: u32,
    /// Only those that come after this place.
    pub after: Option<Cursor<MailId>>,
}

/// A mail ready to be rendered and sent.
#[derive(Debug)]
pub struct OutgoingMail {
    /// Its id; the `Message-ID` MUST be made of it, so that a repeated delivery is recognisable.
    pub id: MailId,
    /// To whom.
    pub to: EmailAddress,
    /// When it was queued: its `Date`.
    pub queued_at: Timestamp,
    /// What it says.
    pub message: Message,
}

/// What a mail says, secrets included.
#[derive(Debug)]
pub enum Message {
    /// Brings an install code.
    InstallCode(Box<InstallCodeMessage>),
    /// Brings the link that goes on with a registration.
    RegistrationLink(RegistrationLinkMessage),
    /// Brings the link that signs in to the portal.
    PortalLink(PortalLinkMessage),
}

/// The mail that brings the link which goes on with a registration: who opens it has the inbox.
#[derive(Debug)]
pub struct RegistrationLinkMessage {
    /// The company.
    pub company_name: CompanyName,
    /// The contact's name.
    pub contact_name: Option<PersonName>,
    /// The link.
    pub link: SignInLink,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// The mail that brings the link which signs in to the portal.
#[derive(Debug)]
pub struct PortalLinkMessage {
    /// The link.
    pub link: SignInLink,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// The mail that brings an install code.
#[derive(Debug)]
pub struct InstallCodeMessage {
    /// The tenant's id.
    pub tenant_id: TenantId,
    /// The company.
    pub company_name: CompanyName,
    /// The contact's name.
    pub contact_name: Option<PersonName>,
    /// The edition.
    pub edition: EditionName,
    /// The code.
    pub code: PlainCode,
    /// When the code ends.
    pub code_expires_at: Timestamp,
    /// The image to install, where one is published.
    pub download: Option<Download>,
    /// Whether it replaces an earlier code.
    pub reissued: bool,
}

/// A download as a mail offers it.
#[derive(Debug)]
pub struct Download {
    /// The link.
    pub link: DownloadLink,
    /// When it ends, where the code is not redeemed before.
    pub expires_at: Timestamp,
    /// How long it works after the code was redeemed.
    pub after_redemption: TimeDelta,
    /// What it downloads.
    pub release: Release,
}

/// A mail could not be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MailError {
    /// This mail was not taken; trying later may help.
    #[error("{0}")]
    Transient(String),
    /// This mail was not taken; trying again will not help.
    #[error("{0}")]
    Permanent(String),
    /// No mail can be sent now: the server says so, or does not let us in.
    #[error("{0}")]
    Unavailable(String),
    /// The connection was not made or broke off, or no answer came: because of this mail, perhaps,
    /// or of the server.
    #[error("{0}")]
    Unclear(String),
    /// There was an answer, and nobody can read it: the mail may have been taken.
    #[error("{0}")]
    Unreadable(String),
}

impl MailError {
    /// The same with other words.
    pub(crate) fn map(self, words: impl FnOnce(String) -> String) -> Self {
        match self {
            Self::Transient(text) => Self::Transient(words(text)),
            Self::Permanent(text) => Self::Permanent(words(text)),
            Self::Unavailable(text) => Self::Unavailable(words(text)),
            Self::Unclear(text) => Self::Unclear(words(text)),
            Self::Unreadable(text) => Self::Unreadable(words(text)),
        }
    }

    /// What it comes to, once it is known whether the server answers without this mail. A server
    /// that does not is unavailable, whatever it said; one that does has this mail in mind. An
    /// answer that nobody can read is not asked for again: the mail would arrive as often.
    pub(crate) fn judged(self, server_answers: bool) -> Self {
        match self {
            Self::Permanent(text) | Self::Unclear(text) | Self::Unreadable(text)
                if !server_answers =>
            {
                Self::Unavailable(text)
            }
            Self::Unclear(text) => Self::Transient(text),
            Self::Unreadable(text) => Self::Permanent(format!("it may have arrived: {text}")),
            judged => judged,
        }
    }
}

/// The port that sends mail.
#[async_trait]
pub trait Mailer: Send + Sync {
    /// Sends a mail. MUST NOT answer `Ok` before the next hop has taken responsibility for it (a
    /// server's `250`, a durable file). Sending the same mail again MUST carry the same
    /// `Message-ID`. MUST come to an end within [`patience`](Self::patience), one way or the other.
    async fn send(&self, mail: &OutgoingMail) -> Result<(), MailError>;

    /// Whether mail can be sent now. MUST come to an end within [`patience`](Self::patience).
    async fn probe(&self) -> Result<(), MailError>;

    /// How long sending one mail, or asking, takes at most: leases are made of it.
    fn patience(&self) -> TimeDelta;
}

/// How long to wait after the `attempts`th failure: 30 s, doubled each time, six hours at most; and
/// up to a quarter more, by `jitter`, so that what failed together does not come back together.
#[must_use]
pub fn retry_delay(attempts: u32, jitter: u8) -> TimeDelta {
    let doubled = 30_i64.saturating_mul(1_i64 << attempts.saturating_sub(1).min(20));
    let millis = doubled.min(6 * 3600) * 1000;
    TimeDelta::milliseconds(millis + millis / 4 * i64::from(jitter) / 255)
}

/// After this many failures a mail is given up: with [`retry_delay`], after about three days.
pub const MAX_ATTEMPTS: u32 = 20;

/// How a failed try settles a mail that had failed `attempts` times before.
#[must_use]
pub fn settle_failure(
    error: MailError,
    attempts: u32,
    now: Timestamp,
    jitter: u8,
) -> DeliveryOutcome {
    match error {
        MailError::Unavailable(error) | MailError::Unclear(error) => {
            DeliveryOutcome::Deferred { error }
        }
        MailError::Permanent(error) | MailError::Unreadable(error) => {
            DeliveryOutcome::Dead { error }
        }
        MailError::Transient(error) if attempts + 1 >= MAX_ATTEMPTS => {
            DeliveryOutcome::Dead { error }
        }
        MailError::Transient(error) => {
            DeliveryOutcome::Retry { due_at: now + retry_delay(attempts + 1, jitter), error }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_mail_waits_longer_each_time_and_is_given_up_at_last() {
        let now = Timestamp::from_timestamp(1_800_000_000, 0).unwrap();
        let transient = || MailError::Transient("busy".into());
        for (before, jitter, millis) in [
            (0, 0, 30_000),
            (0, 255, 37_500),
            (1, 0, 60_000),
            (1, 51, 63_000),
            (2, 0, 120_000),
            (9, 0, 15_360_000),
            (10, 0, 21_600_000),
            (18, 255, 27_000_000),
        ] {
            let due_at = now + TimeDelta::milliseconds(millis);
            let expected = DeliveryOutcome::Retry { due_at, error: "busy".into() };
            assert_eq!(
                settle_failure(transient(), before, now, jitter),
                expected,
                "after {before} failures"
            );
        }
        assert_eq!(
            settle_failure(transient(), 19, now, 0),
            DeliveryOutcome::Dead { error: "busy".into() }
        );
        let permanent = MailError::Permanent("no such user".into());
        assert_eq!(
            settle_failure(permanent, 0, now, 0),
            DeliveryOutcome::Dead { error: "no such user".into() }
        );
    }

    #[test]
    fn a_failure_is_the_servers_where_the_server_does_not_answer_without_the_mail() {
        use MailError::{Permanent, Transient, Unavailable, Unclear, Unreadable};
        let it = || "x".to_owned();
        for (error, answers, judged) in [
            (Permanent(it()), true, Permanent(it())),
            (Permanent(it()), false, Unavailable(it())),
            (Unclear(it()), true, Transient(it())),
            (Unclear(it()), false, Unavailable(it())),
            (Unreadable(it()), true, Permanent("it may have arrived: x".into())),
            (Unreadable(it()), false, Unavailable(it())),
            (Transient(it()), false, Transient(it())),
        ] {
            assert_eq!(error.judged(answers), judged);
        }
    }

    #[test]
    fn a_mail_is_held_however_often_where_no_mail_can_be_sent() {
        let now = Timestamp::from_timestamp(1_800_000_000, 0).unwrap();
        for before in [0, 19, 1000] {
            let held =
                settle_failure(MailError::Unavailable("connection refused".into()), before, now, 9);
            assert_eq!(held, DeliveryOutcome::Deferred { error: "connection refused".into() });
        }
    }
}
