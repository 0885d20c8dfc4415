//! The time limit of a request, `http.request_timeout`. A download streams for as long as it needs:
//! the limit ends when the response's headers are ready.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use crate::app::AppState;
use crate::problem::ApiError;

/// Responds with 503 if the handler takes too long.
pub(crate) async fn timeout(State(app): State<AppState>, request: Request, next: Next) -> Response {
    let response = tokio::time::timeout(app.settings.request_timeout, next.run(request)).await;
    response.unwrap_or_else(|_| ApiError::overloaded("the request timed out").into_response())
}
