//! `GET /tenants/{tenant_id}`

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use registry_api::{
    ApplianceItem, InstallCodeItem, Problem, TenantDetail, TenantEntitlement, TenantFields,
};
use registry_core::id::TenantId;
use registry_core::install_code::CodeState;
use registry_core::registry::directory::TenantSummary;
use registry_core::tenant::Tenant;

use super::{ServerProblems, ServiceProblems, path_text};
use crate::app::AppState;
use crate::auth::Service;
use crate::problem::ApiError;

/// Shows one tenant with its entitlement, codes and appliances. Codes are masked; tokens and
/// credentials are never shown.
#[utoipa::path(
    get, path = "/tenants/{tenant_id}", tag = "services", security(("service" = [])),
    params(("tenant_id" = String, Path, description = "The tenant's id")),
    responses(
        (status = 200, description = "The tenant", body = TenantDetail),
        (status = 404, description = "`tenant_not_found`",
         body = Problem, content_type = "application/problem+json"),
        ServerProblems, ServiceProblems,
    )
)]
pub(crate) async fn show_tenant(
    State(app): State<AppState>,
    _service: Service,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<TenantDetail>, ApiError> {
    let id = TenantId::parse(&path_text(id))?;
    Ok(Json(detail(&app.registry.tenant_show(id).await?)))
}

fn detail(summary: &TenantSummary) -> TenantDetail {
    let record = &summary.record;
    let entitlement = summary.entitlement.as_ref().map(|entitlement| TenantEntitlement {
        stripe_sub_id: entitlement
            .subscription
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
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
        duplicate_seen_at: appliance.duplicate_seen_at,
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
        contact_email: tenant.contact_email.as_ref().map(ToString::to_string).unwrap_or_default(),
        stripe_customer_id: tenant.billing_customer.as_ref().map(ToString::to_string),
        registered_at: tenant.registered_at,
        installed_at: tenant.installed_at,
        created_at: tenant.registered_at,
        updated_at: tenant.updated_at,
    }
}
