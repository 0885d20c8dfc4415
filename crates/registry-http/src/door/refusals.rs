//! What went wrong, as a page in the reader's language.

use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use registry_core::refusal::Refusal;

use super::language::Language;
use super::pages::{Door, Shown, Side};
use crate::frame::RequestId;
use crate::problem::ApiError;

/// Why a refusal was, in the reader's language; by the rules' own words where it is none that pages come to.
pub(super) fn why(door: &Door, language: Language, refusal: &Refusal) -> String {
    let name = match refusal {
        Refusal::TenantSuspended => "why_suspended",
        Refusal::EntitlementRevoked { .. } => "why_revoked",
        Refusal::TenantNotFound => "why_no_tenant",
        Refusal::KeyReused => "why_sent_before",
        Refusal::MailNotFound => "why_no_mail",
        Refusal::MailSettled { .. } => "why_settled",
        Refusal::MailOutdated { .. } => "why_outdated",
        Refusal::Invalid { .. } => "why_address",
        other => return other.to_string(),
    };
    door.text(language, name, &[])
}

/// The page for a form that was not made for this session.
pub(super) fn stale(door: &Door, reader: (Language, Side), again: &str) -> Result<Response, ApiError> {
    let text = door.text(reader.0, "stale", &[]);
    door.message(reader, StatusCode::FORBIDDEN, ("stale_title", text), Some((again, "stale_again")))
}

/// An error that is no page yet becomes one. What the log says about it stays with it.
pub(super) fn shown(
    door: &Door,
    reader: (Language, Side),
    method: &Method,
    id: Option<&RequestId>,
    refused: Response,
) -> Response {
    let status = refused.status();
    let is_page = refused.extensions().get::<Shown>().is_some();
    if is_page || !(status.is_client_error() || status.is_server_error()) {
        return refused;
    }
    let error = refused.extensions().get::<ApiError>();
    let (title, text) = match (status, error.and_then(|error| error.refusal.as_ref())) {
        (_, Some(refusal)) => ("cannot_title", why(door, reader.0, refusal)),
        (StatusCode::PAYLOAD_TOO_LARGE, _) => ("cannot_title", door.text(reader.0, "form_too_large", &[])),
        (StatusCode::SERVICE_UNAVAILABLE, _) => ("busy_title", door.text(reader.0, "busy", &[])),
        _ if status.is_server_error() => {
            let id = id.map_or("–", |id| id.0.as_str());
            ("failed_title", door.text(reader.0, "failed", &[("id", id)]))
        }
        _ if method == Method::POST => ("cannot_title", door.text(reader.0, "form_unreadable", &[])),
        _ => ("nowhere_title", door.text(reader.0, "nowhere", &[])),
    };
    let home = match reader.1 {
        Side::Customers => ("/portal", "portal"),
        Side::Operators => ("/console", "console"),
    };
    let mut page = match door.message(reader, status, (title, text), Some(home)) {
        Ok(page) => page,
        Err(error) => return error.into_response(),
    };
    let kept = [header::ALLOW, header::RETRY_AFTER].into_iter();
    page.headers_mut().extend(kept.filter_map(|name| Some((name.clone(), refused.headers().get(&name)?.clone()))));
    if let Some(error) = error {
        page.extensions_mut().insert(error.clone());
    }
    page
}
