//! The header `Host`, which every request of HTTP/1.1 has once (RFC 9112, section 3.2).

use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use crate::problem::ApiError;

/// An extension of requests without a valid header `Host`.
#[derive(Clone, Copy)]
pub(crate) struct InvalidHost;

/// Refuses requests without `Host`, or with several.
pub(crate) async fn host(request: Request, next: Next) -> Response {
    if request.extensions().get::<InvalidHost>().is_some() {
        return ApiError::of_status(StatusCode::BAD_REQUEST).into_response();
    }
    next.run(request).await
}
