//! Appliances, with the terms of the license that each one has.

use registry_core::appliance::{Appliance, IssuedLicense};
use registry_core::license::LicenseTerms;
use registry_core::store::StoreError;
use registry_core::text::ApplianceId;

use crate::table::{Read, corrupt, number, table};
use crate::types::{SqlId, SqlTime};

table!(
    /// A row of `appliances`.
    ApplianceRow of "appliances", key ["tenant_id", "id"] {
        tenant_id: SqlId,
        id: String,
        registered_at: SqlTime,
        last_check_in_at: Option<SqlTime>,
        revoked_at: Option<SqlTime>,
        license_sub: Option<String>,
        license_customer: Option<String>,
        license_tier: Option<String>,
        license_seats: Option<i32>,
        license_expires_at: Option<SqlTime>,
    }
);

impl TryFrom<&Appliance> for ApplianceRow {
    type Error = StoreError;

    fn try_from(appliance: &Appliance) -> Read<Self> {
        let license = appliance.license.as_ref();
        let terms = license.map(|license| &license.terms);
        Ok(Self {
            tenant_id: appliance.tenant_id.into(),
            id: appliance.id.to_string(),
            registered_at: appliance.registered_at.into(),
            last_check_in_at: appliance.last_check_in_at.map(Into::into),
            revoked_at: appliance.revoked_at.map(Into::into),
            license_sub: terms.map(|terms| terms.sub.clone()),
            license_customer: terms.map(|terms| terms.customer.clone()),
            license_tier: terms.map(|terms| terms.tier.clone()),
            license_seats: terms.and_then(|terms| terms.seats).map(number).transpose()?,
            license_expires_at: license.map(|license| license.expires_at.into()),
        })
    }
}

impl TryFrom<ApplianceRow> for Appliance {
    type Error = StoreError;

    fn try_from(row: ApplianceRow) -> Read<Self> {
        let tenant_id = row.tenant_id.into();
        let license =
            match (row.license_sub, row.license_customer, row.license_tier, row.license_expires_at)
            {
                (Some(sub), Some(customer), Some(tier), Some(expires_at)) => {
                    let seats = row.license_seats.map(number).transpose()?;
                    let terms =
                        LicenseTerms { sub, customer, tier, seats, tenant_id: Some(tenant_id) };
                    Some(IssuedLicense { terms, expires_at: expires_at.into() })
                }
                (None, None, None, None) => None,
                _ => return Err(corrupt("license")),
            };
        Ok(Self {
            tenant_id,
            id: ApplianceId::from_stored(row.id),
            registered_at: row.registered_at.into(),
            last_check_in_at: row.last_check_in_at.map(Into::into),
            revoked_at: row.revoked_at.map(Into::into),
            license,
        })
    }
}
