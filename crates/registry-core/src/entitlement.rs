//! The entitlement: the right to a paid edition.

use crate::clock::Timestamp;
use crate::edition::EditionName;
use crate::id::{EntitlementId, TenantId};
use crate::text::{CompanyName, SubscriptionId};

/// A right to a paid edition. A tenant has at most one active entitlement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entitlement {
    /// Id of the entitlement.
    pub id: EntitlementId,
    /// The tenant that the entitlement is bound to. The activation code binds an unbound one.
    pub tenant_id: Option<TenantId>,
    /// The subscription behind the entitlement; `None` for an operator's sale.
    pub subscription: Option<SubscriptionId>,
    /// The customer that licenses name.
    pub customer: CompanyName,
    /// The paid edition.
    pub edition: EditionName,
    /// Number of seats; `None` is unlimited.
    pub seats: Option<u32>,
    /// The `sub` of the licenses, the same for all renewals.
    pub license_sub: String,
    /// Time of the grant.
    pub created_at: Timestamp,
    /// Time of the revocation; `None` while the entitlement is active.
    pub revoked_at: Option<Timestamp>,
}

impl Entitlement {
    /// True if the entitlement was not revoked.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.revoked_at.is_none()
    }
}

/// Returns the entitlement that represents a tenant: the active one, or else the newest.
#[must_use]
pub fn current(entitlements: &[Entitlement]) -> Option<&Entitlement> {
    entitlements
        .iter()
        .max_by_key(|entitlement| (entitlement.is_active(), entitlement.created_at, entitlement.id))
}
