//! Who: tenants and entitlements.

use diesel::prelude::{AsChangeset, Insertable, Queryable, Selectable};
use registry_core::edition::EditionName;
use registry_core::entitlement::Entitlement;
use registry_core::store::StoreError;
use registry_core::tenant::{DeploymentType, Tenant, TenantStatus};
use registry_core::text::{
    BillingCustomerId, CompanyName, EmailAddress, PersonName, ProductCode, Region, SubscriptionId,
};

use super::{Read, corrupt, id, ids, micros, number, time, times};
use crate::schema::{entitlements, tenants};

#[derive(Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = tenants, treat_none_as_null = true)]
pub(crate) struct TenantRow {
    pub(crate) id: String,
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
    registered_at: i64,
    installed_at: Option<i64>,
    updated_at: i64,
}

impl From<&Tenant> for TenantRow {
    fn from(tenant: &Tenant) -> Self {
        Self {
            id: tenant.id.to_string(),
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
            registered_at: tenant.registered_at.timestamp_micros(),
            installed_at: micros(tenant.installed_at),
            updated_at: tenant.updated_at.timestamp_micros(),
        }
    }
}

impl TryFrom<TenantRow> for Tenant {
    type Error = StoreError;

    fn try_from(row: TenantRow) -> Read<Self> {
        Ok(Self {
            id: id(&row.id)?,
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
            registered_at: time(row.registered_at)?,
            installed_at: times(row.installed_at)?,
            updated_at: time(row.updated_at)?,
        })
    }
}

#[derive(Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = entitlements, treat_none_as_null = true)]
pub(crate) struct EntitlementRow {
    id: String,
    tenant_id: Option<String>,
    subscription: Option<String>,
    customer: String,
    edition: String,
    seats: Option<i32>,
    license_sub: String,
    created_at: i64,
    revoked_at: Option<i64>,
}

impl TryFrom<&Entitlement> for EntitlementRow {
    type Error = StoreError;

    fn try_from(entitlement: &Entitlement) -> Read<Self> {
        Ok(Self {
            id: entitlement.id.to_string(),
            tenant_id: entitlement.tenant_id.map(|id| id.to_string()),
            subscription: entitlement.subscription.as_ref().map(SubscriptionId::to_string),
            customer: entitlement.customer.to_string(),
            edition: entitlement.edition.to_string(),
            seats: entitlement.seats.map(number).transpose()?,
            license_sub: entitlement.license_sub.clone(),
            created_at: entitlement.created_at.timestamp_micros(),
            revoked_at: micros(entitlement.revoked_at),
        })
    }
}

impl TryFrom<EntitlementRow> for Entitlement {
    type Error = StoreError;

    fn try_from(row: EntitlementRow) -> Read<Self> {
        Ok(Self {
            id: id(&row.id)?,
            tenant_id: ids(row.tenant_id.as_ref())?,
            subscription: row.subscription.map(SubscriptionId::from_stored),
            customer: CompanyName::from_stored(row.customer),
            edition: EditionName::new(row.edition),
            seats: row.seats.map(number).transpose()?,
            license_sub: row.license_sub,
            created_at: time(row.created_at)?,
            revoked_at: times(row.revoked_at)?,
        })
    }
}
