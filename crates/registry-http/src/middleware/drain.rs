//! The time before a shutdown in which load balancers turn away: every response closes its
//! connection, and `/readyz` is 503.

use axum::extract::{Request, State};
use axum::http::{HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;

use crate::app::AppState;

/// Closes the connection after the response, if a shutdown is near.
pub(crate) async fn drain(State(app): State<AppState>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    if app.is_draining() {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}
