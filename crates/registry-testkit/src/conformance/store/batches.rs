//! Many requests at the same time. A store may let them share a transaction, and no caller notices.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use chrono::TimeDelta;
use futures_util::future::join_all;
use registry_core::appliance::Credential;
use registry_core::id::{CodeId, TenantId};
use registry_core::install_code::{CodeLength, CodeState, Consumption, InstallCode, PlainCode};
use registry_core::license::{SignedLicense, VerifyingKey};
use registry_core::rate_limit::Source;
use registry_core::registry::idempotency::IdempotencyKey;
use registry_core::registry::redeem::{Redeem, RedemptionChannel, Requester};
use registry_core::registry::register::NewTenant;
use registry_core::results::{Issued, Redeemed};
use registry_core::secret::{CredentialDigest, LicenseToken, TypedCode};
use registry_core::store::{
    DecideError, Decision, Outcome, RedeemFacts, RedeemKey, Store, StoreError, TenantQuery,
    TenantRecord, Write,
};
use registry_core::{Error, Refusal};
use tokio::task::{JoinError, JoinHandle};

use super::{abort, actions, appliance};
use crate::World;
use crate::world::actor;

/// Registers `count` tenants.
async fn register(world: &World, prefix: &str, edition: &str, count: usize) -> Vec<Issued> {
    let mut issued = Vec::new();
    for number in 0..count {
        issued.push(world.register(&format!("{prefix} {number}"), edition).await);
    }
    issued
}

/// Starts a redemption.
fn redeem(
    world: &Arc<World>,
    code: &PlainCode,
    appliance: &'static str,
) -> JoinHandle<Result<Redeemed, Error>> {
    let (world, code) = (world.clone(), code.clone());
    tokio::spawn(async move { world.redeem(&code, appliance).await })
}

async fn show(store: &Arc<dyn Store>, tenant: TenantId) -> TenantRecord {
    store.tenant_show(tenant).await.unwrap().unwrap()
}

async fn count(store: &Arc<dyn Store>, tenant: TenantId, action: &str) -> usize {
    actions(store, tenant).await.iter().filter(|&&it| it == action).count()
}

/// Returns the appliance that redeemed a code.
fn redeemer(code: &InstallCode) -> Option<&str> {
    code.consumed.as_ref().map(|it| it.by.as_str())
}

/// The answer to a request. A decision that panics may end the task of its caller.
type Answer = Result<Result<Outcome<Redeemed>, StoreError>, JoinError>;

/// A way in which a redemption fails.
struct Failure {
    name: &'static str,
    decide: fn(&RedeemFacts) -> Decision<Redeemed>,
    is_expected: fn(&Answer) -> bool,
}

static FAILURES: [Failure; 5] = [
    Failure {
        name: "an aborted decision",
        decide: |_| abort(),
        is_expected: |it| matches!(it, Ok(Ok(Outcome::Aborted(DecideError::Replay(_))))),
    },
    Failure {
        name: "a decision that panics",
        decide: |_| panic!("a decision that panics"),
        is_expected: |it| matches!(it, Err(_) | Ok(Err(StoreError::Unavailable(_)))),
    },
    Failure {
        name: "a license with a wrong signature",
        decide: sign_wrongly,
        is_expected: |it| matches!(it, Ok(Ok(Outcome::Aborted(DecideError::Sign(_))))),
    },
    Failure {
        name: "a code whose digest exists",
        decide: insert_code_again,
        is_expected: |it| matches!(it, Ok(Err(StoreError::Corrupt(_)))),
    },
    Failure {
        name: "a credential without an appliance",
        decide: insert_stray_credential,
        is_expected: |it| matches!(it, Ok(Err(StoreError::Corrupt(_)))),
    },
];

/// Consumes the code of these facts, and then makes a write.
fn consume_and(facts: &RedeemFacts, write: Option<Write>) -> Vec<Write> {
    let (code, tenant) = owned_code(facts);
    let consumption = Consumption { at: code.issued_at, by: appliance("failing") };
    let consume = Write::ConsumeCode { code: code.id, consumption, tenant };
    std::iter::once(consume).chain(write).collect()
}

fn owned_code(facts: &RedeemFacts) -> (InstallCode, TenantId) {
    let code = facts.code.clone().expect("a code");
    let tenant = code.tenant_id.expect("a tenant");
    (code, tenant)
}

/// A key that verifies no signature.
struct WrongKey;

impl VerifyingKey for WrongKey {
    fn kid(&self) -> &'static str {
        "wrong"
    }

    fn verify(&self, licenses: &[&LicenseToken]) -> Vec<bool> {
        vec![false; licenses.len()]
    }
}

fn sign_wrongly(facts: &RedeemFacts) -> Decision<Redeemed> {
    let token = LicenseToken::new("a.b.c".to_owned());
    Decision::Commit {
        writes: consume_and(facts, None),
        outcome: Err(Refusal::TenantRequired),
        unverified: vec![SignedLicense { token, key: Arc::new(WrongKey) }],
    }
}

fn insert_code_again(facts: &RedeemFacts) -> Decision<Redeemed> {
    let (code, tenant) = owned_code(facts);
    let again = InstallCode { id: CodeId(tenant.0), ..code };
    let writes = consume_and(facts, Some(Write::InsertCode(Box::new(again))));
    Decision::commit(writes, Err(Refusal::TenantRequired))
}

fn insert_stray_credential(facts: &RedeemFacts) -> Decision<Redeemed> {
    let (code, tenant_id) = owned_code(facts);
    let owner = (tenant_id, appliance("missing"));
    let credential = Credential::unused(CredentialDigest([9; 32]), owner, 1, code.issued_at);
    let writes = consume_and(facts, Some(Write::InsertCredential(credential)));
    Decision::commit(writes, Err(Refusal::TenantRequired))
}

/// Starts a redemption that fails.
fn fail(
    world: &World,
    code: &PlainCode,
    failure: &'static Failure,
) -> JoinHandle<Result<Outcome<Redeemed>, StoreError>> {
    let key = RedeemKey {
        digests: world.ports.vault.code_digests(code),
        tenant_id: None,
        appliance_id: appliance("failing"),
    };
    let store = world.ports.store.clone();
    tokio::spawn(async move { store.code_redeem(key, None, Arc::new(failure.decide)).await })
}

/// A request that fails has no effect on requests that run at the same time: their changes are made
/// and stored. Nothing of the failed request is stored.
pub async fn one_failing_request_leaves_others_alone(store: Arc<dyn Store>) {
    let world = Arc::new(World::over(store.clone()));
    // A store may work differently once it has prepared its statements.
    for round in 0..3 {
        let issued = register(&world, &format!("Round {round}"), "pro", 24).await;
        let unknown = PlainCode::draw(&*world.ports.entropy, CodeLength::default());
        let unknown = redeem(&world, &unknown, "unknown");
        let (mut failing, mut redeeming) = (Vec::new(), Vec::new());
        for (index, issued) in issued.iter().enumerate() {
            match FAILURES.get(index / 4).filter(|_| index % 4 == 3) {
                Some(failure) => {
                    failing.push((failure, issued, fail(&world, &issued.code, failure)));
                }
                None => redeeming.push((issued, redeem(&world, &issued.code, "a"))),
            }
        }
        assert_eq!((failing.len(), redeeming.len()), (5, 19));
        let refused = unknown.await.unwrap();
        assert!(matches!(refused, Err(Error::Refused(Refusal::CodeInvalid))), "{refused:?}");
        for (issued, redeemed) in redeeming {
            assert_eq!(redeemed.await.unwrap().unwrap().tenant_id, issued.tenant_id);
            let record = show(&store, issued.tenant_id).await;
            assert_eq!((redeemer(&record.codes[0]), record.appliances.len()), (Some("a"), 1));
            assert_eq!(count(&store, issued.tenant_id, "code_redeemed").await, 1);
        }
        for (failure, issued, answer) in failing {
            let (name, answer) = (failure.name, answer.await);
            assert!((failure.is_expected)(&answer), "{name}: {answer:?}");
            let record = show(&store, issued.tenant_id).await;
            let states: Vec<_> = record.codes.iter().map(|it| it.state(world.now())).collect();
            assert_eq!(states, [CodeState::Live], "{name}");
            assert_eq!(record.appliances, [], "{name}");
            world.redeem(&issued.code, "a").await.unwrap();
        }
    }
}

/// If many requests change one tenant at the same time, all of them are answered, and so are the
/// requests of other tenants. Each change has an audit entry, and one code is live in the end.
/// R-codes-7.
pub async fn contended_root_serves_everybody(store: Arc<dyn Store>) {
    let world = Arc::new(World::over(store.clone()));
    let contended = world.register("Contended", "pro").await.tenant_id;
    let others = register(&world, "Other", "pro", 16).await;
    let (mut reissuing, mut redeeming) = (Vec::new(), Vec::new());
    for other in &others {
        for _ in 0..4 {
            let world = world.clone();
            reissuing.push(tokio::spawn(async move { world.reissue(contended).await }));
        }
        redeeming.push(redeem(&world, &other.code, "a"));
    }
    for reissued in join_all(reissuing).await {
        assert_eq!(reissued.unwrap().unwrap().tenant_id, contended);
    }
    for (redeemed, other) in join_all(redeeming).await.into_iter().zip(&others) {
        assert_eq!(redeemed.unwrap().unwrap().tenant_id, other.tenant_id);
        assert_eq!(show(&store, other.tenant_id).await.appliances.len(), 1);
    }
    let codes = show(&store, contended).await.codes;
    let live = codes.iter().filter(|code| code.state(world.now()) == CodeState::Live).count();
    assert_eq!((codes.len(), live), (65, 1));
    assert_eq!(count(&store, contended, "code_reissued").await, 64);
}

fn key(fingerprint: u8) -> IdempotencyKey {
    let scope = "twins".to_owned();
    IdempotencyKey { scope, digest: [1; 32], fingerprint: [fingerprint; 32] }
}

/// Of equal requests with one key that arrive at the same time, one is decided, and the others get
/// its response. The same key with another request is refused. R-idempotency-3, R-idempotency-4.
pub async fn twins_in_one_batch_run_once(store: Arc<dyn Store>) {
    let world = Arc::new(World::over(store.clone()));
    let register = |company: &str, key: Option<IdempotencyKey>| {
        let (world, new) = (world.clone(), NewTenant { key, ..World::new_tenant(company, "pro") });
        tokio::spawn(async move { world.registry.tenant_register(new, actor()).await })
    };
    let (mut others, mut twins) = (Vec::new(), Vec::new());
    for number in 0..16 {
        others.push(register(&format!("Other {number}"), None));
        twins.push(register("Twin", Some(key(7))));
    }
    let twins: Vec<_> = join_all(twins).await.into_iter().map(|it| it.unwrap().unwrap()).collect();
    let issued = &twins[0];
    for twin in &twins {
        assert_eq!((twin.tenant_id, twin.code.expose()), (issued.tenant_id, issued.code.expose()));
    }
    let mut tenants = vec![issued.tenant_id];
    for other in join_all(others).await {
        tenants.push(other.unwrap().unwrap().tenant_id);
    }
    let all = TenantQuery { limit: 100, ..TenantQuery::default() };
    assert_eq!(store.tenant_list(all).await.unwrap().len(), tenants.len());
    assert_eq!(count(&store, issued.tenant_id, "code_issued").await, 1);
    let refused = register("Twin", Some(key(8))).await.unwrap();
    assert!(matches!(refused, Err(Error::Refused(Refusal::KeyReused))), "{refused:?}");

    let redeem = |fingerprint| {
        let redeem = Redeem {
            typed_code: TypedCode::new(issued.code.expose().to_owned()),
            appliance_id: "a".to_owned(),
            requester: Requester::FirstBoot,
            channel: RedemptionChannel::Network(Source::of([192, 0, 2, 1].into())),
            key: Some(key(fingerprint)),
        };
        let world = world.clone();
        tokio::spawn(async move { world.registry.code_redeem(redeem).await })
    };
    let twins = join_all((0..16).map(|_| redeem(7))).await.into_iter();
    let twins: Vec<_> = twins.map(|it| it.unwrap().unwrap().licensed.unwrap().credential).collect();
    assert!(twins.iter().all(|it| it.expose() == twins[0].expose()));
    assert_eq!(show(&store, issued.tenant_id).await.appliances.len(), 1);
    assert_eq!(count(&store, issued.tenant_id, "code_redeemed").await, 1);
    let refused = redeem(8).await.unwrap();
    assert!(matches!(refused, Err(Error::Refused(Refusal::KeyReused))), "{refused:?}");
}

/// The audit of a tenant lists the entries of each change in the order of the decision's writes,
/// even if many changes are made at the same time.
pub async fn audit_entries_of_a_tenant_keep_their_order(store: Arc<dyn Store>) {
    let world = Arc::new(World::over(store.clone()));
    let paid = register(&world, "Paid", "pro", 16).await;
    let free = register(&world, "Free", "essentials", 16).await;
    let mut activations = Vec::new();
    for _ in &free {
        activations.push(world.activation_code(None).await.0);
    }
    world.clock.advance(TimeDelta::seconds(1));
    let (mut registering, mut redeeming) = (Vec::new(), Vec::new());
    for (number, (paid, free)) in paid.iter().zip(&free).enumerate() {
        redeeming.push(redeem(&world, &paid.code, "a"));
        let requester = Requester::Running(Some(free.tenant_id));
        let (activating, code) = (world.clone(), activations[number].clone());
        redeeming
            .push(tokio::spawn(async move { activating.redeem_as(&code, "a", requester).await }));
        let world = world.clone();
        registering.push(tokio::spawn(async move {
            world.register(&format!("New {number}"), "pro").await.tenant_id
        }));
    }
    for redeemed in join_all(redeeming).await {
        redeemed.unwrap().unwrap();
    }
    let registered = ["tenant_registered", "entitlement_granted", "code_issued"];
    for tenant in join_all(registering).await {
        assert_eq!(actions(&store, tenant.unwrap()).await, registered);
    }
    for (paid, free) in paid.iter().zip(&free) {
        let redeemed = [&registered[..], &["code_redeemed"]].concat();
        assert_eq!(actions(&store, paid.tenant_id).await, redeemed);
        let upgraded = ["tenant_registered", "code_issued", "tenant_upgraded", "code_redeemed"];
        assert_eq!(actions(&store, free.tenant_id).await, upgraded);
    }
}

/// If many callers go away right after they sent their requests, each change is made entirely and
/// once, or not at all. A second attempt finds what was made.
pub async fn abandoned_callers_lose_nothing(store: Arc<dyn Store>) {
    let world = Arc::new(World::over(store.clone()));
    let issued = register(&world, "Company", "pro", 32).await;
    for issued in &issued {
        let mut call = Box::pin(world.redeem(&issued.code, "first"));
        poll_fn(|context| {
            drop(call.as_mut().poll(context));
            Poll::Ready(())
        })
        .await;
    }
    let again = issued.iter().map(|issued| redeem(&world, &issued.code, "second"));
    for (again, issued) in join_all(again).await.into_iter().zip(&issued) {
        let winner = match again.unwrap() {
            Ok(_) => "second",
            Err(Error::Refused(Refusal::CodeConsumed { .. })) => "first",
            Err(error) => panic!("{error:?}"),
        };
        let record = show(&store, issued.tenant_id).await;
        assert_eq!(redeemer(&record.codes[0]), Some(winner));
        let appliances: Vec<_> = record.appliances.iter().map(|it| it.id.as_str()).collect();
        assert_eq!(appliances, [winner]);
        assert_eq!(count(&store, issued.tenant_id, "code_redeemed").await, 1);
    }
}
