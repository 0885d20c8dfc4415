//! Rules that a row can hold are held by the store itself, whatever a decision says; and recorded
//! answers.

use std::sync::Arc;

use chrono::TimeDelta;
use futures_util::future::join_all;
use registry_core::Refusal;
use registry_core::id::{CodeId, EntitlementId, ReleaseId};
use registry_core::install_code::Consumption;
use registry_core::results::Redeemed;
use registry_core::secret::{CodeDigest, KeyId, Sealed};
use registry_core::store::{
    Decision, Outcome, RedeemFacts, RedeemKey, Replay, ReplayRecord, Store, StoreError, Write,
};
use registry_core::text::SubscriptionId;

use super::{abort, appliance};
use crate::World;
use crate::world::actor;

/// One live code a tenant.
pub async fn a_tenant_has_one_live_code(store: Arc<dyn Store>) {
    let world = World::over(store.clone());
    let issued = world.register("Acme", "essentials").await;
    let mut code = store.tenant_show(issued.tenant_id).await.unwrap().unwrap().codes.remove(0);
    code.id = CodeId(world.registry.draw_id());
    code.digest = CodeDigest { bytes: [1; 32], ..code.digest };
    let second = vec![Write::InsertCode(Box::new(code.clone()))];
    assert!(matches!(world.write(second.clone()).await, Err(StoreError::Corrupt(_))));
    let supersede = Write::SupersedeCodes { tenant: issued.tenant_id, at: world.now() };
    world.write([vec![supersede], second].concat()).await.unwrap();
}

/// One consumption a code.
pub async fn a_code_is_consumed_once(store: Arc<dyn Store>) {
    let world = World::over(store.clone());
    let issued = world.register("Acme", "essentials").await;
    let code = store.tenant_show(issued.tenant_id).await.unwrap().unwrap().codes.remove(0).id;
    let consume = |by| {
        let consumption = Consumption { at: world.now(), by: appliance(by) };
        vec![Write::ConsumeCode { code, consumption, tenant: issued.tenant_id }]
    };
    world.write(consume("a")).await.unwrap();
    assert!(matches!(world.write(consume("b")).await, Err(StoreError::Corrupt(_))));
    let record = store.tenant_show(issued.tenant_id).await.unwrap().unwrap();
    assert_eq!(record.codes[0].consumed.as_ref().unwrap().by.as_str(), "a");
}

/// No two codes with one digest.
pub async fn code_digests_are_unique(store: Arc<dyn Store>) {
    let world = World::over(store.clone());
    let (acme, bolt) =
        (world.register("Acme", "essentials").await, world.register("Bolt", "essentials").await);
    let mut code = store.tenant_show(acme.tenant_id).await.unwrap().unwrap().codes.remove(0);
    (code.id, code.tenant_id) = (CodeId(world.registry.draw_id()), Some(bolt.tenant_id));
    let supersede = Write::SupersedeCodes { tenant: bolt.tenant_id, at: world.now() };
    let writes = vec![supersede, Write::InsertCode(Box::new(code))];
    assert!(matches!(world.write(writes).await, Err(StoreError::Corrupt(_))));
    world.redeem(&bolt.code, "a").await.unwrap();
}

/// Entitlements.
pub async fn a_tenant_has_one_active_entitlement_and_a_subscription_one_entitlement(
    store: Arc<dyn Store>,
) {
    let world = World::over(store.clone());
    let mut new = World::new_tenant("Acme", "pro");
    new.stripe_sub_id = Some("sub_1".to_owned());
    let issued = world.registry.tenant_register(new, actor()).await.unwrap();
    let first = store.tenant_show(issued.tenant_id).await.unwrap().unwrap().entitlements.remove(0);
    let mut second = first.clone();
    second.id = EntitlementId(world.registry.draw_id());
    second.license_sub = "lic_2".to_owned();
    let put = |entitlement: &registry_core::entitlement::Entitlement| {
        vec![Write::PutEntitlement(Box::new(entitlement.clone()))]
    };
    second.tenant_id = None;
    assert!(world.write(put(&second)).await.is_err(), "the subscription is taken");
    (second.tenant_id, second.subscription) =
        (first.tenant_id, SubscriptionId::parse("sub_2").ok());
    assert!(world.write(put(&second)).await.is_err(), "the tenant has an active one");
    second.revoked_at = Some(world.now());
    world.write(put(&second)).await.unwrap();
}

/// Releases.
pub async fn a_version_is_published_once(store: Arc<dyn Store>) {
    let world = World::over(store.clone());
    let mut release = world.publish("1.0", b"").await.unwrap();
    release.id = ReleaseId(world.registry.draw_id());
    assert!(world.write(vec![Write::PutRelease(Box::new(release))]).await.is_err());
}

fn replay(world: &World, fingerprint: u8) -> Replay {
    let scope = "/register".to_owned();
    Replay { scope, key_digest: [1; 32], fingerprint: [fingerprint; 32], now: world.now() }
}

fn record(request: Replay) -> Write {
    let answer = Sealed { key_id: KeyId("k".to_owned()), bytes: b"the answer".to_vec() };
    let expires_at = request.now + TimeDelta::hours(24);
    Write::PutReplay(Box::new(ReplayRecord { request, answer, expires_at }))
}

async fn ask(
    store: &Arc<dyn Store>,
    replay: Replay,
    decision: impl Fn() -> Decision<Redeemed> + Send + Sync + 'static,
) -> Outcome<Redeemed> {
    let key = RedeemKey { digests: vec![], tenant_id: None, appliance_id: appliance("a") };
    store.code_redeem(key, Some(replay), Arc::new(move |_: &RedeemFacts| decision())).await.unwrap()
}

fn recording(request: Replay) -> impl Fn() -> Decision<Redeemed> + Send + Sync + 'static {
    move || Decision::Commit {
        writes: vec![record(request.clone())],
        outcome: Err(Refusal::TenantRequired),
    }
}

/// The same key and request is answered from the record, another request is refused, and after its
/// time it is new.
pub async fn a_recorded_answer_is_replayed_until_it_ends(store: Arc<dyn Store>) {
    let world = World::over(store.clone());
    let first = ask(&store, replay(&world, 7), recording(replay(&world, 7))).await;
    assert!(matches!(first, Outcome::Refused(Refusal::TenantRequired)));
    world.clock.advance(TimeDelta::hours(24) - TimeDelta::microseconds(1));
    let again = ask(&store, replay(&world, 7), || panic!("decided again")).await;
    assert!(matches!(again, Outcome::Replayed(sealed) if sealed.bytes == b"the answer"));
    let other = ask(&store, replay(&world, 8), || panic!("decided again")).await;
    assert!(matches!(other, Outcome::Refused(Refusal::KeyReused)));
    let mut elsewhere = replay(&world, 8);
    elsewhere.scope = "/elsewhere".to_owned();
    assert!(matches!(ask(&store, elsewhere, abort).await, Outcome::Aborted(_)));
    world.clock.advance(TimeDelta::microseconds(1));
    let ended = ask(&store, replay(&world, 8), recording(replay(&world, 8))).await;
    assert!(matches!(ended, Outcome::Refused(Refusal::TenantRequired)));
    let renewed = ask(&store, replay(&world, 8), || panic!("decided again")).await;
    assert!(matches!(renewed, Outcome::Replayed(_)));
}

/// What was not committed is not replayed.
pub async fn a_recorded_answer_exists_exactly_when_its_effects_do(store: Arc<dyn Store>) {
    let world = World::over(store.clone());
    let issued = world.register("Acme", "essentials").await;
    let code = store.tenant_show(issued.tenant_id).await.unwrap().unwrap().codes.remove(0);
    let broken = vec![record(replay(&world, 7)), Write::InsertCode(Box::new(code))];
    world.write(broken).await.unwrap_err();
    assert!(matches!(ask(&store, replay(&world, 7), abort).await, Outcome::Aborted(_)));
}

/// Of many with one key, one is decided.
pub async fn twins_in_flight_are_one(store: Arc<dyn Store>) {
    let world = World::over(store.clone());
    let twins = (0..16).map(|_| {
        let (store, request) = (store.clone(), replay(&world, 7));
        tokio::spawn(async move { ask(&store, request.clone(), recording(request)).await })
    });
    let outcomes: Vec<_> = join_all(twins).await.into_iter().map(|it| it.unwrap()).collect();
    let decided = outcomes
        .iter()
        .filter(|it| matches!(it, Outcome::Refused(Refusal::TenantRequired)))
        .count();
    let replayed = outcomes.iter().filter(|it| matches!(it, Outcome::Replayed(_))).count();
    assert_eq!((decided, replayed), (1, 15));
}
