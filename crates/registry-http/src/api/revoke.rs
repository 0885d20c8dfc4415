//! `POST /revoke`

use axum::Json;
use axum::extract::State;
use registry_api::{Problem, RevokeRequest, RevokeResponse};
use registry_core::registry::entitlements::EntitlementEdit;
use registry_core::store::EntitlementSelector;
use registry_core::text::SubscriptionId;

use super::{JsonProblems, ServerProblems, ServiceProblems, aliases};
use crate::app::AppState;
use crate::auth::Service;
use crate::idempotency::Idempotency;
use crate::json::ApiJson;
use crate::problem::ApiError;

/// Revokes the entitlement of a subscription. Revoking it again succeeds.
#[utoipa::path(
    post, path = "/revoke", tag = "services", security(("service" = [])),
    request_body = RevokeRequest,
    responses(
        (status = 200, description = "Revoked, now or earlier", body = RevokeResponse),
        (status = 404, description = "`entitlement_not_found`",
         body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`invalid_request`; `reason` names the field",
         body = Problem, content_type = "application/problem+json"),
        JsonProblems, ServerProblems, ServiceProblems,
    )
)]
pub(crate) async fn revoke(
    State(app): State<AppState>,
    Service(actor): Service,
    idempotency: Idempotency,
    ApiJson(mut request): ApiJson<RevokeRequest>,
) -> Result<Json<RevokeResponse>, ApiError> {
    let subscription =
        aliases::required_subscription(&mut request.stripe_sub_id, &mut request.subscription_id)?;
    let key = idempotency.key("POST /revoke", &actor.name, &request);
    let selector = EntitlementSelector::Subscription(SubscriptionId::parse(&subscription)?);
    app.registry.entitlement_edit(selector, EntitlementEdit::Revoke, key, actor).await?;
    Ok(Json(RevokeResponse { status: "revoked".to_owned() }))
}
