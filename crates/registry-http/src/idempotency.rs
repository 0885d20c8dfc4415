//! The `Idempotency-Key` header: a request that is sent again under the same key gets the first
//! response.

use axum::extract::FromRequestParts;
use axum::http::HeaderValue;
use axum::http::request::Parts;
use registry_core::registry::idempotency::IdempotencyKey;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::app::AppState;
use crate::problem::ApiError;

const HEADER: &str = "idempotency-key";

/// Digest of the request's key, if it has one.
pub(crate) struct Idempotency(Option<[u8; 32]>);

impl FromRequestParts<AppState> for Idempotency {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Self, ApiError> {
        let values: Vec<_> =
            parts.headers.get_all(HEADER).iter().map(HeaderValue::as_bytes).collect();
        Ok(Self(IdempotencyKey::digest_of(&values)?))
    }
}

/// Returns the key of a page's form: a form that is sent twice is one change. `None` if the form
/// has no id.
pub(crate) fn form_key(scope: String, form_id: &str, content: &str) -> Option<IdempotencyKey> {
    let digest = |text: &str| Sha256::digest(text).into();
    (!form_id.is_empty()).then(|| IdempotencyKey {
        scope,
        digest: digest(form_id),
        fingerprint: digest(content),
    })
}

impl Idempotency {
    /// Returns the key for this route, caller and request. Two requests are the same if their
    /// fields are equal, however they are written.
    pub(crate) fn key(
        self,
        route: &str,
        caller: &str,
        request: &impl Serialize,
    ) -> Option<IdempotencyKey> {
        let digest = self.0?;
        // Never fails: serializing only fails for maps whose keys are not strings.
        let request = serde_json::to_vec(request).unwrap_or_default();
        let scope = format!("{route} {caller}").trim_end().to_owned();
        Some(IdempotencyKey { scope, digest, fingerprint: Sha256::digest(request).into() })
    }
}
