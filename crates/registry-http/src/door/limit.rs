//! Whoever asks for too much waits.

use axum::http::{StatusCode, header};
use axum::response::Response;
use chrono::TimeDelta;
use registry_core::refusal::Refusal;

use super::language::Language;
use super::pages::{Door, Side};
use crate::app::App;
use crate::problem::ApiError;

/// When to come back, in the reader's words.
pub(super) fn when(door: &Door, language: Language, retry_after: TimeDelta) -> String {
    door.text(language, "too_often", &[("minutes", &(retry_after.num_minutes() + 1).to_string())])
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
    let text = when(door, reader.0, retry_after);
    let mut response = door.message(reader, StatusCode::TOO_MANY_REQUESTS, ("too_often_title", text), None)?;
    response.headers_mut().insert(header::RETRY_AFTER, (retry_after.num_seconds() + 1).into());
    Ok(Some(response))
}
