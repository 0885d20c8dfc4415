//! Whoever asks for too much waits.

use axum::http::{StatusCode, header};
use axum::response::Response;
use registry_core::guesses::Source;
use registry_core::refusal::Refusal;
use registry_core::text::EmailAddress;

use super::language::Language;
use super::pages::Side;
use crate::app::App;
use crate::problem::ApiError;

/// Counts what a customer asks for; the page that says when to come back, where that was too much.
pub(super) fn asked_too_often(
    app: &App,
    language: Language,
    source: Source,
    contact: Option<&EmailAddress>,
) -> Result<Option<Response>, ApiError> {
    later(app, (language, Side::Customers), app.registry.ask(source, contact))
}

/// The page that says when to come back, where something was counted once too often.
pub(super) fn later(
    app: &App,
    reader: (Language, Side),
    counted: Result<(), Refusal>,
) -> Result<Option<Response>, ApiError> {
    let retry_after = match counted {
        Ok(()) => return Ok(None),
        Err(Refusal::TooOften { retry_after }) => retry_after,
        Err(other) => return Err(other.into()),
    };
    let door = app.door()?;
    let minutes = (retry_after.num_minutes() + 1).to_string();
    let text = door.text(reader.0, "too_often", &[("minutes", &minutes)]);
    let mut response = door.message(reader, StatusCode::TOO_MANY_REQUESTS, ("too_often_title", text), None)?;
    response.headers_mut().insert(header::RETRY_AFTER, retry_after.num_seconds().max(1).into());
    Ok(Some(response))
}
