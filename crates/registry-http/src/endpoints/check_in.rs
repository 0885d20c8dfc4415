//! `POST /check-in`

use axum::Json;
use axum::extract::State;
use registry_api::{CheckInAnswer, CheckInRequest, CheckInStatus, Problem};
use registry_core::answer::Standing;
use registry_core::registry::check_in::CheckIn;
use registry_core::secret::PlainCredential;

use super::{JsonProblems, ServerProblems, detached};
use crate::app::App;
use crate::idempotency::Idempotency;
use crate::json::ApiJson;
use crate::problem::ApiError;
use crate::source::Client;

/// Checks an appliance in, and renews its license where that is due. No authentication but the
/// credential in the body.
#[utoipa::path(
    post, path = "/check-in", tag = "appliances",
    request_body = CheckInRequest,
    responses(
        (status = 200, description = "Checked in", body = CheckInAnswer),
        (status = 401, description = "`revoked_appliance`: the credential is unknown or revoked", body = Problem,
         content_type = "application/problem+json"),
        (status = 422, description = "`invalid_request`; `reason` names the field", body = Problem,
         content_type = "application/problem+json"),
        JsonProblems, ServerProblems,
    )
)]
pub(crate) async fn check_in(
    State(app): State<App>,
    Client(source): Client,
    idempotency: Idempotency,
    ApiJson(request): ApiJson<CheckInRequest>,
) -> Result<Json<CheckInAnswer>, ApiError> {
    let key = idempotency.key("POST /check-in", "", &request);
    let credential = PlainCredential::new(request.appliance_credential);
    let asked = CheckIn { credential, held_sub: request.current_license_sub, source, key };
    let checked_in = detached(async move { app.registry.check_in(asked).await }).await?;
    let (status, license) = match checked_in.standing {
        Standing::Licensed(license) => (CheckInStatus::Ok, license),
        Standing::Revoked => (CheckInStatus::Revoked, None),
    };
    Ok(Json(CheckInAnswer {
        status,
        exp: license.as_ref().map(|(_, expires_at)| expires_at.timestamp()),
        jwt: license.map(|(token, _)| token.expose().to_owned()),
        next_check_in_at: checked_in.next_check_in_at,
        server_time: checked_in.now,
    }))
}
