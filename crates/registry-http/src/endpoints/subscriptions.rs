//! `POST /sign`, `POST /claim-codes`, `POST /revoke`: what the vendor's store does for a
//! subscription.

use axum::Json;
use axum::extract::State;
use registry_api::{
    ClaimCodeAnswer, ClaimCodeRequest, Problem, RevokeAnswer, RevokeRequest, SignAnswer,
    SignRequest,
};
use registry_core::registry::entitlements::EntitlementEdit;
use registry_core::registry::subscriptions::SignLicense;
use registry_core::store::EntitlementSelector;
use registry_core::text::SubscriptionId;

use super::{JsonProblems, ServerProblems, ServiceProblems, detached};
use crate::app::App;
use crate::auth::Service;
use crate::idempotency::Idempotency;
use crate::json::ApiJson;
use crate::problem::ApiError;

/// Grants or updates the entitlement of a subscription, and signs a license for it.
#[utoipa::path(
    post, path = "/sign", tag = "services", security(("service" = [])),
    request_body = SignRequest,
    responses(
        (status = 200, description = "Signed", body = SignAnswer),
        (status = 403, description = "`tenant_suspended`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`tenant_mismatch`", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`invalid_request`; `reason` names the field", body = Problem,
         content_type = "application/problem+json"),
        JsonProblems, ServerProblems, ServiceProblems,
    )
)]
pub(crate) async fn sign(
    State(app): State<App>,
    Service(actor): Service,
    idempotency: Idempotency,
    ApiJson(request): ApiJson<SignRequest>,
) -> Result<Json<SignAnswer>, ApiError> {
    let key = idempotency.key("POST /sign", &actor.name, &request);
    let asked = SignLicense {
        stripe_sub_id: request.stripe_sub_id,
        customer: request.customer,
        tier: request.tier,
        seats: request.seats,
        transport: request.transport,
        tenant_id: request.tenant_id.map(Into::into),
        key,
    };
    let signed = detached(async move { app.registry.license_sign(asked, actor).await }).await?;
    let jwt = signed.token.expose().to_owned();
    Ok(Json(SignAnswer { jwt, exp: signed.expires_at.timestamp(), sub: signed.sub }))
}

/// Mints an activation code for the entitlement of a subscription. Its unclaimed ones die.
#[utoipa::path(
    post, path = "/claim-codes", tag = "services", security(("service" = [])),
    request_body = ClaimCodeRequest,
    responses(
        (status = 200, description = "Minted", body = ClaimCodeAnswer),
        (status = 403, description = "`entitlement_revoked`, `tenant_suspended`", body = Problem,
         content_type = "application/problem+json"),
        (status = 404, description = "`entitlement_not_found`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`tenant_mismatch`", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`invalid_request`; `reason` names the field", body = Problem,
         content_type = "application/problem+json"),
        JsonProblems, ServerProblems, ServiceProblems,
    )
)]
pub(crate) async fn claim_codes(
    State(app): State<App>,
    Service(actor): Service,
    idempotency: Idempotency,
    ApiJson(request): ApiJson<ClaimCodeRequest>,
) -> Result<Json<ClaimCodeAnswer>, ApiError> {
    let key = idempotency.key("POST /claim-codes", &actor.name, &request);
    let ClaimCodeRequest { stripe_sub_id, tenant_id } = request;
    let tenant_id = tenant_id.map(Into::into);
    let minting = async move {
        app.registry.activation_code_issue(&stripe_sub_id, tenant_id, key, actor).await
    };
    let minted = detached(minting).await?;
    Ok(Json(ClaimCodeAnswer {
        code: minted.code.grouped().to_string(),
        expires_at: minted.expires_at.timestamp(),
    }))
}

/// Revokes the entitlement of a subscription. Repeatable.
#[utoipa::path(
    post, path = "/revoke", tag = "services", security(("service" = [])),
    request_body = RevokeRequest,
    responses(
        (status = 200, description = "Revoked, now or before", body = RevokeAnswer),
        (status = 404, description = "`entitlement_not_found`", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`invalid_request`; `reason` names the field", body = Problem,
         content_type = "application/problem+json"),
        JsonProblems, ServerProblems, ServiceProblems,
    )
)]
pub(crate) async fn revoke(
    State(app): State<App>,
    Service(actor): Service,
    idempotency: Idempotency,
    ApiJson(request): ApiJson<RevokeRequest>,
) -> Result<Json<RevokeAnswer>, ApiError> {
    let key = idempotency.key("POST /revoke", &actor.name, &request);
    let selector =
        EntitlementSelector::Subscription(SubscriptionId::parse(&request.stripe_sub_id)?);
    let revoking = async move {
        app.registry.entitlement_edit(selector, EntitlementEdit::Revoke, key, actor).await
    };
    detached(revoking).await?;
    Ok(Json(RevokeAnswer { status: "revoked".to_owned() }))
}
