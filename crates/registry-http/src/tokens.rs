//! Service tokens: named, kept as digests, compared in constant time.

use registry_core::secret::ServiceToken;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// The tokens that services may call with.
#[derive(Default)]
pub struct ServiceTokens {
    digests: Vec<(String, [u8; 32])>,
}

impl ServiceTokens {
    /// Admits whoever has this token, under this name.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, token: &ServiceToken) -> Self {
        self.digests.push((name.into(), Sha256::digest(token.expose().as_bytes()).into()));
        self
    }

    /// The name of the service that this token belongs to. Every token is compared, whatever fits first.
    pub(crate) fn name(&self, token: &str) -> Option<&str> {
        let digest: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let mut found = None;
        for (name, known) in &self.digests {
            if bool::from(known.ct_eq(&digest)) {
                found = Some(name.as_str());
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_known_by_its_name_and_nothing_else_is() {
        let token = |text: &str| ServiceToken::new(text.to_owned());
        let tokens = ServiceTokens::default().with("store", &token("aaaa")).with("console", &token("bbbb"));
        assert_eq!(tokens.name("aaaa"), Some("store"));
        assert_eq!(tokens.name("bbbb"), Some("console"));
        for other in ["", "aaa", "aaaaa", "cccc"] {
            assert_eq!(tokens.name(other), None);
        }
        assert_eq!(ServiceTokens::default().name(""), None);
    }
}
