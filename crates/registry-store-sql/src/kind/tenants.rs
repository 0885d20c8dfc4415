//! Operators' changes of a tenant.

use registry_core::appliance::Appliance;
use registry_core::store::{TenantFacts, TenantKey};
use registry_core::tenant::Tenant;

use super::{Kind, Lock, Root, TENANT, found};
use crate::lookup::{Join, Lookup};
use crate::value::{Value, ValueType};

found!(FoundTenant { tenants: Tenant, appliances: Option<Appliance> });

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

    fn facts(&self, mut found: Vec<FoundTenant>) -> TenantFacts {
        found.pop().map_or_else(TenantFacts::default, |it| TenantFacts {
            tenant: Some(it.tenants),
            appliance: it.appliances,
        })
    }

    fn roots(&self, facts: &TenantFacts) -> Vec<Root> {
        let tenant = facts.tenant.as_ref().map(|it| Root::new("tenants", it.id));
        tenant.into_iter().chain(facts.appliance.as_ref().map(Root::of_appliance)).collect()
    }
}
