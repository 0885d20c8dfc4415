//! Tenants.

use registry_core::edition::EditionName;
use registry_core::store::StoreError;
use registry_core::tenant::{DeploymentType, Tenant, TenantStatus};
use registry_core::text::{
    BillingCustomerId, CompanyName, EmailAddress, PersonName, ProductCode, Region, SubscriptionId,
};

use crate::table::{Read, corrupt, table};
use crate::types::{SqlId, SqlTime};

table!(
    /// A row of `tenants`.
    TenantRow of "tenants", key ["id"] {
        id: SqlId,
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
        registered_at: SqlTime,
        installed_at: Option<SqlTime>,
        updated_at: SqlTime,
    }
);

impl From<&Tenant> for TenantRow {
    fn from(tenant: &Tenant) -> Self {
        Self {
            id: tenant.id.into(),
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
            registered_at: tenant.registered_at.into(),
            installed_at: tenant.installed_at.map(Into::into),
            updated_at: tenant.updated_at.into(),
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
            registered_at: row.registered_at.into(),
            installed_at: row.installed_at.map(Into::into),
            updated_at: row.updated_at.into(),
        })
    }
}
