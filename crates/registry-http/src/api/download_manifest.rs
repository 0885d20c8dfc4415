//! `GET /download/{token}/manifest.json` and `/manifest.sig`

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use registry_api::Problem;
use registry_core::release::{Release, SignedManifest};

use super::ServerProblems;
use super::download::PRIVATE;
use crate::app::AppState;
use crate::problem::ApiError;

/// Returns `manifest.json`, the vendor's signed description of the current image, or
/// `manifest.sig`, the 64 bytes of its Ed25519 signature (RFC 8032).
#[utoipa::path(
    get, path = "/download/{token}/{part}", tag = "customers",
    params(
        ("token" = String, Path, description = "The token, from the mail"),
        ("part" = String, Path, description = "`manifest.json` or `manifest.sig`"),
    ),
    responses(
        (status = 200, description = "The manifest, byte for byte as signed, or the signature",
         content_type = "application/octet-stream"),
        (status = 403, description = "`invalid_link`, `expired_link`, `tenant_suspended`",
         body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`no_release`, `not_found`",
         body = Problem, content_type = "application/problem+json"),
        ServerProblems,
    )
)]
pub(crate) async fn manifest(
    State(app): State<AppState>,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<Response, ApiError> {
    let (token, part) = path.map(|Path(parts)| parts).unwrap_or_default();
    let Release { manifest, .. } = app.registry.download_show(&token).await?;
    let not_found = || ApiError::of_status(StatusCode::NOT_FOUND);
    let SignedManifest { text, signature } = manifest.ok_or_else(not_found)?;
    let (kind, body) = match part.as_str() {
        "manifest.json" => ("application/json", text.into_bytes()),
        "manifest.sig" => ("application/octet-stream", signature.to_vec()),
        _ => return Err(not_found()),
    };
    Ok((PRIVATE, [(header::CONTENT_TYPE, kind)], body).into_response())
}
