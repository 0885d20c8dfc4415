//! The entitlement: what a customer has paid for.

use crate::clock::Timestamp;
use crate::edition::EditionName;
use crate::id::{EntitlementId, TenantId};
use crate::text::{CompanyName, SubscriptionId};

/// A right to a paid edition. A tenant has at most one active one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entitlement {
    /// Its id.
    pub id: EntitlementId,
    /// Whom it is bound to; an unbound one is bound by its activation code.
    pub tenant_id: Option<TenantId>,
    /// The subscription behind it; an operator's sale has none.
    pub subscription: Option<SubscriptionId>,
    /// The customer that licenses name.
    pub customer: CompanyName,
    /// The paid edition.
    pub edition: EditionName,
    /// How many seats; `None` is unlimited.
    pub seats: Option<u32>,
    /// The `sub` of its licenses, the same over all renewals.
    pub license_sub: String,
    /// When it was granted.
    pub created_at: Timestamp,
    /// When it was revoked, if it is.
    pub revoked_at: Option<Timestamp>,
}

impl Entitlement {
    /// Whether it holds now.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.revoked_at.is_none()
    }
}

/// The entitlement that speaks for a tenant: the active one, else the newest.
#[must_use]
pub fn current(entitlements: &[Entitlement]) -> Option<&Entitlement> {
    entitlements
        .iter()
        .max_by_key(|entitlement| (entitlement.is_active(), entitlement.created_at, entitlement.id))
}
