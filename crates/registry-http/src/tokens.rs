//! The bearer tokens of services and operators. Only digests are stored, and they are compared in
//! constant time.

use std::sync::{PoisonError, RwLock};

use registry_core::secret::{ServiceToken, ServiceTokenDigest};
use subtle::ConstantTimeEq as _;

/// An accepted token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcceptedToken {
    /// Name of the actor in the audit, such as `service:store`.
    pub actor: String,
    /// Digest of the token.
    pub digest: ServiceTokenDigest,
}

/// The accepted tokens. They can be replaced while requests are served.
#[derive(Default)]
pub struct ServiceTokens(RwLock<Vec<AcceptedToken>>);

impl ServiceTokens {
    /// Accepts these tokens, instead of all earlier ones.
    pub fn accept(&self, tokens: Vec<AcceptedToken>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = tokens;
    }

    /// Returns the actor of this token. All tokens are compared, also after a match, so the time
    /// taken reveals nothing.
    pub(crate) fn actor(&self, token: &str) -> Option<String> {
        self.actor_by_digest(&ServiceToken::new(token.to_owned()).digest())
    }

    /// Returns the actor of the token with this digest.
    pub(crate) fn actor_by_digest(&self, digest: &ServiceTokenDigest) -> Option<String> {
        let mut found = None;
        for known in self.0.read().unwrap_or_else(PoisonError::into_inner).iter() {
            if bool::from(known.digest.0.ct_eq(&digest.0)) {
                found = Some(known.actor.clone());
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_accepted_tokens_have_an_actor() {
        let accepted = |actor: &str, text: &str| AcceptedToken {
            actor: actor.to_owned(),
            digest: ServiceToken::new(text.to_owned()).digest(),
        };
        let tokens = ServiceTokens::default();
        assert_eq!(tokens.actor(""), None);
        tokens.accept(vec![accepted("service:store", "aaaa"), accepted("operator:ann", "bbbb")]);
        assert_eq!(tokens.actor("aaaa").as_deref(), Some("service:store"));
        assert_eq!(tokens.actor("bbbb").as_deref(), Some("operator:ann"));
        for other in ["", "aaa", "aaaaa", "cccc"] {
            assert_eq!(tokens.actor(other), None);
        }
        tokens.accept(vec![accepted("operator:ann", "bbbb")]);
        assert_eq!(tokens.actor("aaaa"), None);
    }
}
