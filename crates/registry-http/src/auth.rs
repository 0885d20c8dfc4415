//! Service bearers: named tokens, kept as digests, compared in constant time.

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use registry_core::audit::Actor;
use registry_core::secret::ServiceToken;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::app::App;
use crate::problem::ApiError;
use crate::source::client_source;

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
    fn name(&self, token: &str) -> Option<&str> {
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

/// A service that proved itself: what audit lines name.
pub(crate) struct Service(pub(crate) Actor);

impl FromRequestParts<App> for Service {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let header = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let (scheme, token) = header.and_then(|value| value.split_once(' ')).ok_or_else(ApiError::unauthorized)?;
        let name = app.tokens.name(token.trim()).filter(|_| scheme.eq_ignore_ascii_case("bearer"));
        let name = format!("service:{}", name.ok_or_else(ApiError::unauthorized)?);
        Ok(Self(Actor { name, source: client_source(&parts.headers, &parts.extensions, &app.settings).to_string() }))
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
