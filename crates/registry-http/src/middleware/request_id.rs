//! The request id, which names a request in its response, its error and its log line, and the time of
//! the response.

use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;

use crate::app::AppState;

const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// The id of the current request, an extension of it.
#[derive(Clone)]
pub(crate) struct RequestId(pub(crate) String);

/// Form of the header `Date` (RFC 9110, section 5.6.7).
const DATE: &str = "%a, %d %b %Y %H:%M:%S GMT";

/// Gives the request an id, and returns it in `X-Request-Id`. Sets `Date`: the HTTP library keeps its
/// last one while the clock is set back, and appliances compare their clocks with it.
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
    if let Ok(date) = HeaderValue::from_str(&app.registry.now().format(DATE).to_string()) {
        response.headers_mut().insert(header::DATE, date);
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
