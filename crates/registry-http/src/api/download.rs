//! `GET /download/{token}`

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use registry_api::Problem;
use registry_core::Refusal;
use registry_core::release::Release;

use super::ServerProblems;
use crate::app::AppState;
use crate::problem::ApiError;
use crate::source::Client;

/// A link is somebody's: no cache keeps where it leads, and no other site hears of it.
pub(super) const PRIVATE: [(HeaderName, HeaderValue); 2] = [
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
];

/// Leads to the current image, by a fresh link that lives shortly. Works as long as the install
/// code of the mail is live, and a while after it was redeemed. It may be followed any number of
/// times: nothing changes but the audit.
#[utoipa::path(
    get, path = "/download/{token}", tag = "customers",
    params(("token" = String, Path, description = "The token, from the mail")),
    responses(
        (status = 302, description = "The image, at `Location`; a HEAD is answered with a 200 that says its size"),
        (status = 403, description = "`invalid_link`, `expired_link`, `tenant_suspended`", body = Problem,
         content_type = "application/problem+json"),
        (status = 404, description = "`no_release`: there is no image at the moment", body = Problem,
         content_type = "application/problem+json"),
        ServerProblems,
    )
)]
pub(crate) async fn follow(
    State(app): State<AppState>,
    Client(source): Client,
    method: Method,
    token: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    let Path(token) = token.map_err(|_| Refusal::DownloadLinkInvalid)?;
    if method == Method::HEAD {
        return described(&app.registry.download_show(&token).await?);
    }
    let link = app.registry.download_start(&token, source).await?;
    let location = HeaderValue::from_str(link.expose())
        .map_err(|error| ApiError::internal(error.to_string()))?;
    Ok((StatusCode::FOUND, PRIVATE, [(header::LOCATION, location)]).into_response())
}

/// What a `HEAD` is told: a link that was signed for `GET` would refuse it. Nothing is downloaded,
/// so nothing is audited.
fn described(release: &Release) -> Result<Response, ApiError> {
    let disposition = format!("attachment; filename=\"{}\"", release.file_name);
    let response = Response::builder()
        .header(header::CONTENT_TYPE, "application/octet-stream")
        .header(header::CONTENT_LENGTH, release.size)
        .header(header::CONTENT_DISPOSITION, disposition)
        .header(header::CACHE_CONTROL, "no-store");
    response.body(Body::empty()).map_err(|error| ApiError::internal(error.to_string()))
}
