//! Entitlements: what a customer paid for.

use registry_core::edition::EditionName;
use registry_core::entitlement::Entitlement;
use registry_core::store::StoreError;
use registry_core::text::{CompanyName, SubscriptionId};

use crate::table::{Read, number, table};
use crate::types::{SqlId, SqlTime};

table!(
    /// A row of `entitlements`.
    EntitlementRow of "entitlements", key ["id"] {
        id: SqlId,
        tenant_id: Option<SqlId>,
        subscription: Option<String>,
        customer: String,
        edition: String,
        seats: Option<i32>,
        license_sub: String,
        created_at: SqlTime,
        revoked_at: Option<SqlTime>,
    }
);

impl TryFrom<&Entitlement> for EntitlementRow {
    type Error = StoreError;

    fn try_from(entitlement: &Entitlement) -> Read<Self> {
        Ok(Self {
            id: entitlement.id.into(),
            tenant_id: entitlement.tenant_id.map(Into::into),
            subscription: entitlement.subscription.as_ref().map(SubscriptionId::to_string),
            customer: entitlement.customer.to_string(),
            edition: entitlement.edition.to_string(),
            seats: entitlement.seats.map(number).transpose()?,
            license_sub: entitlement.license_sub.clone(),
            created_at: entitlement.created_at.into(),
            revoked_at: entitlement.revoked_at.map(Into::into),
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
            created_at: row.created_at.into(),
            revoked_at: row.revoked_at.map(Into::into),
        })
    }
}
