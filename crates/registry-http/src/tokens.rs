//! Bearer tokens: named, several at once, known by their digests, compared in constant time.

use std::sync::{PoisonError, RwLock};

use registry_core::secret::{ServiceToken, ServiceTokenDigest};
use subtle::ConstantTimeEq as _;

/// A token that is admitted, and whom the audit names when it is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdmittedToken {
    /// Such as `service:store`.
    pub actor: String,
    /// The token's digest.
    pub digest: ServiceTokenDigest,
}

/// The tokens that may be called with. They can be exchanged while requests come in.
#[derive(Default)]
pub struct ServiceTokens(RwLock<Vec<AdmittedToken>>);

impl ServiceTokens {
    /// Admits these tokens, and no other any more.
    pub fn admit(&self, tokens: Vec<AdmittedToken>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = tokens;
    }

    /// Whose token this is. Every token is compared, whatever fits first.
    pub(crate) fn actor(&self, token: &str) -> Option<String> {
        self.actor_by_digest(&ServiceToken::new(token.to_owned()).digest())
    }

    /// Whose token has this digest.
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
    fn a_token_is_known_by_its_actor_until_others_are_admitted() {
        let admitted = |actor: &str, text: &str| AdmittedToken {
            actor: actor.to_owned(),
            digest: ServiceToken::new(text.to_owned()).digest(),
        };
        let tokens = ServiceTokens::default();
        assert_eq!(tokens.actor(""), None);
        tokens.admit(vec![admitted("service:store", "aaaa"), admitted("operator:ann", "bbbb")]);
        assert_eq!(tokens.actor("aaaa").as_deref(), Some("service:store"));
        assert_eq!(tokens.actor("bbbb").as_deref(), Some("operator:ann"));
        for other in ["", "aaa", "aaaaa", "cccc"] {
            assert_eq!(tokens.actor(other), None);
        }
        tokens.admit(vec![admitted("operator:ann", "bbbb")]);
        assert_eq!(tokens.actor("aaaa"), None);
    }
}
