//! Check-ins.

use registry_core::results::CheckedIn;
use registry_core::secret::CredentialDigest;
use registry_core::store::CredentialFacts;
use registry_core::tenant::TenantStatus;

use super::{Kind, Lock, Root, TENANT, entitlements, found, optional};
use crate::lookup::{Join, Lookup, Rows};
use crate::table::{Part as _, Read};
use crate::tables::{ApplianceRow, CredentialRow, EntitlementRow, TenantRow};
use crate::value::{Value, ValueType};

/// A check-in with the credential that has this digest.
///
/// A check-in locks its appliance and not the tenant, so that a tenant's appliances can check in at
/// once. The tenant and its entitlement can change meanwhile: then the check-in took place before
/// that change. Every change that reads and writes an appliance holds its lock as well, and all
/// that clear its license wait for it.
pub struct CheckIn(pub CredentialDigest);

found!(FoundCredential = CredentialRow, ApplianceRow, TenantRow, Option<EntitlementRow>);

const APPLIANCE: Lock = Lock { alias: "appliances", id: "tenant_id" };

impl Kind for CheckIn {
    type Facts = Option<CredentialFacts>;
    type Output = CheckedIn;
    type Found = FoundCredential;
    const LOOKUP: Lookup = Lookup {
        keys: &[("digest", ValueType::Bytes)],
        joins: &[
            Join {
                table: "credentials",
                alias: "credentials",
                on: "credentials.digest = k.digest",
                rows: Rows::One,
            },
            Join {
                table: "tenants",
                alias: "tenants",
                on: "tenants.id = credentials.tenant_id",
                rows: Rows::One,
            },
            Join {
                table: "appliances",
                alias: "appliances",
                on: "appliances.tenant_id = credentials.tenant_id \
                     AND appliances.id = credentials.appliance_id",
                rows: Rows::One,
            },
            entitlements::ACTIVE,
        ],
    };
    const BATCH_LOCKS: &'static [Lock] = &[APPLIANCE];
    const ALONE_LOCKS: &'static [Lock] = &[TENANT, APPLIANCE];

    fn columns() -> String {
        [
            CredentialRow::columns("credentials"),
            ApplianceRow::columns("appliances"),
            TenantRow::columns("tenants"),
            EntitlementRow::columns("active"),
        ]
        .join(", ")
    }

    fn keys(&self) -> Vec<Vec<Value>> {
        vec![vec![self.0.0.into()]]
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
