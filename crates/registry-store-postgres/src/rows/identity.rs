//! Who: tenants and entitlements.

use registry_core::clock::Timestamp;
use registry_core::edition::EditionName;
use registry_core::entitlement::Entitlement;
use registry_core::store::StoreError;
use registry_core::tenant::{DeploymentType, Tenant, TenantStatus};
use registry_core::text::{
    BillingCustomerId, CompanyName, EmailAddress, PersonName, ProductCode, Region, SubscriptionId,
};
use uuid::Uuid;

use super::{Read, corrupt, number, row};
use crate::schema::{entitlements, tenants};

row!(
    TenantRow of tenants {
        id: Uuid,
        company_name: String,
        contact_name: Option<String>,
        contact_email: Option<String>,
        contact_email_folded: Option<String>,
        search_text: String,
        edition: String,
        product: String,
        deployment: String,
        status: String,
        subscription: Option<String>,
        billing_customer: Option<String>,
        region: Option<String>,
        registered_at: Timestamp,
        installed_at: Option<Timestamp>,
        updated_at: Timestamp,
    }
);

impl From<&Tenant> for TenantRow {
    fn from(tenant: &Tenant) -> Self {
        Self {
            id: tenant.id.0,
            company_name: tenant.company_name.to_string(),
            contact_name: tenant.contact_name.as_ref().map(PersonName::to_string),
            contact_email: tenant.contact_email.as_ref().map(EmailAddress::to_string),
            contact_email_folded: tenant.contact_email.as_ref().map(EmailAddress::folded),
            search_text: tenant.search_text(),
            edition: tenant.edition.to_string(),
            product: tenant.product.to_string(),
            deployment: tenant.deployment.to_string(),
            status: tenant.status.to_string(),
            subscription: tenant.subscription.as_ref().map(SubscriptionId::to_string),
            billing_customer: tenant.billing_customer.as_ref().map(BillingCustomerId::to_string),
            region: tenant.region.as_ref().map(Region::to_string),
            registered_at: tenant.registered_at,
            installed_at: tenant.installed_at,
            updated_at: tenant.updated_at,
        }
    }
}

impl TryFrom<TenantRow> for Tenant {
    type Error = StoreError;

    fn try_from(row: TenantRow) -> Read<Self> {
        Ok(Self {
            id: row.id.into(),
            company_name: CompanyName::from_stored(row.company_name),
            contact_name: row.contact_name.map(PersonName::from_stored),
            contact_email: row.contact_email.map(EmailAddress::from_stored),
            edition: EditionName::new(row.edition),
            product: ProductCode::from_stored(row.product),
            deployment: DeploymentType::from_name(&row.deployment)
                .ok_or_else(|| corrupt("deployment"))?,
            status: TenantStatus::from_name(&row.status).ok_or_else(|| corrupt("status"))?,
            subscription: row.subscription.map(SubscriptionId::from_stored),
            billing_customer: row.billing_customer.map(BillingCustomerId::from_stored),
            region: row.region.map(Region::from_stored),
            registered_at: row.registered_at,
            installed_at: row.installed_at,
            updated_at: row.updated_at,
        })
    }
}

row!(
    EntitlementRow of entitlements {
        id: Uuid,
        tenant_id: Option<Uuid>,
        subscription: Option<String>,
        customer: String,
        edition: String,
        seats: Option<i32>,
        license_sub: String,
        created_at: Timestamp,
        revoked_at: Option<Timestamp>,
    }
);

impl TryFrom<&Entitlement> for EntitlementRow {
    type Error = StoreError;

    fn try_from(entitlement: &Entitlement) -> Read<Self> {
        Ok(Self {
            id: entitlement.id.0,
            tenant_id: entitlement.tenant_id.map(|id| id.0),
            subscription: entitlement.subscription.as_ref().map(SubscriptionId::to_string),
            customer: entitlement.customer.to_string(),
            edition: entitlement.edition.to_string(),
            seats: entitlement.seats.map(number).transpose()?,
            license_sub: entitlement.license_sub.clone(),
            created_at: entitlement.created_at,
            revoked_at: entitlement.revoked_at,
        })
    }
}

impl TryFrom<EntitlementRow> for Entitlement {
    type Error = StoreError;

    fn try_from(row: EntitlementRow) -> Read<Self> {
        Ok(Self {
            id: row.id.into(),
            tenant_id: row.tenant_id.map(Into::into),
            subscription: row.subscription.map(SubscriptionId::from_stored),
            customer: CompanyName::from_stored(row.customer),
            edition: EditionName::new(row.edition),
            seats: row.seats.map(number).transpose()?,
            license_sub: row.license_sub,
            created_at: row.created_at,
            revoked_at: row.revoked_at,
        })
    }
}
