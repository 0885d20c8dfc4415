//! Redemptions and re-issues.

use std::cmp::Reverse;

use registry_core::appliance::Appliance;
use registry_core::entitlement::Entitlement;
use registry_core::entropy;
use registry_core::id::TenantId;
use registry_core::install_code::InstallCode;
use registry_core::results::{Issued, Redeemed};
use registry_core::store::{RedeemFacts, RedeemKey, ReissueFacts};
use registry_core::tenant::Tenant;
use registry_core::text::EmailAddress;

use super::{Kind, Lock, Root, TENANT, entitlements, found};
use crate::lookup::{Join, Lookup, Rows};
use crate::value::{Value, ValueType};

found!(FoundCode { install_codes: InstallCode, entitlements: Option<Entitlement>, tenants: Option<Tenant>, active: Option<Entitlement>, appliances: Option<Appliance> });

impl Kind for RedeemKey {
    type Facts = RedeemFacts;
    type Output = Redeemed;
    type Found = FoundCode;
    const LOOKUP: Lookup = Lookup {
        keys: &[
            ("digest", ValueType::Bytes),
            ("key_id", ValueType::Text),
            ("tenant_id", ValueType::Id),
            ("appliance", ValueType::Text),
        ],
        joins: &[
            Join::one(
                "install_codes",
                "install_codes.digest = k.digest AND install_codes.digest_key_id = k.key_id",
            ),
            Join::optional("entitlements", "entitlements.id = install_codes.entitlement_id"),
            Join::optional(
                "tenants",
                "tenants.id = \
                     coalesce(install_codes.tenant_id, entitlements.tenant_id, k.tenant_id)",
            ),
            entitlements::ACTIVE,
            Join::optional(
                "appliances",
                "appliances.tenant_id = tenants.id AND appliances.id = k.appliance",
            ),
        ],
    };
    const BATCH_LOCKS: &'static [Lock] = &[TENANT];
    const ALONE_LOCKS: &'static [Lock] = entitlements::LOCKS;

    fn keys(&self) -> Vec<Vec<Value>> {
        let key = |digest: &registry_core::secret::CodeDigest| {
            vec![
                digest.bytes.into(),
                digest.key_id.0.as_str().into(),
                self.tenant_id.into(),
                self.appliance_id.as_str().into(),
            ]
        };
        self.digests.iter().map(key).collect()
    }

    fn facts(&self, mut found: Vec<FoundCode>) -> RedeemFacts {
        found.pop().map_or_else(RedeemFacts::default, |it| RedeemFacts {
            code: Some(it.install_codes),
            tenant: it.tenants,
            entitlement: it.entitlements,
            tenant_entitlement: it.active,
            appliance: it.appliances,
        })
    }

    fn roots(&self, facts: &RedeemFacts) -> Vec<Root> {
        entitlements::roots(facts.tenant.as_ref(), facts.entitlement.as_ref())
    }

    fn known_roots(&self) -> Vec<String> {
        let code = self.digests.first().map(|it| format!("code {}", entropy::hex(&it.bytes)));
        let tenant = self.tenant_id.map(|id| Root::new("tenants", id).to_string());
        code.into_iter().chain(tenant).collect()
    }
}

/// A re-issue to the tenant with this id.
pub struct ReissueById(pub TenantId);

/// A re-issue to the tenant with this contact that is preferred.
pub struct ReissueByContact(pub EmailAddress);

found!(FoundOwner { tenants: Tenant, active: Option<Entitlement> });

impl FoundOwner {
    /// Returns the tenants, the preferred one first, and its entitlement.
    fn facts(mut found: Vec<Self>) -> ReissueFacts {
        found.sort_by_key(|it| Reverse(it.tenants.preference(it.active.is_some())));
        let entitlement = found.first().and_then(|it| it.active.clone());
        ReissueFacts { tenants: found.into_iter().map(|it| it.tenants).collect(), entitlement }
    }
}

fn owner_roots(facts: &ReissueFacts) -> Vec<Root> {
    facts.tenants.first().map(|tenant| Root::new("tenants", tenant.id)).into_iter().collect()
}

impl Kind for ReissueById {
    type Facts = ReissueFacts;
    type Output = Issued;
    type Found = FoundOwner;
    const LOOKUP: Lookup = Lookup {
        keys: &[("id", ValueType::Id)],
        joins: &[Join::one("tenants", "tenants.id = k.id"), entitlements::ACTIVE],
    };
    const BATCH_LOCKS: &'static [Lock] = &[TENANT];

    fn keys(&self) -> Vec<Vec<Value>> {
        vec![vec![self.0.into()]]
    }

    fn facts(&self, found: Vec<Self::Found>) -> ReissueFacts {
        FoundOwner::facts(found)
    }

    fn roots(&self, facts: &ReissueFacts) -> Vec<Root> {
        owner_roots(facts)
    }
}

impl Kind for ReissueByContact {
    type Facts = ReissueFacts;
    type Output = Issued;
    type Found = FoundOwner;
    const LOOKUP: Lookup = Lookup {
        keys: &[("contact", ValueType::Text)],
        joins: &[
            Join::new(
                "tenants",
                "tenants.contact_email_folded = k.contact AND tenants.status <> 'cancelled'",
                Rows::First(
                    2,
                    "(tenants.installed_at IS NOT NULL OR EXISTS ( \
                         SELECT 1 FROM entitlements AS paid \
                         WHERE paid.tenant_id = tenants.id AND paid.revoked_at IS NULL)) DESC, \
                     tenants.registered_at DESC, tenants.id DESC",
                ),
            ),
            entitlements::ACTIVE,
        ],
    };
    const BATCH_LOCKS: &'static [Lock] = &[TENANT];

    fn keys(&self) -> Vec<Vec<Value>> {
        vec![vec![self.0.folded().into()]]
    }

    fn facts(&self, found: Vec<Self::Found>) -> ReissueFacts {
        FoundOwner::facts(found)
    }

    fn roots(&self, facts: &ReissueFacts) -> Vec<Root> {
        owner_roots(facts)
    }
}
