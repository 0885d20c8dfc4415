//! `GET /download/{token}`

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use registry_api::Problem;
use registry_core::release::Release;
use registry_core::secret::DownloadLink;

use super::{ServerProblems, path_text};
use crate::app::AppState;
use crate::problem::ApiError;
use crate::source::Client;

/// Headers that keep a personal link private: no cache stores its target, and no other site gets it
/// as a referrer.
pub(super) const PRIVATE: [(HeaderName, HeaderValue); 2] = [
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
];

/// Redirects to the current image, by a new short-lived link. Works while the install code of the
/// mail is unused and valid, and for a configured time after its redemption. May be called any
/// number of times: only the audit log changes.
#[utoipa::path(
    get, path = "/download/{token}", tag = "customers",
    params(("token" = String, Path, description = "The token, from the mail")),
    responses(
        (status = 302,
         description = "The image, at `Location`. HEAD gets a 200 with the image's size instead"),
        (status = 403, description = "`invalid_link`, `expired_link`, `tenant_suspended`",
         body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`no_release`: there is no image at the moment",
         body = Problem, content_type = "application/problem+json"),
        ServerProblems,
    )
)]
pub(crate) async fn follow(
    State(app): State<AppState>,
    Client(source): Client,
    method: Method,
    token: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    let token = path_text(token);
    if method == Method::HEAD {
        head_response(&app.registry.download_show(&token).await?)
    } else {
        redirect(&app.registry.mailed_download(&token, source).await?)
    }
}

fn redirect(link: &DownloadLink) -> Result<Response, ApiError> {
    let location = HeaderValue::from_str(link.expose())
        .map_err(|error| ApiError::internal(error.to_string()))?;
    Ok((StatusCode::FOUND, PRIVATE, [(header::LOCATION, location)]).into_response())
}

/// The response to `HEAD`. It is not a redirect: the new link would be signed for `GET`, and refuse
/// `HEAD`. Nothing is downloaded, so nothing is audited.
fn head_response(release: &Release) -> Result<Response, ApiError> {
    let disposition = format!("attachment; filename=\"{}\"", release.file_name);
    let response = Response::builder()
        .header(header::CONTENT_TYPE, "application/octet-stream")
        .header(header::CONTENT_LENGTH, release.size)
        .header(header::CONTENT_DISPOSITION, disposition)
        .header(header::CACHE_CONTROL, "no-store");
    response.body(Body::empty()).map_err(|error| ApiError::internal(error.to_string()))
}
