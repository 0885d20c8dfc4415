//! `POST /verify-appliance`

use axum::Json;
use axum::extract::State;
use registry_api::{Problem, VerifyApplianceRequest, VerifyApplianceResponse};
use registry_core::secret::PlainCredential;

use super::{JsonProblems, ServerProblems};
use crate::app::AppState;
use crate::auth::Service;
use crate::json::ApiJson;
use crate::problem::ApiError;

/// Verifies a credential that an appliance has shown to a service. Writes nothing.
#[utoipa::path(
    post, path = "/verify-appliance", tag = "services", security(("service" = [])),
    request_body = VerifyApplianceRequest,
    responses(
        (status = 200, description = "The credential is valid: its tenant and appliance",
         body = VerifyApplianceResponse),
        (status = 401, description = "`invalid_credential`; `unauthorized`",
         body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`invalid_request`; `reason` names the field",
         body = Problem, content_type = "application/problem+json"),
        JsonProblems, ServerProblems,
    )
)]
pub(crate) async fn verify_appliance(
    State(app): State<AppState>,
    _: Service,
    ApiJson(request): ApiJson<VerifyApplianceRequest>,
) -> Result<Json<VerifyApplianceResponse>, ApiError> {
    let status = app.registry.credential_verify(&PlainCredential::new(request.credential)).await?;
    Ok(Json(VerifyApplianceResponse {
        tenant_id: status.tenant_id.0,
        edition: status.edition.to_string(),
        appliance_id: status.appliance_id.to_string(),
        appliance_revoked: false,
        entitlement_active: status.entitlement_active,
        connected_eligible: status.connected_eligible,
    }))
}
