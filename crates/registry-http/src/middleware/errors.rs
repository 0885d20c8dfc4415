//! Gives all errors the same form, whether they come from a handler, from the framework or from a
//! panic.
//!
//! Programs get `application/problem+json` (RFC 9457). People in a browser get a page.

use std::any::Any;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use registry_api::Problem;

use super::logging::FailureCause;
use super::path_pattern;
use super::request_id::RequestId;
use crate::app::AppState;
use crate::problem::ApiError;
use crate::problem_page;
use crate::web::PageErrors;
use crate::web::pages::AlreadyPage;

/// Gives an error response its form.
pub(crate) async fn errors(State(app): State<AppState>, request: Request, next: Next) -> Response {
    let id = request.extensions().get().map(|RequestId(id)| id.clone()).unwrap_or_default();
    let page_title = problem_page::title(&path_pattern(&request), request.headers());
    let page_errors = PageErrors::of(&app, &request);
    let mut response = next.run(request).await;
    if let (Some(page_errors), Ok(web)) = (page_errors, app.web()) {
        response = page_errors.page_response(web, &id, response);
    }
    let is_page = response.extensions_mut().remove::<AlreadyPage>().is_some();
    let error = response.extensions_mut().remove::<ApiError>();
    let status = response.status();
    let needs_form = !is_page && (status.is_client_error() || status.is_server_error());
    let Some(error) = error.or_else(|| needs_form.then(|| ApiError::of_status(status))) else {
        return response;
    };
    let is_kept_waiting = error.is_wrong_secret() && wait(&app).await;
    let closes = error.is_wrong_secret() && !is_kept_waiting;
    let cause = error.cause.clone().map(FailureCause);
    if needs_form {
        response = error_response(&app, &response, error, &id, page_title);
    }
    if closes {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    if let Some(cause) = cause {
        response.extensions_mut().insert(cause);
    }
    response
}

/// Delays a response. Returns false if three quarters of the connections wait already: more would
/// keep others from connecting, so this one is answered at once and closed.
async fn wait(app: &AppState) -> bool {
    let Ok(_permit) = app.delays.try_acquire() else { return false };
    tokio::time::sleep(app.settings.refusal_delay).await;
    true
}

/// The error as a problem, or as a page with this title. It keeps the headers of the original
/// response, such as `Allow`, `Retry-After`, `WWW-Authenticate` and `Content-Range`.
fn error_response(
    app: &AppState,
    original: &Response,
    error: ApiError,
    id: &str,
    page_title: Option<&str>,
) -> Response {
    let status = original.status();
    let portal = app.registry.settings().portal_url.as_deref();
    let next_step = error.refusal.as_ref().and_then(|refusal| refusal.next_step(portal));
    let text = next_step
        .as_ref()
        .map_or_else(|| error.text.clone(), |step| format!("{} {step}", error.text));
    let problem = Problem {
        r#type: "about:blank".to_owned(),
        title: status.canonical_reason().unwrap_or("Error").to_owned(),
        status: status.as_u16(),
        error: text.clone(),
        detail: text,
        code: error.code,
        reason: error.reason,
        retryable: status.is_server_error() || matches!(status.as_u16(), 408 | 429),
        next_step,
        parts: error.parts,
        server_time: app.registry.now(),
        request_id: id.to_owned(),
    };
    let mut response = if let Some(title) = page_title {
        (status, problem_page::render(title, &problem, &error.text)).into_response()
    } else {
        let kind = [(header::CONTENT_TYPE, "application/problem+json")];
        (status, kind, Json(problem)).into_response()
    };
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    for (name, value) in original.headers() {
        if *name != header::CONTENT_LENGTH && !response.headers().contains_key(name) {
            response.headers_mut().insert(name, value.clone());
        }
    }
    response
}

/// Turns a panic in a handler into a 500. The process continues.
#[expect(clippy::needless_pass_by_value, reason = "the signature that tower-http calls")]
pub(crate) fn after_panic(panic: Box<dyn Any + Send + 'static>) -> Response {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or(panic.downcast_ref::<&str>().copied());
    ApiError::internal(format!("a handler panicked: {}", text.unwrap_or("no message")))
        .into_response()
}
