//! The `Idempotency-Key` header: who sends a request again under the same key gets the answer of
//! then.

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use registry_api::ErrorCode;
use registry_core::registry::idempotency::IdempotencyKey;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::app::AppState;
use crate::problem::ApiError;

const HEADER: &str = "idempotency-key";

/// A key has so many characters (wire contract, R-idempotency-1).
const LENGTHS: std::ops::RangeInclusive<usize> = 16..=255;

/// The digest of the key that a request came with, if it came with one.
pub(crate) struct Idempotency(Option<[u8; 32]>);

impl FromRequestParts<AppState> for Idempotency {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Self, ApiError> {
        let mut values = parts.headers.get_all(HEADER).iter();
        let Some(value) = values.next() else { return Ok(Self(None)) };
        let bytes = value.as_bytes();
        if values.next().is_some()
            || !LENGTHS.contains(&bytes.len())
            || !bytes.iter().all(u8::is_ascii_graphic)
        {
            let text = "The Idempotency-Key must be one, of 16 to 255 visible ASCII characters.";
            let error =
                ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, ErrorCode::InvalidRequest, text);
            return Err(error.reason("Idempotency-Key"));
        }
        Ok(Self(Some(Sha256::digest(bytes).into())))
    }
}

/// The key of a form that a page was shown with: sent twice, it is one change. Without its mark, it
/// has none.
pub(crate) fn form_key(scope: String, mark: &str, content: &str) -> Option<IdempotencyKey> {
    let digest = |text: &str| Sha256::digest(text).into();
    (!mark.is_empty()).then(|| IdempotencyKey {
        scope,
        digest: digest(mark),
        fingerprint: digest(content),
    })
}

impl Idempotency {
    /// The key of this route and caller, for this request: its fields, and not its bytes, say
    /// whether it is the same.
    pub(crate) fn key(
        self,
        route: &str,
        caller: &str,
        request: &impl Serialize,
    ) -> Option<IdempotencyKey> {
        let digest = self.0?;
        // Wire types have text keys only, which is all that could fail.
        let request = serde_json::to_vec(request).unwrap_or_default();
        let scope = format!("{route} {caller}").trim_end().to_owned();
        Some(IdempotencyKey { scope, digest, fingerprint: Sha256::digest(request).into() })
    }
}
