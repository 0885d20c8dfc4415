//! `POST /claim-codes`

use axum::Json;
use axum::extract::State;
use registry_api::{ClaimCodeRequest, ClaimCodeResponse, Problem};

use super::{JsonProblems, ServerProblems, ServiceProblems, aliases};
use crate::app::AppState;
use crate::auth::Service;
use crate::idempotency::Idempotency;
use crate::json::ApiJson;
use crate::problem::ApiError;

/// Issues an activation code for the entitlement of a subscription. The code replaces the
/// entitlement's unused codes.
#[utoipa::path(
    post, path = "/claim-codes", tag = "services", security(("service" = [])),
    request_body = ClaimCodeRequest,
    responses(
        (status = 200, description = "Issued", body = ClaimCodeResponse),
        (status = 403, description = "`entitlement_revoked`, `tenant_suspended`",
         body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`entitlement_not_found`",
         body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`tenant_mismatch`",
         body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`invalid_request`; `reason` names the field",
         body = Problem, content_type = "application/problem+json"),
        JsonProblems, ServerProblems, ServiceProblems,
    )
)]
pub(crate) async fn claim_codes(
    State(app): State<AppState>,
    Service(actor): Service,
    idempotency: Idempotency,
    ApiJson(mut request): ApiJson<ClaimCodeRequest>,
) -> Result<Json<ClaimCodeResponse>, ApiError> {
    let subscription =
        aliases::required_subscription(&mut request.stripe_sub_id, &mut request.subscription_id)?;
    let key = idempotency.key("POST /claim-codes", &actor.name, &request);
    let tenant_id = request.tenant_id.map(Into::into);
    let issued = app.registry.activation_code_issue(&subscription, tenant_id, key, actor).await?;
    Ok(Json(ClaimCodeResponse {
        code: issued.code.grouped().to_string(),
        expires_at: issued.expires_at.timestamp(),
    }))
}
