//! Check-ins.

use registry_core::clock::Timestamp;
use registry_core::results::CheckedIn;
use registry_core::secret::CredentialDigest;
use registry_core::store::CredentialFacts;
use registry_core::tenant::TenantStatus;

use super::{Found as _, Kind, Lock, Root, TENANT, entitlements, found, optional};
use crate::lookup::{Join, Lookup};
use crate::statement::Statement;
use crate::table::{Read, Row as _};
use crate::tables::{ApplianceRow, CredentialRow, EntitlementRow, TenantRow};
use crate::value::{Value, ValueType};

/// A check-in with the credential that has this digest.
///
/// A check-in locks its appliance and not the tenant, so that a tenant's appliances can check in at
/// once. The tenant and its entitlement can change meanwhile: then the check-in took place before
/// that change. All that write the appliance's license wait for the lock, and none of them changes
/// what else a check-in writes.
pub struct CheckIn {
    /// Digest of the credential.
    pub digest: CredentialDigest,
    /// Time of the check-in.
    pub at: Option<Timestamp>,
}

found!(
    FoundCredential =
        "credentials": CredentialRow,
        "appliances": ApplianceRow,
        "tenants": TenantRow,
        "active": Option<EntitlementRow>,
);

const APPLIANCE: Lock = Lock { alias: "appliances", id: "tenant_id" };

impl Kind for CheckIn {
    type Facts = Option<CredentialFacts>;
    type Output = CheckedIn;
    type Found = FoundCredential;
    const LOOKUP: Lookup = Lookup {
        keys: &[("digest", ValueType::Bytes), ("at", ValueType::Time)],
        joins: &[
            Join::one("credentials", "credentials.digest = k.digest"),
            Join::one("tenants", "tenants.id = credentials.tenant_id"),
            Join::one(
                "appliances",
                "appliances.tenant_id = credentials.tenant_id \
                     AND appliances.id = credentials.appliance_id",
            ),
            entitlements::ACTIVE,
        ],
    };
    const BATCH_LOCKS: &'static [Lock] = &[APPLIANCE];
    const ALONE_LOCKS: &'static [Lock] = &[TENANT, APPLIANCE];

    fn keys(&self) -> Vec<Vec<Value>> {
        vec![vec![self.digest.0.into(), self.at.into()]]
    }

    fn facts(&self, found: Vec<Self::Found>) -> Read<Option<CredentialFacts>> {
        let Some((_, credential, appliance, tenant, active)) = found.into_iter().next() else {
            return Ok(None);
        };
        Ok(Some(CredentialFacts {
            credential: credential.try_into()?,
            appliance: appliance.try_into()?,
            tenant: tenant.try_into()?,
            entitlement: optional(active)?,
        }))
    }

    const WRITES_EARLY: bool = true;

    fn early(keys: &[Vec<Value>]) -> Statement<Self::Found> {
        let set = "last_check_in_at = CASE WHEN appliances.last_check_in_at > k.at \
                   THEN appliances.last_check_in_at ELSE k.at END";
        Self::LOOKUP.update(ApplianceRow::TABLE, set, keys, &Self::Found::columns())
    }

    /// The first check-in after an installation changes the tenant, so it locks the tenant as well.
    fn roots(&self, facts: &Option<CredentialFacts>) -> Vec<Root> {
        let Some(facts) = facts else { return Vec::new() };
        let changes_tenant = facts.tenant.status == TenantStatus::Installed;
        let tenant = changes_tenant.then(|| Root::new("tenants", facts.tenant.id));
        let appliance = Root {
            detail: facts.appliance.id.to_string(),
            ..Root::new("appliances", facts.appliance.tenant_id)
        };
        tenant.into_iter().chain([appliance]).collect()
    }
}
