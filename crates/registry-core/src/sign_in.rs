//! Sign-in to the web pages: a link mailed to a contact, and the session that it opens.

use chrono::TimeDelta;

use crate::clock::Timestamp;
use crate::secret::SignInDigest;
use crate::string_enum::string_enum;

/// A sign-in link that was not used yet, or a session. The token is shown once and stored as a
/// digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignIn {
    /// SHA-256 of the token.
    pub digest: SignInDigest,
    /// Link or session.
    pub kind: SignInKind,
    /// The contact or operator who signs in.
    pub principal: Principal,
    /// Time of issue.
    pub issued_at: Timestamp,
    /// Time at which the session was last used.
    pub used_at: Timestamp,
    /// Expiry, independent of use.
    pub expires_at: Timestamp,
}

/// The two kinds of sign-ins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SignInKind {
    /// A link, which opens one session.
    Link,
    /// A session.
    Session,
}

string_enum!(SignInKind { Link = "link", Session = "session" });

/// Resolution of the time of last use. Uses of a session within this time are recorded once, so
/// that viewing a page usually costs no write.
pub const SESSION_USE_RESOLUTION: TimeDelta = TimeDelta::minutes(1);

impl SignIn {
    /// Creates a link or session that is issued at `now` and was not used yet.
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

    /// True if this is a link that is valid at `now`.
    #[must_use]
    pub fn is_open_link(&self, now: Timestamp) -> bool {
        self.kind == SignInKind::Link && self.expires_at > now
    }

    /// True if this is a session that is valid at `now`: it has not expired, and was used within
    /// `idle`.
    #[must_use]
    pub fn is_live_session(&self, now: Timestamp, idle: TimeDelta) -> bool {
        self.kind == SignInKind::Session && self.expires_at > now && now - self.used_at <= idle
    }

    /// True if a use at `now` must be recorded.
    #[must_use]
    pub fn must_record_use(&self, now: Timestamp) -> bool {
        now - self.used_at >= SESSION_USE_RESOLUTION
    }
}

/// The contact or operator behind a sign-in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Principal {
    /// The role, which decides access.
    pub role: Role,
    /// The email address of a contact, folded. For an operator, the digest of the operator's token,
    /// which the session depends on.
    pub name: String,
}

/// Access rights of a principal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Sees the tenants whose contact has the principal's address.
    Customer,
    /// Sees all tenants.
    Operator,
}

string_enum!(Role { Customer = "customer", Operator = "operator" });

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_ends_when_idle_or_expired() {
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
            "expired, however recently used"
        );
        assert!(
            !link.is_live_session(after(60), TimeDelta::days(1))
                && !session.is_open_link(after(60))
        );
        assert!(!session.must_record_use(after(60)) && session.must_record_use(after(61)));
    }
}
