//! What surrounds every request: its id, its line in the log, its time limit, and the one form of
//! every error.

use std::any::Any;

use axum::Json;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use registry_api::Problem;
use tokio::time::Instant;

use crate::app::App;
use crate::door::Reader;
use crate::door::pages::Shown;
use crate::page;
use crate::problem::ApiError;
use crate::source::client_source;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

pub(crate) async fn frame(State(app): State<App>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let begun = app.metrics.begin();
    let id = request_id(&app, &request);
    // What is no method we know may be anything, a code even.
    let method = request.method().clone();
    let method = if matches!(
        method.as_str(),
        "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS"
    ) {
        method.to_string()
    } else {
        "(other)".to_owned()
    };
    // The pattern, not the path: queries and paths may hold the secret part of a link.
    let path =
        request.extensions().get::<MatchedPath>().map_or("(none)", MatchedPath::as_str).to_owned();
    let source = client_source(request.headers(), request.extensions(), &app.settings);
    let for_a_person = page::title_for_a_person(&path, request.headers());
    let reader = Reader::of(&app, &request);
    let answered = tokio::time::timeout(app.settings.request_timeout, next.run(request)).await;
    let response =
        answered.unwrap_or_else(|_| ApiError::overloaded("the request timed out").into_response());
    let response = match (reader, app.door()) {
        (Some(reader), Ok(door)) => reader.shown(door, &id, response),
        _ => response,
    };
    let (mut response, cause) = formed(&app, response, &id, for_a_person);
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    let (status, took) = (response.status().as_u16(), started.elapsed());
    drop(begun);
    app.metrics.answered(&method, &path, status, took);
    let micros = took.as_micros();
    if let Some(cause) = cause {
        tracing::error!(method, path, status, request_id = id, %source, cause, micros, "failed");
    } else {
        tracing::info!(method, path, status, request_id = id, %source, micros, "answered");
    }
    response
}

/// The client's own id where it sent a decent one, else a fresh one.
fn request_id(app: &App, request: &Request) -> String {
    let decent = |id: &&str| {
        (8..=128).contains(&id.len())
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    let given =
        request.headers().get(REQUEST_ID).and_then(|value| value.to_str().ok()).filter(decent);
    given.map_or_else(|| app.registry.draw_id().to_string(), str::to_owned)
}

/// Gives an error its form, whoever made it. Also returns what the log should say about it.
fn formed(
    app: &App,
    mut response: Response,
    id: &str,
    for_a_person: Option<&str>,
) -> (Response, Option<String>) {
    let status = response.status();
    // What is a page already says itself what happened.
    let is_page = response.extensions_mut().remove::<Shown>().is_some();
    let error = response.extensions_mut().remove::<ApiError>();
    if is_page || !(status.is_client_error() || status.is_server_error()) {
        return (response, error.and_then(|error| error.cause));
    }
    let error = error.unwrap_or_else(|| ApiError::of_status(status));
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
    let mut formed = if let Some(title) = for_a_person {
        (status, page::problem_page(title, &problem, &error.text)).into_response()
    } else {
        let kind = [(header::CONTENT_TYPE, "application/problem+json")];
        (status, kind, Json(problem)).into_response()
    };
    formed.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // What the error's maker said in headers stays: Allow, Retry-After, WWW-Authenticate,
    // Content-Range.
    for (name, value) in response.headers() {
        if *name != header::CONTENT_LENGTH && !formed.headers().contains_key(name) {
            formed.headers_mut().insert(name, value.clone());
        }
    }
    (formed, error.cause)
}

/// A bug in a handler is a 500 in our form, and does not end the process.
#[expect(clippy::needless_pass_by_value, reason = "tower-http calls it so")]
pub(crate) fn after_panic(panic: Box<dyn Any + Send + 'static>) -> Response {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or(panic.downcast_ref::<&str>().copied());
    ApiError::internal(format!("a handler panicked: {}", text.unwrap_or("no message")))
        .into_response()
}
