//! Who may use the pages: a link that was mailed to a contact, and the session that it opens.

use chrono::TimeDelta;

use crate::clock::Timestamp;
use crate::secret::SignInDigest;
use crate::string_enum::string_enum;

/// A link, until it is used, or a session. Its token is shown once, and kept as a digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignIn {
    /// SHA-256 of its token.
    pub digest: SignInDigest,
    /// Which of the two.
    pub kind: SignInKind,
    /// Whose.
    pub principal: Principal,
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

string_enum!(SignInKind { Link = "link", Session = "session" });

/// Uses of a session within this time count as one: a page that is looked at costs no write.
pub const SESSION_USE: TimeDelta = TimeDelta::minutes(1);

impl SignIn {
    /// One that is made at `now`, and was not used since.
    #[must_use]
    pub fn new(
        digest: SignInDigest,
        kind: SignInKind,
        principal: Principal,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Self {
        Self { digest, kind, principal, issued_at: now, used_at: now, expires_at }
    }

    /// Whether it is a link that signs in at `now`.
    #[must_use]
    pub fn is_open_link(&self, now: Timestamp) -> bool {
        self.kind == SignInKind::Link && self.expires_at > now
    }

    /// Whether it is a session that lives at `now`: it has not ended, and was used within `idle`.
    #[must_use]
    pub fn is_live_session(&self, now: Timestamp, idle: TimeDelta) -> bool {
        self.kind == SignInKind::Session && self.expires_at > now && now - self.used_at <= idle
    }

    /// Whether a use at `now` is to be recorded.
    #[must_use]
    pub fn is_used_anew(&self, now: Timestamp) -> bool {
        now - self.used_at >= SESSION_USE
    }
}

/// Who uses the pages.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Principal {
    /// What they may see.
    pub role: Role,
    /// A contact's address, folded; or what an operator's session hangs on: the digest of the
    /// operator's token.
    pub name: String,
}

/// What a principal may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The tenants that they are the contact of.
    Customer,
    /// All tenants.
    Operator,
}

string_enum!(Role { Customer = "customer", Operator = "operator" });

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_lives_while_it_is_used_and_no_longer_than_to_its_end() {
        let start = Timestamp::from_timestamp(1_800_000_000, 0).unwrap();
        let after = |minutes| start + TimeDelta::minutes(minutes);
        let sign_in = |kind| {
            let principal = Principal { role: Role::Customer, name: "a@example.com".to_owned() };
            SignIn {
                used_at: after(60),
                ..SignIn::new(SignInDigest([1; 32]), kind, principal, start, after(100))
            }
        };
        let (link, session) = (sign_in(SignInKind::Link), sign_in(SignInKind::Session));
        for (minutes, opens, lives) in
            [(60, true, true), (90, true, true), (91, true, false), (100, false, false)]
        {
            assert_eq!(link.is_open_link(after(minutes)), opens, "{minutes}");
            assert_eq!(
                session.is_live_session(after(minutes), TimeDelta::minutes(30)),
                lives,
                "{minutes}"
            );
        }
        assert!(
            !session.is_live_session(after(100), TimeDelta::days(1)),
            "it has ended, however it was used"
        );
        assert!(
            !link.is_live_session(after(60), TimeDelta::days(1))
                && !session.is_open_link(after(60))
        );
        assert!(!session.is_used_anew(after(60)) && session.is_used_anew(after(61)));
    }
}
