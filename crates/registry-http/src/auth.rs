//! Authentication of services, by a bearer token.

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use registry_core::audit::Actor;

use crate::app::AppState;
use crate::problem::ApiError;
use crate::source::client_source;

/// An authenticated service, as the actor of audit entries.
pub(crate) struct Service(pub(crate) Actor);

impl FromRequestParts<AppState> for Service {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, ApiError> {
        let header = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let (scheme, token) =
            header.and_then(|value| value.split_once(' ')).ok_or_else(ApiError::unauthorized)?;
        let name = app.tokens.actor(token.trim()).filter(|_| scheme.eq_ignore_ascii_case("bearer"));
        let name = name.ok_or_else(ApiError::unauthorized)?;
        Ok(Self(Actor {
            name,
            source: client_source(&parts.headers, &parts.extensions, &app.settings).to_string(),
        }))
    }
}
