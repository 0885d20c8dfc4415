//! Registrations, and grants and changes of entitlements.

use registry_core::entitlement::Entitlement;
use registry_core::results::{EntitlementChanged, Issued};
use registry_core::store::{EntitlementFacts, EntitlementKey, EntitlementSelector};
use registry_core::tenant::Tenant;
use registry_core::text::SubscriptionId;

use super::{Kind, Lock, Root, TENANT, found};
use crate::lookup::{Join, Lookup};
use crate::value::{Value, ValueType};

/// The active entitlement of the tenant. A tenant has at most one.
pub(super) const ACTIVE: Join =
    Join::optional("entitlements", "active.tenant_id = tenants.id AND active.revoked_at IS NULL")
        .named("active");

/// The tenant, then the entitlement, which may not be bound to the tenant.
pub(super) const LOCKS: &[Lock] = &[TENANT, Lock { alias: "entitlements", id: "id" }];

/// Returns the tenant, and the entitlement unless it is bound to the tenant.
pub(super) fn roots(tenant: Option<&Tenant>, entitlement: Option<&Entitlement>) -> Vec<Root> {
    let owner = tenant.map(|it| it.id);
    let unbound = entitlement.filter(|it| it.tenant_id.is_none() || it.tenant_id != owner);
    let tenant = owner.map(|id| Root::new("tenants", id));
    tenant.into_iter().chain(unbound.map(|it| Root::new("entitlements", it.id))).collect()
}

found!(FoundEntitlement {
    entitlements: Option<Entitlement>,
    tenants: Option<Tenant>,
    active: Option<Entitlement>,
});

impl FoundEntitlement {
    fn facts(mut found: Vec<Self>) -> EntitlementFacts {
        found.pop().map_or_else(EntitlementFacts::default, |it| EntitlementFacts {
            entitlement: it.entitlements,
            tenant: it.tenants,
            tenant_entitlement: it.active,
        })
    }
}

/// A registration, with the subscription that it names.
pub struct Register(pub Option<SubscriptionId>);

impl Kind for Register {
    type Facts = EntitlementFacts;
    type Output = Issued;
    type Found = FoundEntitlement;
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
            ACTIVE,
        ],
    };
    const BATCH_LOCKS: &'static [Lock] = &[TENANT];
    const ALONE_LOCKS: &'static [Lock] = LOCKS;

    fn keys(&self) -> Vec<Vec<Value>> {
        self.0.iter().map(|subscription| vec![subscription.as_str().into()]).collect()
    }

    fn facts(&self, found: Vec<FoundEntitlement>) -> EntitlementFacts {
        FoundEntitlement::facts(found)
    }

    fn roots(&self, facts: &EntitlementFacts) -> Vec<Root> {
        roots(facts.tenant.as_ref(), facts.entitlement.as_ref())
    }

    fn known_roots(&self) -> Vec<String> {
        self.0.iter().map(|subscription| format!("subscription {subscription}")).collect()
    }
}

impl Kind for EntitlementKey {
    type Facts = EntitlementFacts;
    type Output = EntitlementChanged;
    type Found = FoundEntitlement;
    const LOOKUP: Lookup = Lookup {
        keys: &[
            ("id", ValueType::Id),
            ("subscription", ValueType::Text),
            ("tenant_id", ValueType::Id),
        ],
        joins: &[
            Join::optional(
                "entitlements",
                "entitlements.id = coalesce(k.id, (SELECT granted.id \
                     FROM entitlements AS granted WHERE granted.subscription = k.subscription))",
            ),
            Join::optional("tenants", "tenants.id = coalesce(entitlements.tenant_id, k.tenant_id)"),
            ACTIVE,
        ],
    };
    const BATCH_LOCKS: &'static [Lock] = LOCKS;

    fn keys(&self) -> Vec<Vec<Value>> {
        let (id, subscription) = match &self.selector {
            EntitlementSelector::Id(id) => (Some(*id), None),
            EntitlementSelector::Subscription(it) => (None, Some(it.as_str().to_owned())),
        };
        vec![vec![id.into(), subscription.into(), self.tenant_id.into()]]
    }

    fn facts(&self, found: Vec<FoundEntitlement>) -> EntitlementFacts {
        FoundEntitlement::facts(found)
    }

    fn roots(&self, facts: &EntitlementFacts) -> Vec<Root> {
        roots(facts.tenant.as_ref(), facts.entitlement.as_ref())
    }

    fn known_roots(&self) -> Vec<String> {
        let selected = match &self.selector {
            EntitlementSelector::Id(id) => Root::new("entitlements", *id).to_string(),
            EntitlementSelector::Subscription(it) => format!("subscription {it}"),
        };
        let tenant = self.tenant_id.map(|id| Root::new("tenants", id).to_string());
        std::iter::once(selected).chain(tenant).collect()
    }
}
