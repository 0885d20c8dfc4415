//! `POST /check-in`

use axum::Json;
use axum::extract::State;
use registry_api::{CheckInRequest, CheckInResponse, CheckInStatus, Problem};
use registry_core::registry::check_in::CheckIn;
use registry_core::results::{CheckedIn, LicenseStatus};
use registry_core::secret::PlainCredential;

use super::{JsonProblems, ServerProblems};
use crate::app::AppState;
use crate::idempotency::Idempotency;
use crate::json::ApiJson;
use crate::problem::ApiError;
use crate::source::Client;

/// Checks an appliance in, and renews its license if that is due. The credential in the body is the
/// only authentication.
#[utoipa::path(
    post, path = "/check-in", tag = "appliances",
    request_body = CheckInRequest,
    responses(
        (status = 200, description = "Checked in", body = CheckInResponse),
        (status = 401, description = "`revoked_appliance`: the credential is unknown or revoked",
         body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`invalid_request`; `reason` names the field",
         body = Problem, content_type = "application/problem+json"),
        JsonProblems, ServerProblems,
    )
)]
pub(crate) async fn check_in(
    State(app): State<AppState>,
    Client(source): Client,
    idempotency: Idempotency,
    ApiJson(mut request): ApiJson<CheckInRequest>,
) -> Result<Json<CheckInResponse>, ApiError> {
    // Each attempt has its own number, and all attempts have one key.
    let sequence = request.sequence.take();
    let key = idempotency.key("POST /check-in", "", &request);
    let credential = PlainCredential::new(request.appliance_credential);
    let check_in = CheckIn {
        credential,
        current_license_sub: request.current_license_sub,
        sequence,
        source,
        key,
    };
    Ok(Json(response(app.registry.check_in(check_in).await?)))
}

fn response(checked_in: CheckedIn) -> CheckInResponse {
    let (status, license) = match checked_in.status {
        LicenseStatus::Licensed(license) => (CheckInStatus::Ok, license),
        LicenseStatus::Revoked => (CheckInStatus::Revoked, None),
    };
    CheckInResponse {
        status,
        exp: license.as_ref().map(|(_, expires_at)| expires_at.timestamp()),
        jwt: license.map(|(token, _)| token.expose().to_owned()),
        next_check_in_at: checked_in.next_check_in_at,
        server_time: checked_in.now,
    }
}
