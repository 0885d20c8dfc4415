use registry_core::clock::Timestamp;
use registry_core::edition::EditionName;
use registry_core::id::TenantId;
use registry_core::tenant::{DeploymentType, Tenant, TenantOrigin, TenantStatus};
use registry_core::text::{
    BillingCustomerId, CompanyName, EmailAddress, PersonName, ProductCode, Region, SubscriptionId,
};

use crate::table::table;

table!(
    Tenant of "tenants", key ["id"] {
        id: TenantId,
        company_name: CompanyName,
        contact_name: Option<PersonName>,
        contact_email: Option<EmailAddress>,
        edition: EditionName,
        product: ProductCode,
        deployment: DeploymentType,
        status: TenantStatus,
        subscription: Option<SubscriptionId>,
        billing_customer: Option<BillingCustomerId>,
        region: Option<Region>,
        origin: TenantOrigin,
        registered_at: Timestamp,
        installed_at: Option<Timestamp>,
        updated_at: Timestamp,
    } and |tenant| {
        contact_email_folded: Option<String> = tenant.contact_email.as_ref().map(EmailAddress::folded),
        search_text: String = tenant.search_text(),
    } as {}
);
