//! Constraints that the store enforces itself, even against a wrong decision, and the replay of
//! recorded responses.

use std::sync::Arc;

use chrono::TimeDelta;
use futures_util::future::join_all;
use registry_core::Refusal;
use registry_core::entitlement::Entitlement;
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

/// A tenant has at most one live install code. R-codes-7.
pub async fn tenant_has_one_live_code(store: Arc<dyn Store>) {
    let world = World::over(store.clone());
    let issued = world.register("Acme", "essentials").await;
    let mut code = store.tenant_show(issued.tenant_id).await.unwrap().unwrap().codes.remove(0);
    code.id = CodeId(world.registry.new_id());
    code.digest = CodeDigest { bytes: [1; 32], ..code.digest };
    let second = vec![Write::InsertCode(Box::new(code.clone()))];
    assert!(matches!(world.write(second.clone()).await, Err(StoreError::Corrupt(_))));
    let supersede = Write::SupersedeCodes { tenant: issued.tenant_id, at: world.now() };
    world.write([vec![supersede], second].concat()).await.unwrap();
}

/// A consumed code cannot be consumed again.
pub async fn code_is_consumed_once(store: Arc<dyn Store>) {
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

/// No two codes have the same digest.
pub async fn code_digests_are_unique(store: Arc<dyn Store>) {
    let world = World::over(store.clone());
    let (acme, bolt) =
        (world.register("Acme", "essentials").await, world.register("Bolt", "essentials").await);
    let mut code = store.tenant_show(acme.tenant_id).await.unwrap().unwrap().codes.remove(0);
    (code.id, code.tenant_id) = (CodeId(world.registry.new_id()), Some(bolt.tenant_id));
    let supersede = Write::SupersedeCodes { tenant: bolt.tenant_id, at: world.now() };
    let writes = vec![supersede, Write::InsertCode(Box::new(code))];
    assert!(matches!(world.write(writes).await, Err(StoreError::Corrupt(_))));
    world.redeem(&bolt.code, "a").await.unwrap();
}

/// Registers a tenant with a subscription. Returns a copy of its entitlement under another id.
async fn second_entitlement(world: &World) -> Entitlement {
    let mut new = World::new_tenant("Acme", "pro");
    new.subscription_id = Some("sub_1".to_owned());
    let issued = world.registry.tenant_register(new, actor()).await.unwrap();
    let record = world.ports.store.tenant_show(issued.tenant_id).await.unwrap().unwrap();
    Entitlement {
        id: EntitlementId(world.registry.new_id()),
        license_sub: "lic_2".to_owned(),
        ..record.entitlements[0].clone()
    }
}

fn insert(entitlement: Entitlement) -> Vec<Write> {
    vec![Write::InsertEntitlement(Box::new(entitlement))]
}

/// No two entitlements have the same subscription.
pub async fn subscription_has_one_entitlement(store: Arc<dyn Store>) {
    let world = World::over(store);
    let unbound = Entitlement { tenant_id: None, ..second_entitlement(&world).await };
    assert!(world.write(insert(unbound.clone())).await.is_err());
    let subscription = SubscriptionId::parse("sub_2").ok();
    world.write(insert(Entitlement { subscription, ..unbound })).await.unwrap();
}

/// A tenant has at most one active entitlement.
pub async fn tenant_has_one_active_entitlement(store: Arc<dyn Store>) {
    let world = World::over(store);
    let subscription = SubscriptionId::parse("sub_2").ok();
    let active = Entitlement { subscription, ..second_entitlement(&world).await };
    assert!(world.write(insert(active.clone())).await.is_err());
    let revoked_at = Some(world.now());
    world.write(insert(Entitlement { revoked_at, ..active })).await.unwrap();
}

/// No two releases of a channel have the same version.
pub async fn version_is_published_once(store: Arc<dyn Store>) {
    let world = World::over(store.clone());
    let mut release = world.publish("1.0", b"").await.unwrap();
    release.id = ReleaseId(world.registry.new_id());
    assert!(world.write(vec![Write::PutRelease(Box::new(release))]).await.is_err());
}

fn replay(world: &World, fingerprint: u8) -> Replay {
    let scope = "/register".to_owned();
    Replay { scope, key_digest: [1; 32], fingerprint: [fingerprint; 32], now: world.now() }
}

fn record(request: Replay) -> Write {
    let answer = Sealed { key_id: KeyId("k".to_owned()), bytes: b"the response".to_vec() };
    let expires_at = request.now + TimeDelta::hours(24);
    Write::PutReplay(Box::new(ReplayRecord { request, answer, expires_at }))
}

/// Runs a decision under a replay key.
async fn run(
    store: &Arc<dyn Store>,
    replay: Replay,
    decision: impl Fn() -> Decision<Redeemed> + Send + Sync + 'static,
) -> Outcome<Redeemed> {
    let key = RedeemKey { digests: vec![], tenant_id: None, appliance_id: appliance("a") };
    store.code_redeem(key, Some(replay), Arc::new(move |_: &RedeemFacts| decision())).await.unwrap()
}

fn recording(request: Replay) -> impl Fn() -> Decision<Redeemed> + Send + Sync + 'static {
    move || Decision::commit(vec![record(request.clone())], Err(Refusal::TenantRequired))
}

/// A request with the same key and fingerprint gets the recorded response, and is not decided
/// again. The same key with another fingerprint is refused. After the record has expired, the key
/// can be used again. R-idempotency-2, R-idempotency-3, R-idempotency-5.
pub async fn recorded_response_is_replayed_until_expiry(store: Arc<dyn Store>) {
    let world = World::over(store.clone());
    let first = run(&store, replay(&world, 7), recording(replay(&world, 7))).await;
    assert!(matches!(first, Outcome::Refused(Refusal::TenantRequired)));
    world.clock.advance(TimeDelta::hours(24) - TimeDelta::microseconds(1));
    let again = run(&store, replay(&world, 7), || panic!("decided again")).await;
    assert!(matches!(again, Outcome::Replayed(sealed) if sealed.bytes == b"the response"));
    let other = run(&store, replay(&world, 8), || panic!("decided again")).await;
    assert!(matches!(other, Outcome::Refused(Refusal::KeyReused)));
    let mut other_scope = replay(&world, 8);
    other_scope.scope = "/other".to_owned();
    assert!(matches!(run(&store, other_scope, abort).await, Outcome::Aborted(_)));
    world.clock.advance(TimeDelta::microseconds(1));
    let expired = run(&store, replay(&world, 8), recording(replay(&world, 8))).await;
    assert!(matches!(expired, Outcome::Refused(Refusal::TenantRequired)));
    let renewed = run(&store, replay(&world, 8), || panic!("decided again")).await;
    assert!(matches!(renewed, Outcome::Replayed(_)));
}

/// A record whose transaction was rolled back is not replayed. R-idempotency-6.
pub async fn rolled_back_response_is_not_recorded(store: Arc<dyn Store>) {
    let world = World::over(store.clone());
    let issued = world.register("Acme", "essentials").await;
    let code = store.tenant_show(issued.tenant_id).await.unwrap().unwrap().codes.remove(0);
    let broken = vec![record(replay(&world, 7)), Write::InsertCode(Box::new(code))];
    world.write(broken).await.unwrap_err();
    assert!(matches!(run(&store, replay(&world, 7), abort).await, Outcome::Aborted(_)));
}

/// Of concurrent requests with the same key, one is decided. The others wait and get its response.
/// R-idempotency-4.
pub async fn concurrent_requests_with_one_key_run_once(store: Arc<dyn Store>) {
    let world = World::over(store.clone());
    let requests = (0..16).map(|_| {
        let (store, request) = (store.clone(), replay(&world, 7));
        tokio::spawn(async move { run(&store, request.clone(), recording(request)).await })
    });
    let outcomes: Vec<_> = join_all(requests).await.into_iter().map(|it| it.unwrap()).collect();
    let decided = outcomes
        .iter()
        .filter(|it| matches!(it, Outcome::Refused(Refusal::TenantRequired)))
        .count();
    let replayed = outcomes.iter().filter(|it| matches!(it, Outcome::Replayed(_))).count();
    assert_eq!((decided, replayed), (1, 15));
}
