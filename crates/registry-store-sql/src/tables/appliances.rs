use registry_core::appliance::{Appliance, IssuedLicense};
use registry_core::clock::Timestamp;
use registry_core::id::TenantId;
use registry_core::license::LicenseTerms;
use registry_core::text::ApplianceId;

use crate::table::table;

// The last five columns are the license that the appliance has.
table!(
    Appliance of "appliances", key ["tenant_id", "id"] {
        tenant_id: TenantId,
        id: ApplianceId,
        registered_at: Timestamp,
        last_check_in_at: Option<Timestamp>,
        revoked_at: Option<Timestamp>,
        registrations: u32,
        duplicate_seen_at: Option<Timestamp>,
    } and |appliance| {
        license_sub: Option<String> = terms(appliance).map(|it| it.sub.clone()),
        license_customer: Option<String> = terms(appliance).map(|it| it.customer.clone()),
        license_tier: Option<String> = terms(appliance).map(|it| it.tier.clone()),
        license_seats: Option<u32> = terms(appliance).and_then(|it| it.seats),
        license_expires_at: Option<Timestamp> = appliance.license.as_ref().map(|it| it.expires_at),
    } as {
        license: match (license_sub, license_customer, license_tier, license_expires_at) {
            (Some(sub), Some(customer), Some(tier), Some(expires_at)) => {
                let tenant_id = Some(tenant_id);
                let terms = LicenseTerms { sub, customer, tier, seats: license_seats, tenant_id };
                Some(IssuedLicense { terms, expires_at })
            }
            (None, None, None, None) => None,
            _ => return Err("the license of an appliance is incomplete".into()),
        },
    }
);

fn terms(appliance: &Appliance) -> Option<&LicenseTerms> {
    appliance.license.as_ref().map(|license| &license.terms)
}
