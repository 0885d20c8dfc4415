use registry_core::clock::Timestamp;
use registry_core::edition::EditionName;
use registry_core::entitlement::Entitlement;
use registry_core::id::{EntitlementId, TenantId};
use registry_core::text::{CompanyName, SubscriptionId};

use crate::table::table;

table!(
    Entitlement of "entitlements", key ["id"] {
        id: EntitlementId,
        tenant_id: Option<TenantId>,
        subscription: Option<SubscriptionId>,
        customer: CompanyName,
        edition: EditionName,
        seats: Option<u32>,
        license_sub: String,
        created_at: Timestamp,
        revoked_at: Option<Timestamp>,
    }
);
