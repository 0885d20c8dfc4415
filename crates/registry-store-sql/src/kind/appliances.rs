//! Check-ins.

use registry_core::appliance::{Appliance, Credential};
use registry_core::clock::Timestamp;
use registry_core::entitlement::Entitlement;
use registry_core::results::CheckedIn;
use registry_core::secret::CredentialDigest;
use registry_core::store::CredentialFacts;
use registry_core::tenant::{Tenant, TenantStatus};

use super::{Kind, Lock, Root, TENANT, entitlements, found};
use crate::lookup::{Join, Lookup};
use crate::statement::Statement;
use crate::table::Table as _;
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

found!(FoundCredential { credentials: Credential, appliances: Appliance, tenants: Tenant, active: Option<Entitlement> });

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

    fn facts(&self, mut found: Vec<FoundCredential>) -> Option<CredentialFacts> {
        found.pop().map(|it| CredentialFacts {
            credential: it.credentials,
            appliance: it.appliances,
            tenant: it.tenants,
            entitlement: it.active,
        })
    }

    const WRITES_EARLY: bool = true;

    fn early(keys: &[Vec<Value>]) -> Statement<Self::Found> {
        let set = "last_check_in_at = CASE WHEN appliances.last_check_in_at > k.at \
                   THEN appliances.last_check_in_at ELSE k.at END";
        Self::LOOKUP.update(Appliance::TABLE, set, keys, &FoundCredential::columns())
    }

    /// The first check-in after an installation changes the tenant, so it locks the tenant as well.
    fn roots(&self, facts: &Option<CredentialFacts>) -> Vec<Root> {
        let Some(facts) = facts else { return Vec::new() };
        let changes_tenant = facts.tenant.status == TenantStatus::Installed;
        let tenant = changes_tenant.then(|| Root::new("tenants", facts.tenant.id));
        tenant.into_iter().chain([Root::of_appliance(&facts.appliance)]).collect()
    }
}
