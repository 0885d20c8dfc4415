//! Rules of registration ("POST /register-tenant" in the wire contract).

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use chrono::TimeDelta;
use registry_core::Error;
use registry_core::registry::entitlements::EntitlementEdit;
use registry_core::results::Issued;
use registry_core::store::{EntitlementSelector, Write};
use registry_core::text::SubscriptionId;
use registry_testkit::{World, actor};

async fn register(world: &World, edition: &str, subscription: &str) -> Result<Issued, Error> {
    let mut new = World::new_tenant("Acme", edition);
    new.subscription_id = Some(subscription.to_owned());
    world.clock.advance(TimeDelta::seconds(1));
    world.registry.tenant_register(new, actor()).await
}

/// Creates an entitlement of this subscription that is not bound to a tenant.
async fn unbound_entitlement(world: &World, subscription: &str, revoked: bool) {
    let (_, id) = world.activation_code(None).await;
    let selector = EntitlementSelector::Id(id);
    let mut entitlement = world
        .registry
        .entitlement_edit(selector, EntitlementEdit::Revoke, None, actor())
        .await
        .unwrap();
    entitlement.subscription = Some(SubscriptionId::parse(subscription).unwrap());
    entitlement.revoked_at = revoked.then(|| world.now());
    world.write(vec![Write::UpdateEntitlement(Box::new(entitlement))]).await.unwrap();
}

/// R-register-tenant-7.
#[tokio::test]
async fn existing_entitlement_is_bound() {
    let world = World::in_memory();
    unbound_entitlement(&world, "sub_1", false).await;
    let issued = register(&world, "pro", "sub_1").await.unwrap();
    let record = world.ports.store.tenant_show(issued.tenant_id).await.unwrap().unwrap();
    assert_eq!((record.entitlements.len(), record.entitlements[0].seats), (1, Some(5)));
    assert!(world.redeem(&issued.code, "a").await.unwrap().licensed.is_some());
}

/// R-register-tenant-13.
#[tokio::test]
async fn revoked_entitlement_is_not_bound() {
    let world = World::in_memory();
    unbound_entitlement(&world, "sub_1", true).await;
    let issued = register(&world, "pro", "sub_1").await.unwrap();
    assert!(world.redeem(&issued.code, "a").await.unwrap().licensed.is_none());
}

/// R-register-tenant-4, R-register-tenant-5.
#[tokio::test]
async fn paid_registration_upgrades_a_free_tenant() {
    let world = World::in_memory();
    let free = register(&world, "essentials", "sub_1").await.unwrap();
    let paid = register(&world, "pro", "sub_1").await.unwrap();
    assert_eq!(free.tenant_id, paid.tenant_id);
    let shown = world.registry.tenant_show(paid.tenant_id).await.unwrap();
    assert_eq!(shown.record.tenant.edition.as_str(), "pro");
    assert!(world.redeem(&paid.code, "a").await.unwrap().licensed.is_some());
}

#[tokio::test]
async fn entitled_tenant_gets_no_second_entitlement() {
    let world = World::in_memory();
    let free = register(&world, "essentials", "sub_1").await.unwrap();
    world.activation_code(Some(free.tenant_id)).await;
    let again = register(&world, "pro", "sub_1").await.unwrap();
    let record = world.ports.store.tenant_show(again.tenant_id).await.unwrap().unwrap();
    assert_eq!((again.tenant_id, record.entitlements.len()), (free.tenant_id, 1));
    assert!(world.redeem(&again.code, "a").await.unwrap().licensed.is_some());
}
