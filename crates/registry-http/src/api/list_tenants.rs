//! `GET /tenants`

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use registry_api::{ListTenantsQuery, Problem, TenantItem, TenantList};
use registry_core::entitlement::Entitlement;
use registry_core::registry::directory::{ListTenants, TenantSummary};

use super::{ServerProblems, ServiceProblems, unreadable_query};
use crate::app::AppState;
use crate::auth::Service;
use crate::problem::ApiError;

/// Lists tenants, newest first.
#[utoipa::path(
    get, path = "/tenants", tag = "services", security(("service" = [])),
    params(ListTenantsQuery),
    responses(
        (status = 200, description = "A page", body = TenantList),
        (status = 422, description = "`invalid_request`; `reason` names the parameter",
         body = Problem, content_type = "application/problem+json"),
        ServerProblems, ServiceProblems,
    )
)]
pub(crate) async fn list_tenants(
    State(app): State<AppState>,
    _service: Service,
    query: Result<Query<ListTenantsQuery>, QueryRejection>,
) -> Result<Json<TenantList>, ApiError> {
    let Query(query) = query.map_err(unreadable_query)?;
    let list = ListTenants {
        deployment_type: query.deployment_type,
        query: query.query,
        edition: query.edition,
        product_code: query.product_code,
        status: query.status,
        limit: query.limit,
        cursor: query.cursor,
    };
    let page = app.registry.tenant_list(list).await?;
    Ok(Json(TenantList {
        items: page.items.iter().map(item).collect(),
        next_cursor: page.next_cursor,
    }))
}

fn item(summary: &TenantSummary) -> TenantItem {
    let (tenant, entitlement) = (&summary.record.tenant, summary.entitlement.as_ref());
    TenantItem {
        tenant_id: tenant.id.0,
        company_name: tenant.company_name.to_string(),
        contact_email: tenant.contact_email.as_ref().map(ToString::to_string).unwrap_or_default(),
        edition: tenant.edition.to_string(),
        product_code: tenant.product.to_string(),
        status: tenant.status.to_string(),
        registered_at: tenant.registered_at,
        installed_at: tenant.installed_at,
        stripe_sub_id: entitlement
            .and_then(|entitlement| entitlement.subscription.as_ref())
            .or(tenant.subscription.as_ref())
            .map(ToString::to_string),
        tier: summary.tier.clone(),
        seats: entitlement.and_then(|entitlement| entitlement.seats),
        entitlement_active: entitlement.map(Entitlement::is_active),
        last_checkin_at: summary.last_check_in_at,
        appliance_count: summary.record.appliances.len(),
        connected: summary.connected,
        install_code_state: summary.code_state.to_string(),
    }
}
