//! `POST /revoke`

use axum::Json;
use axum::extract::State;
use registry_api::{Problem, RevokeRequest, RevokeResponse};
use registry_core::registry::entitlements::EntitlementEdit;
use registry_core::store::EntitlementSelector;
use registry_core::text::SubscriptionId;

use super::{JsonProblems, ServerProblems, ServiceProblems};
use crate::app::AppState;
use crate::auth::Service;
use crate::idempotency::Idempotency;
use crate::json::ApiJson;
use crate::problem::ApiError;

/// Revokes the entitlement of a subscription. Repeatable.
#[utoipa::path(
    post, path = "/revoke", tag = "services", security(("service" = [])),
    request_body = RevokeRequest,
    responses(
        (status = 200, description = "Revoked, now or before", body = RevokeResponse),
        (status = 404, description = "`entitlement_not_found`", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`invalid_request`; `reason` names the field", body = Problem,
         content_type = "application/problem+json"),
        JsonProblems, ServerProblems, ServiceProblems,
    )
)]
pub(crate) async fn revoke(
    State(app): State<AppState>,
    Service(actor): Service,
    idempotency: Idempotency,
    ApiJson(request): ApiJson<RevokeRequest>,
) -> Result<Json<RevokeResponse>, ApiError> {
    let key = idempotency.key("POST /revoke", &actor.name, &request);
    let selector =
        EntitlementSelector::Subscription(SubscriptionId::parse(&request.stripe_sub_id)?);
    app.registry.entitlement_edit(selector, EntitlementEdit::Revoke, key, actor).await?;
    Ok(Json(RevokeResponse { status: "revoked".to_owned() }))
}
