//! `POST /sign`

use axum::Json;
use axum::extract::State;
use registry_api::{Problem, SignRequest, SignResponse};
use registry_core::registry::subscriptions::SignLicense;

use super::{JsonProblems, ServerProblems, ServiceProblems, aliases};
use crate::app::AppState;
use crate::auth::Service;
use crate::idempotency::Idempotency;
use crate::json::ApiJson;
use crate::problem::ApiError;

/// Grants or updates the entitlement of a subscription, and signs a license for it.
#[utoipa::path(
    post, path = "/sign", tag = "services", security(("service" = [])),
    request_body = SignRequest,
    responses(
        (status = 200, description = "Signed", body = SignResponse),
        (status = 403, description = "`tenant_suspended`",
         body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`tenant_mismatch`",
         body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`invalid_request`; `reason` names the field",
         body = Problem, content_type = "application/problem+json"),
        JsonProblems, ServerProblems, ServiceProblems,
    )
)]
pub(crate) async fn sign(
    State(app): State<AppState>,
    Service(actor): Service,
    idempotency: Idempotency,
    ApiJson(mut request): ApiJson<SignRequest>,
) -> Result<Json<SignResponse>, ApiError> {
    let subscription =
        aliases::required_subscription(&mut request.stripe_sub_id, &mut request.subscription_id)?;
    let key = idempotency.key("POST /sign", &actor.name, &request);
    let new_license = SignLicense {
        subscription_id: subscription,
        customer: request.customer,
        tier: request.tier,
        seats: request.seats,
        transport: request.transport,
        tenant_id: request.tenant_id.map(Into::into),
        key,
    };
    let signed = app.registry.license_sign(new_license, actor).await?;
    let jwt = signed.token.expose().to_owned();
    Ok(Json(SignResponse { jwt, exp: signed.expires_at.timestamp(), sub: signed.sub }))
}
