//! Registrations, and operators' changes of a tenant.

use registry_core::results::Issued;
use registry_core::store::{RegisterFacts, TenantFacts, TenantKey};
use registry_core::tenant::Tenant;
use registry_core::text::SubscriptionId;

use super::{Kind, Lock, Root, TENANT, entitlements, found, optional};
use crate::lookup::{Join, Lookup};
use crate::table::Read;
use crate::tables::{ApplianceRow, TenantRow};
use crate::value::{Value, ValueType};

/// A registration, with the subscription that it names.
pub struct Register(pub Option<SubscriptionId>);

impl Kind for Register {
    type Facts = RegisterFacts;
    type Output = Issued;
    type Found = entitlements::FoundEntitlement;
    const LOOKUP: Lookup = Lookup {
        keys: &[("subscription", ValueType::Text)],
        joins: &[
            Join::optional("entitlements", "entitlements.subscription = k.subscription"),
            Join::optional(
                "tenants",
                "tenants.id = coalesce(entitlements.tenant_id, (SELECT registered.id \
                     FROM tenants AS registered \
                     WHERE registered.subscription = k.subscription))",
            ),
            entitlements::ACTIVE,
        ],
    };
    const BATCH_LOCKS: &'static [Lock] = &[TENANT];
    const ALONE_LOCKS: &'static [Lock] = entitlements::LOCKS;

    fn keys(&self) -> Vec<Vec<Value>> {
        self.0.iter().map(|subscription| vec![subscription.as_str().into()]).collect()
    }

    fn facts(&self, found: Vec<Self::Found>) -> Read<RegisterFacts> {
        let Some((_, entitlement, tenant, active)) = found.into_iter().next() else {
            return Ok(RegisterFacts::default());
        };
        Ok(RegisterFacts {
            tenant: optional(tenant)?,
            entitlement: optional(entitlement)?,
            tenant_entitlement: optional(active)?,
        })
    }

    fn roots(&self, facts: &RegisterFacts) -> Vec<Root> {
        entitlements::roots(facts.tenant.as_ref(), facts.entitlement.as_ref())
    }

    fn known_roots(&self) -> Vec<String> {
        self.0.iter().map(|subscription| format!("subscription {subscription}")).collect()
    }
}

found!(FoundTenant = "tenants": TenantRow, "appliances": Option<ApplianceRow>);

impl Kind for TenantKey {
    type Facts = TenantFacts;
    type Output = Tenant;
    type Found = FoundTenant;
    const LOOKUP: Lookup = Lookup {
        keys: &[("id", ValueType::Id), ("appliance", ValueType::Text)],
        joins: &[
            Join::one("tenants", "tenants.id = k.id"),
            Join::optional(
                "appliances",
                "appliances.tenant_id = k.id AND appliances.id = k.appliance",
            ),
        ],
    };
    const BATCH_LOCKS: &'static [Lock] = &[TENANT, Lock { alias: "appliances", id: "tenant_id" }];

    fn keys(&self) -> Vec<Vec<Value>> {
        let appliance = self.appliance.as_ref().map(|id| id.as_str().to_owned());
        vec![vec![self.id.into(), appliance.into()]]
    }

    fn facts(&self, found: Vec<Self::Found>) -> Read<TenantFacts> {
        let Some((_, tenant, appliance)) = found.into_iter().next() else {
            return Ok(TenantFacts::default());
        };
        Ok(TenantFacts { tenant: Some(tenant.try_into()?), appliance: optional(appliance)? })
    }

    fn roots(&self, facts: &TenantFacts) -> Vec<Root> {
        let tenant = facts.tenant.as_ref().map(|it| Root::new("tenants", it.id));
        let appliance = facts
            .appliance
            .as_ref()
            .map(|it| Root { detail: it.id.to_string(), ..Root::new("appliances", it.tenant_id) });
        tenant.into_iter().chain(appliance).collect()
    }
}
