//! `POST /register-tenant`

use axum::Json;
use axum::extract::State;
use registry_api::{IssuedCode, Problem, RegisterTenantRequest};
use registry_core::registry::register::NewTenant;
use registry_core::tenant::TenantOrigin;

use super::{JsonProblems, ServerProblems, ServiceProblems, aliases, issued_code};
use crate::app::AppState;
use crate::auth::Service;
use crate::idempotency::Idempotency;
use crate::json::ApiJson;
use crate::problem::ApiError;

/// Registers a tenant: creates its identity, its install code and, for paid editions, its
/// entitlement, and mails the code.
#[utoipa::path(
    post, path = "/register-tenant", tag = "services", security(("service" = [])),
    request_body = RegisterTenantRequest,
    responses(
        (status = 200, description = "Registered, or found by its subscription",
         body = IssuedCode),
        (status = 403, description = "`tenant_suspended`",
         body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`invalid_request`; `reason` names the field",
         body = Problem, content_type = "application/problem+json"),
        JsonProblems, ServerProblems, ServiceProblems,
    )
)]
pub(crate) async fn register_tenant(
    State(app): State<AppState>,
    Service(actor): Service,
    idempotency: Idempotency,
    ApiJson(mut request): ApiJson<RegisterTenantRequest>,
) -> Result<Json<IssuedCode>, ApiError> {
    aliases::billing_customer(&mut request.stripe_customer_id, &mut request.billing_customer_id)?;
    aliases::subscription(&mut request.stripe_sub_id, &mut request.subscription_id)?;
    let key = idempotency.key("POST /register-tenant", &actor.name, &request);
    let new = NewTenant {
        company_name: request.company_name,
        contact_email: request.contact_email,
        contact_name: request.contact_name,
        edition: request.edition,
        product_code: request.product_code,
        deployment_type: request.deployment_type,
        billing_customer_id: request.stripe_customer_id,
        subscription_id: request.stripe_sub_id,
        seats: request.seats,
        region: request.region,
        origin: TenantOrigin::Service,
        send_email: request.send_email.unwrap_or(true),
        key,
    };
    Ok(issued_code(app.registry.tenant_register(new, actor).await?))
}
