//! The middleware around every request, outermost first: drain, request id,
//! logging, errors, host, timeout.

pub(crate) mod drain;
pub(crate) mod errors;
pub(crate) mod headers;
pub(crate) mod host;
pub(crate) mod log_budget;
pub(crate) mod logging;
pub(crate) mod request_id;
pub(crate) mod timeout;

use axum::extract::{MatchedPath, Request};

/// The pattern of the request's path, such as `/tenants/{tenant_id}`. The path itself may hold the
/// secret part of a link, so neither the log nor the metrics see it.
fn path_pattern(request: &Request) -> String {
    request.extensions().get::<MatchedPath>().map_or("(none)", MatchedPath::as_str).to_owned()
}
