//! `GET /tenants` and `GET /tenants/{tenant_id}`

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use registry_api::{
    ApplianceItem, ErrorCode, InstallCodeItem, ListTenantsQuery, Problem, TenantDetail,
    TenantEntitlement, TenantFields, TenantItem, TenantList,
};
use registry_core::Refusal;
use registry_core::entitlement::Entitlement;
use registry_core::install_code::CodeState;
use registry_core::registry::directory::{ListTenants, TenantSummary};
use registry_core::tenant::Tenant;

use super::{ServerProblems, ServiceProblems};
use crate::app::App;
use crate::auth::Service;
use crate::problem::ApiError;

/// Lists tenants, newest first.
#[utoipa::path(
    get, path = "/tenants", tag = "services", security(("service" = [])),
    params(ListTenantsQuery),
    responses(
        (status = 200, description = "A page", body = TenantList),
        (status = 422, description = "`invalid_request`; `reason` names the parameter", body = Problem,
         content_type = "application/problem+json"),
        ServerProblems, ServiceProblems,
    )
)]
pub(crate) async fn list_tenants(
    State(app): State<App>,
    _service: Service,
    query: Result<Query<ListTenantsQuery>, QueryRejection>,
) -> Result<Json<TenantList>, ApiError> {
    let Query(query) = query.map_err(|_| {
        let text = "A query parameter is given twice, or cannot be read.";
        ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, ErrorCode::InvalidRequest, text)
    })?;
    let asked = ListTenants {
        deployment_type: query.deployment_type,
        query: query.query,
        edition: query.edition,
        product_code: query.product_code,
        status: query.status,
        limit: query.limit,
        cursor: query.cursor,
    };
    let page = app.registry.tenant_list(asked).await?;
    Ok(Json(TenantList {
        items: page.items.iter().map(item).collect(),
        next_cursor: page.next_cursor,
    }))
}

/// Shows one tenant with its entitlement, codes and appliances; never a code, token or credential.
#[utoipa::path(
    get, path = "/tenants/{tenant_id}", tag = "services", security(("service" = [])),
    params(("tenant_id" = String, Path, description = "The tenant's id")),
    responses(
        (status = 200, description = "The tenant", body = TenantDetail),
        (status = 404, description = "`tenant_not_found`", body = Problem, content_type = "application/problem+json"),
        ServerProblems, ServiceProblems,
    )
)]
pub(crate) async fn show_tenant(
    State(app): State<App>,
    _service: Service,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<TenantDetail>, ApiError> {
    let id = id.ok().and_then(|Path(id)| id.parse().ok()).ok_or(Refusal::TenantNotFound)?;
    Ok(Json(detail(&app.registry.tenant_show(id).await?)))
}

fn email(tenant: &Tenant) -> String {
    tenant.contact_email.as_ref().map(ToString::to_string).unwrap_or_default()
}

fn subscription(entitlement: &Entitlement) -> Option<String> {
    entitlement.subscription.as_ref().map(ToString::to_string)
}

fn item(summary: &TenantSummary) -> TenantItem {
    let (tenant, entitlement) = (&summary.record.tenant, summary.entitlement.as_ref());
    TenantItem {
        tenant_id: tenant.id.0,
        company_name: tenant.company_name.to_string(),
        contact_email: email(tenant),
        edition: tenant.edition.to_string(),
        product_code: tenant.product.to_string(),
        status: tenant.status.to_string(),
        registered_at: tenant.registered_at,
        installed_at: tenant.installed_at,
        stripe_sub_id: entitlement
            .and_then(subscription)
            .or(tenant.subscription.as_ref().map(ToString::to_string)),
        tier: summary.tier.clone(),
        seats: entitlement.and_then(|entitlement| entitlement.seats),
        entitlement_active: entitlement.map(Entitlement::is_active),
        last_checkin_at: summary.last_check_in_at,
        appliance_count: summary.record.appliances.len(),
        connected: summary.connected,
        install_code_state: summary.code_state.to_string(),
    }
}

fn detail(summary: &TenantSummary) -> TenantDetail {
    let record = &summary.record;
    let entitlement = summary.entitlement.as_ref().map(|entitlement| TenantEntitlement {
        stripe_sub_id: subscription(entitlement).unwrap_or_default(),
        tier: summary.tier.clone().unwrap_or_else(|| entitlement.edition.to_string()),
        seats: entitlement.seats,
        active: entitlement.is_active(),
        license_sub: Some(entitlement.license_sub.clone()),
        has_current_token: summary.has_current_token,
    });
    let codes = record.codes.iter().map(|code| InstallCodeItem {
        code_masked: code.last_four.clone(),
        expires_at: code.expires_at.timestamp(),
        consumed: code.consumed.is_some(),
        revoked: matches!(code.state(summary.now), CodeState::Superseded(_)),
        created_at: code.issued_at,
    });
    let appliances = record.appliances.iter().map(|appliance| ApplianceItem {
        appliance_id: appliance.id.to_string(),
        last_checkin_at: appliance.last_check_in_at,
        revoked: appliance.revoked_at.is_some(),
    });
    TenantDetail {
        tenant: fields(&record.tenant),
        entitlement,
        install_codes: codes.collect(),
        appliances: appliances.collect(),
    }
}

fn fields(tenant: &Tenant) -> TenantFields {
    TenantFields {
        tenant_id: tenant.id.0,
        edition: tenant.edition.to_string(),
        product_code: tenant.product.to_string(),
        deployment_type: tenant.deployment.to_string(),
        region: tenant.region.as_ref().map(ToString::to_string),
        status: tenant.status.to_string(),
        company_name: tenant.company_name.to_string(),
        contact_name: tenant.contact_name.as_ref().map(ToString::to_string),
        contact_email: email(tenant),
        stripe_customer_id: tenant.billing_customer.as_ref().map(ToString::to_string),
        registered_at: tenant.registered_at,
        installed_at: tenant.installed_at,
        created_at: tenant.registered_at,
        updated_at: tenant.updated_at,
    }
}
