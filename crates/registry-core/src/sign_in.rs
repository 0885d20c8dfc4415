//! Who may use the pages: a link that was mailed to a contact, and the session that it opens.

use chrono::TimeDelta;

use crate::clock::Timestamp;
use crate::secret::SignInDigest;
use crate::words::words;

/// A link, until it is used, or a session. Its token is shown once, and kept as a digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignIn {
    /// SHA-256 of its token.
    pub digest: SignInDigest,
    /// Which of the two.
    pub kind: SignInKind,
    /// Whose.
    pub visitor: Visitor,
    /// When it was made.
    pub issued_at: Timestamp,
    /// When a session was last used.
    pub used_at: Timestamp,
    /// When it ends, whatever is done with it.
    pub expires_at: Timestamp,
}

/// A link or a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SignInKind {
    /// A link: it opens one session.
    Link,
    /// A session.
    Session,
}

words!(SignInKind { Link = "link", Session = "session" });

/// Uses of a session within this time count as one: a page that is looked at costs no write.
pub const SESSION_USE: TimeDelta = TimeDelta::minutes(1);

impl SignIn {
    /// One that is made at `now`, and was not used since.
    #[must_use]
    pub fn new(
        digest: SignInDigest,
        kind: SignInKind,
        visitor: Visitor,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Self {
        Self { digest, kind, visitor, issued_at: now, used_at: now, expires_at }
    }

    /// Whether a use at `now` is to be recorded.
    #[must_use]
    pub fn is_used_anew(&self, now: Timestamp) -> bool {
        now - self.used_at >= SESSION_USE
    }
}

/// Who uses the pages.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Visitor {
    /// What they may see.
    pub role: Role,
    /// A contact's address, folded; or an operator's name.
    pub name: String,
}

/// What a visitor may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The tenants that they are the contact of.
    Customer,
    /// All tenants.
    Operator,
}

words!(Role { Customer = "customer", Operator = "operator" });

/// A session about to be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewSession {
    /// SHA-256 of its token.
    pub digest: SignInDigest,
    /// When it ends, whatever is done with it.
    pub expires_at: Timestamp,
}
