//! The request id: names a request in its response, its error and its log line.

use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;

use crate::app::AppState;

const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// The id of the current request, an extension of it.
#[derive(Clone)]
pub(crate) struct RequestId(pub(crate) String);

/// Gives the request an id, and returns it in `X-Request-Id`.
pub(crate) async fn request_id(
    State(app): State<AppState>,
    mut request: Request,
    next: Next,
) -> Response {
    let id = from_client(&request).unwrap_or_else(|| app.registry.new_id().to_string());
    request.extensions_mut().insert(RequestId(id.clone()));
    let mut response = next.run(request).await;
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(HEADER, value);
    }
    response
}

/// The client's own id, if it has 8 to 128 letters, digits, `-`, `_` or `.`.
fn from_client(request: &Request) -> Option<String> {
    let id = request.headers().get(HEADER)?.to_str().ok()?;
    let is_valid = (8..=128).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    is_valid.then(|| id.to_owned())
}
