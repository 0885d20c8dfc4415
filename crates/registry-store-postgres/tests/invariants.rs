//! Property test of the registry's invariants: they hold after any sequence of events, on each store.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;
#[path = "common/database.rs"]
mod database;

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::TimeDelta;
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use registry_core::id::TenantId;
use registry_core::install_code::{CodeState, PlainCode};
use registry_core::registry::entitlements::EntitlementEdit;
use registry_core::store::{EntitlementSelector, Store};
use registry_core::{Error, Refusal};
use registry_store_postgres::PostgresStore;
use registry_store_sqlite::SqliteStore;
use registry_testkit::memory::MemoryStore;
use registry_testkit::{World, actor, audit};

/// An event. Its indexes select among the tenants and codes issued so far, modulo their number.
#[derive(Clone, Debug)]
enum Event {
    Register { pro: bool, subscription: Option<u8> },
    Redeem { code: usize, appliance: u8 },
    Reissue { tenant: usize },
    Revoke { tenant: usize },
    PassTime { hours: u16 },
    FailSigning(bool),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => (any::<bool>(), proptest::option::of(0..4_u8))
            .prop_map(|(pro, subscription)| Event::Register { pro, subscription }),
        5 => (any::<usize>(), 0..3_u8)
            .prop_map(|(code, appliance)| Event::Redeem { code, appliance }),
        3 => any::<usize>().prop_map(|tenant| Event::Reissue { tenant }),
        1 => any::<usize>().prop_map(|tenant| Event::Revoke { tenant }),
        2 => (0..100_u16).prop_map(|hours| Event::PassTime { hours }),
        1 => any::<bool>().prop_map(Event::FailSigning),
    ]
}

/// The results that callers have received so far.
#[derive(Default)]
struct Observed {
    tenants: Vec<TenantId>,
    codes: Vec<(PlainCode, TenantId)>,
    subscriptions: BTreeMap<u8, TenantId>,
    /// Number of successful redemptions by code.
    redemptions: BTreeMap<String, u32>,
}

async fn play(world: &World, events: Vec<Event>) {
    let mut observed = Observed::default();
    for event in events {
        world.clock.advance(TimeDelta::milliseconds(1));
        apply(world, &mut observed, event).await;
    }
    check(world, &observed).await;
}

async fn apply(world: &World, observed: &mut Observed, event: Event) {
    match event {
        Event::Register { pro, subscription } => {
            let mut new = World::new_tenant("Acme", if pro { "pro" } else { "essentials" });
            new.subscription_id = subscription.map(|number| format!("sub_{number}"));
            let issued = world.registry.tenant_register(new, actor()).await.unwrap();
            if let Some(number) = subscription {
                let first = *observed.subscriptions.entry(number).or_insert(issued.tenant_id);
                assert_eq!(issued.tenant_id, first, "a subscription changed its tenant");
            }
            observed.tenants.push(issued.tenant_id);
            observed.codes.push((issued.code, issued.tenant_id));
        }
        Event::Redeem { code, appliance } if !observed.codes.is_empty() => {
            let (code, owner) = observed.codes[code % observed.codes.len()].clone();
            match world.redeem(&code, &format!("appliance-{appliance}")).await {
                Ok(redeemed) => {
                    assert_eq!(redeemed.tenant_id, owner, "a code changed its tenant");
                    assert_eq!(redeemed.licensed.is_some(), redeemed.edition.as_str() == "pro");
                    *observed.redemptions.entry(code.grouped().to_string()).or_default() += 1;
                }
                Err(Error::Decide(_)) => {}
                Err(Error::Refused(refusal)) => assert!(
                    matches!(
                        refusal,
                        Refusal::CodeConsumed { .. }
                            | Refusal::CodeSuperseded { .. }
                            | Refusal::CodeExpired { .. }
                    ),
                    "{refusal:?}"
                ),
                Err(error) => panic!("{error:?}"),
            }
        }
        Event::Reissue { tenant } if !observed.tenants.is_empty() => {
            let tenant = observed.tenants[tenant % observed.tenants.len()];
            let issued = world.reissue(tenant).await.unwrap();
            assert_eq!(issued.tenant_id, tenant, "a re-issue changed the tenant");
            observed.codes.push((issued.code, tenant));
        }
        Event::Revoke { tenant } if !observed.tenants.is_empty() => {
            let tenant = observed.tenants[tenant % observed.tenants.len()];
            let shown = world.registry.tenant_show(tenant).await.unwrap();
            if let Some(entitlement) = shown.entitlement {
                let selector = EntitlementSelector::Id(entitlement.id);
                assert!(
                    !world
                        .registry
                        .entitlement_edit(selector, EntitlementEdit::Revoke, None, actor())
                        .await
                        .unwrap()
                        .is_active()
                );
            }
        }
        Event::PassTime { hours } => world.clock.advance(TimeDelta::hours(hours.into())),
        Event::FailSigning(failing) => world.signer.fail(failing),
        Event::Redeem { .. } | Event::Reissue { .. } | Event::Revoke { .. } => {}
    }
}

async fn check(world: &World, observed: &Observed) {
    assert!(
        observed.redemptions.values().all(|&count| count == 1),
        "a code was redeemed more than once: {:?}",
        observed.redemptions
    );
    let mut consumed = 0;
    let mut tenants = observed.tenants.clone();
    tenants.sort();
    tenants.dedup();
    for tenant in tenants {
        let record = world.ports.store.tenant_show(tenant).await.unwrap().unwrap();
        let audit = audit(&*world.ports.store, Some(tenant)).await;
        let states: Vec<_> =
            record.codes.iter().map(|code| (code.id, code.state(world.now()))).collect();
        assert!(
            states.iter().filter(|(_, state)| *state == CodeState::Live).count() <= 1,
            "{states:?}"
        );
        assert!(
            record.entitlements.iter().filter(|entitlement| entitlement.is_active()).count() <= 1
        );
        for (id, _) in states.iter().filter(|(_, state)| matches!(state, CodeState::Consumed(_))) {
            consumed += 1;
            let entries = audit.iter().filter(|entry| {
                entry.code_id == Some(*id) && entry.action.as_str() == "code_redeemed"
            });
            assert_eq!(entries.count(), 1, "a consumed code has one audit entry");
        }
        let issued = audit
            .iter()
            .filter(|line| {
                line.action.as_str().starts_with("code_")
                    && line.action.as_str().ends_with("issued")
            })
            .count();
        assert_eq!(issued, record.codes.len(), "every code has an audit entry");
        assert_eq!(world.mails(tenant).await.len(), record.codes.len(), "every code has a mail");
    }
    assert_eq!(consumed, observed.redemptions.len(), "stored and reported redemptions differ");
}

fn run(store: impl Future<Output = Arc<dyn Store>>, events: Vec<Event>) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async { play(&World::over(store.await), events).await });
}

/// Failing cases are saved in `invariants.proptest-regressions` beside this file, and each run
/// replays them before it generates new ones. Commit that file. A failure found with one store is
/// replayed with the others, too.
fn config(cases: u32) -> ProptestConfig {
    // Not the default `SourceParallel`: it looks for `lib.rs` or `main.rs` above the test, finds
    // none above `tests`, and prints a warning.
    let regressions = FileFailurePersistence::WithSource("proptest-regressions");
    ProptestConfig {
        cases,
        failure_persistence: Some(Box::new(regressions)),
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config(300))]
    /// R-codes-7, R-register-tenant-4.
    #[test]
    fn invariants_hold_in_memory(events in proptest::collection::vec(event(), 1..60)) {
        run(async { Arc::new(MemoryStore::default()) as Arc<dyn Store> }, events);
    }
}

proptest! {
    #![proptest_config(config(40))]
    #[test]
    fn invariants_hold_on_sqlite(events in proptest::collection::vec(event(), 1..60)) {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("registry.db")).unwrap();
        run(async { Arc::new(store) as Arc<dyn Store> }, events);
    }
}

proptest! {
    // Each case has a database of its own.
    #![proptest_config(config(20))]
    #[test]
    fn invariants_hold_on_postgres(events in proptest::collection::vec(event(), 1..60)) {
        let store = async {
            let url = database::create().await;
            Arc::new(PostgresStore::new(&common::options(&url)).unwrap()) as Arc<dyn Store>
        };
        run(store, events);
    }
}
