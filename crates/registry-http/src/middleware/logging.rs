//! One log line and one metrics sample for each request.

use axum::extract::{Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;
use tokio::time::Instant;

use super::path_pattern;
use super::request_id::RequestId;
use crate::app::AppState;
use crate::source::client_source;

/// A response extension: the cause of a failure, for the log only. The errors middleware inserts
/// it.
#[derive(Clone)]
pub(crate) struct FailureCause(pub(crate) String);

/// Logs and counts the request.
pub(crate) async fn logging(State(app): State<AppState>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let in_flight = app.metrics.begin();
    let method = known_method(request.method());
    let path = path_pattern(&request);
    let source = client_source(request.headers(), request.extensions(), &app.settings);
    let request_id = request.extensions().get().map(|RequestId(id)| id.clone()).unwrap_or_default();
    let mut response = next.run(request).await;
    let (status, took) = (response.status().as_u16(), started.elapsed());
    drop(in_flight);
    app.metrics.record(method, &path, status, took);
    let micros = took.as_micros();
    if let Some(FailureCause(cause)) = response.extensions_mut().remove() {
        if !app.failure_budget.admit() {
            return response;
        }
        tracing::error!(method, path, status, request_id, %source, cause, micros, "request failed");
    } else if app.log_budget.admit() {
        tracing::info!(method, path, status, request_id, %source, micros, "request completed");
    }
    response
}

/// The method's name. A client may send anything as a method, even a code, so an unknown one is not
/// logged.
fn known_method(method: &Method) -> &'static str {
    let known = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    known.into_iter().find(|name| *name == method.as_str()).unwrap_or("(other)")
}
