//! Whoever asks for too much waits.

use axum::http::{StatusCode, header};
use axum::response::Response;
use registry_core::guesses::Source;
use registry_core::refusal::Refusal;
use registry_core::text::EmailAddress;

use super::language::Language;
use crate::app::App;
use crate::problem::ApiError;

/// Counts what is asked for; the page that says when to come back, where that was too much.
pub(super) fn asked_too_often(
    app: &App,
    language: Language,
    source: Source,
    contact: Option<&EmailAddress>,
) -> Result<Option<Response>, ApiError> {
    let Err(Refusal::TooOften { retry_after }) = app.registry.ask(source, contact) else { return Ok(None) };
    let door = app.door()?;
    let minutes = (retry_after.num_minutes() + 1).to_string();
    let text = door.text(language, "too_often", &[("minutes", &minutes)]);
    let mut response = door.message(language, StatusCode::TOO_MANY_REQUESTS, ("too_often_title", text), None)?;
    response.headers_mut().insert(header::RETRY_AFTER, retry_after.num_seconds().max(1).into());
    Ok(Some(response))
}
