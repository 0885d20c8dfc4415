//! Changes that share a transaction, when a connection is lost, a row is locked, or a write fails.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "common/change.rs"]
mod change;
mod common;
#[path = "common/database.rs"]
mod database;
#[path = "common/faults.rs"]
mod faults;
#[path = "common/proxy.rs"]
mod proxy;

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use registry_core::Refusal;
use registry_core::results::{Issued, Redeemed};
use registry_core::secret::{KeyId, Sealed};
use registry_core::store::{
    Decision, EntitlementFacts, Outcome, Replay, ReplayRecord, Store, StoreError, Write,
};
use registry_core::tenant::Tenant;
use registry_store_postgres::{PostgresOptions, PostgresStore};
use registry_testkit::World;
use throwaway_postgres::sql;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_postgres::{Client, NoTls};

use change::{Answer, Change, MADE, NOT_MADE, make_all};

/// Time limit of a test's operation: shorter than the timeouts of the store.
const BOUND: Duration = Duration::from_secs(10);

async fn within_bound<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(BOUND, work)
        .await
        .unwrap_or_else(|_| panic!("the operation took more than {BOUND:?}"))
}

/// Opens a session, which ends when the client is dropped.
async fn open_session(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Waits until a session of the database waits for a lock.
async fn wait_for_waiter(url: &str) {
    let session = open_session(url).await;
    let waiting = "SELECT count(*) FROM pg_stat_activity \
                   WHERE datname = current_database() AND wait_event_type = 'Lock'";
    within_bound(async {
        while session.query_one(waiting, &[]).await.unwrap().get::<_, i64>(0) == 0 {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

async fn poll_once<F: Future>(mut work: Pin<&mut F>) {
    poll_fn(|context| {
        drop(work.as_mut().poll(context));
        Poll::Ready(())
    })
    .await;
}

fn open(options: &PostgresOptions) -> Arc<dyn Store> {
    Arc::new(PostgresStore::new(options).unwrap())
}

/// Returns a store with one connection and one batch at a time.
fn open_narrow(url: &str) -> Arc<dyn Store> {
    open(&PostgresOptions { pool_size: 1, batches_in_flight: 1, ..common::options(url) })
}

/// Creates a database. Returns its URL, and a registry over a store in it.
async fn create() -> (String, World) {
    let url = database::create().await;
    let world = World::over(open(&common::options(&url)));
    (url, world)
}

async fn changes(world: &World, count: usize) -> Vec<Change> {
    let mut changes = Vec::new();
    for _ in 0..count {
        changes.push(Change::new(world).await);
    }
    changes
}

fn start(store: &Arc<dyn Store>, change: &Change) -> JoinHandle<Answer<Redeemed>> {
    let (store, change) = (store.clone(), change.clone());
    tokio::spawn(async move { change.make(&store, None).await })
}

fn assert_done(answer: &Answer<Redeemed>) {
    assert!(matches!(answer, Ok(Outcome::Done(_))), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_commit_is_not_decided_again() {
    let (url, world) = create().await;
    let (proxied, is_lossy) = faults::lose_answers(&url, faults::COMMIT).await;
    let store = open_narrow(&proxied);
    for is_prepared in [false, true] {
        if is_prepared {
            assert_done(&Change::new(&world).await.make(&store, None).await);
        }
        let changes = changes(&world, 12).await;
        is_lossy.store(true, Ordering::SeqCst);
        let answers = make_all(&store, &changes).await;
        is_lossy.store(false, Ordering::SeqCst);
        for (change, answer) in changes.iter().zip(answers) {
            assert!(matches!(answer, Err(StoreError::Unconfirmed(_))), "{answer:?}");
            assert_eq!((change.decisions(), change.stored(&world).await), (1, MADE));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn request_repeated_after_lost_commit_is_replayed() {
    let (url, world) = create().await;
    let (proxied, is_lossy) = faults::lose_answers(&url, faults::COMMIT).await;
    let store = open_narrow(&proxied);
    let mut change = Change::new(&world).await;
    let scope = "/register".to_owned();
    let request = Replay { scope, key_digest: [1; 32], fingerprint: [7; 32], now: world.now() };
    let answer = Sealed { key_id: KeyId("k".to_owned()), bytes: b"the response".to_vec() };
    let expires_at = change.code.expires_at;
    let record = ReplayRecord { request: request.clone(), answer, expires_at };
    change.writes.push(Write::PutReplay(Box::new(record)));
    is_lossy.store(true, Ordering::SeqCst);
    let lost = change.make(&store, Some(request.clone())).await;
    is_lossy.store(false, Ordering::SeqCst);
    assert!(matches!(lost, Err(StoreError::Unconfirmed(_))), "{lost:?}");
    let repeated = change.make(&store, Some(request)).await;
    let is_replayed =
        matches!(&repeated, Ok(Outcome::Replayed(sealed)) if sealed.bytes == b"the response");
    assert!(is_replayed, "{repeated:?}");
    assert_eq!((change.decisions(), change.stored(&world).await), (1, MADE));
}

/// Inserts a tenant, with a single statement.
async fn insert(
    store: &Arc<dyn Store>,
    tenant: Tenant,
    decisions: &Arc<AtomicUsize>,
) -> Answer<Issued> {
    let decisions = decisions.clone();
    let decide = move |_: &EntitlementFacts| {
        decisions.fetch_add(1, Ordering::SeqCst);
        let writes = vec![Write::InsertTenant(Box::new(tenant.clone()))];
        Decision::commit(writes, Err(Refusal::TenantRequired))
    };
    store.tenant_register(None, None, Arc::new(decide)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_single_statement_is_not_decided_again() {
    let (url, world) = create().await;
    let (proxied, is_lossy) = faults::lose_answers(&url, faults::EXECUTE).await;
    let store = open_narrow(&proxied);
    let issued = world.register("Acme", "essentials").await;
    let known = world.ports.store.tenant_show(issued.tenant_id).await.unwrap().unwrap().tenant;
    let copy = || Tenant { id: world.registry.new_id().into(), ..known.clone() };
    for is_prepared in [false, true] {
        // The connection must be open: opening one executes statements, too.
        store.probe().await.unwrap();
        if is_prepared {
            insert(&store, copy(), &Arc::default()).await.unwrap();
        }
        let (tenant, decisions) = (copy(), Arc::<AtomicUsize>::default());
        is_lossy.store(true, Ordering::SeqCst);
        let lost = insert(&store, tenant.clone(), &decisions).await;
        is_lossy.store(false, Ordering::SeqCst);
        assert!(matches!(lost, Err(StoreError::Unconfirmed(_))), "{lost:?}");
        assert_eq!(decisions.load(Ordering::SeqCst), 1);
        let stored = world.ports.store.tenant_show(tenant.id).await.unwrap();
        assert_eq!(stored.map(|record| record.tenant), Some(tenant));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_connection_before_commit_is_repeated() {
    let (url, world) = create().await;
    let (proxied, is_armed) = faults::lose_next_begin(&url).await;
    let store = open(&PostgresOptions { batches_in_flight: 1, ..common::options(&proxied) });
    let changes = changes(&world, 12).await;
    // The first change waits for the table, and all others wait for their batch.
    let holder = open_session(&url).await;
    holder.batch_execute("BEGIN; LOCK TABLE tenants").await.unwrap();
    let first = start(&store, &changes[0]);
    wait_for_waiter(&url).await;
    let mut others = pin!(make_all(&store, &changes[1..]));
    poll_once(others.as_mut()).await;
    is_armed.store(true, Ordering::SeqCst);
    holder.batch_execute("COMMIT").await.unwrap();
    let mut answers = vec![first.await.unwrap()];
    answers.extend(others.await);
    assert!(!is_armed.load(Ordering::SeqCst), "no connection was lost");
    for (change, answer) in changes.iter().zip(&answers) {
        assert_done(answer);
        assert_eq!((change.decisions(), change.stored(&world).await), (1, MADE));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_locked_elsewhere_delays_only_its_request() {
    let (url, world) = create().await;
    let store = open(&common::options(&url));
    let changes = changes(&world, 21).await;
    let holder = open_session(&url).await;
    let lock = format!("BEGIN; SELECT FROM tenants WHERE id = '{}' FOR UPDATE", changes[0].tenant);
    holder.batch_execute(&lock).await.unwrap();
    let waiting = start(&store, &changes[0]);
    for answer in within_bound(make_all(&store, &changes[1..])).await {
        assert_done(&answer);
    }
    wait_for_waiter(&url).await;
    assert!(!waiting.is_finished());
    holder.batch_execute("COMMIT").await.unwrap();
    assert_done(&within_bound(waiting).await.unwrap());
    for change in &changes {
        assert_eq!(change.stored(&world).await, MADE);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn write_that_fails_behind_a_commit_is_not_confirmed() {
    let (url, world) = create().await;
    let (proxied, recorded) = faults::record(&url).await;
    let store = open_narrow(&proxied);
    // Once the statements are prepared, a batch sends COMMIT before its writes are answered.
    assert_done(&Change::issuing(&world, 1).await.make(&store, None).await);
    let failing = Change::issuing(&world, 1).await;
    recorded.clear();
    let answer = failing.make(&store, None).await;
    assert!(matches!(answer, Err(StoreError::Corrupt(_))), "{answer:?}");
    assert!(recorded.has_failed_commit(), "COMMIT was not sent with the writes");
    assert_eq!(failing.stored(&world).await, NOT_MADE);

    let mut changes = Vec::new();
    for digest in 2..14 {
        changes.push(Change::issuing(&world, digest).await);
    }
    let middle = changes.len() / 2;
    changes.insert(middle, failing);
    let answers = make_all(&store, &changes).await;
    for (position, (change, answer)) in changes.iter().zip(&answers).enumerate() {
        if position == middle {
            assert!(matches!(answer, Err(StoreError::Corrupt(_))), "{answer:?}");
            assert_eq!(change.stored(&world).await, NOT_MADE);
        } else {
            assert_done(answer);
            assert_eq!(change.stored(&world).await, MADE);
        }
    }
}

/// Lets the server speak German to new sessions, if it can.
fn speak_german(url: &str) {
    let name = url.rsplit_once('/').unwrap().1;
    let set =
        |locale: &str| sql(url, &format!("ALTER DATABASE {name} SET lc_messages = '{locale}'"));
    set("de_DE.UTF-8").or_else(|_| set("C")).unwrap();
}

/// A change and another session wait for each other. The server ends the change's transaction: only
/// this one looks for deadlocks in time.
async fn deadlocked_change_is_repeated(url: &str, world: &World) {
    let name = url.rsplit_once('/').unwrap().1;
    sql(url, &format!("ALTER DATABASE {name} SET deadlock_timeout = '3s'")).unwrap();
    let (store, change) = (open(&common::options(url)), Change::new(world).await);
    let holder = open_session(url).await;
    let lock = format!(
        "SET deadlock_timeout = '1min'; \
         BEGIN; SELECT FROM install_codes WHERE id = '{}' FOR UPDATE",
        change.code.id
    );
    holder.batch_execute(&lock).await.unwrap();
    let waiting = start(&store, &change);
    wait_for_waiter(url).await;
    let lock = format!("SELECT FROM tenants WHERE id = '{}' FOR UPDATE; COMMIT", change.tenant);
    within_bound(holder.batch_execute(&lock)).await.unwrap();
    assert_done(&within_bound(waiting).await.unwrap());
    assert!(change.decisions() > 1, "there was no deadlock");
    assert_eq!(change.stored(world).await, MADE);
}

async fn lock_timeout_is_contended(url: &str, world: &World) {
    let lock_timeout = Duration::from_millis(200);
    let store = open(&PostgresOptions { lock_timeout, ..common::options(url) });
    let change = Change::new(world).await;
    let holder = open_session(url).await;
    let lock = format!("BEGIN; SELECT FROM tenants WHERE id = '{}' FOR UPDATE", change.tenant);
    holder.batch_execute(&lock).await.unwrap();
    let answer = within_bound(change.make(&store, None)).await;
    assert!(matches!(answer, Err(StoreError::Contended(_))), "{answer:?}");
    holder.batch_execute("COMMIT").await.unwrap();
    assert_done(&change.make(&store, None).await);
}

async fn missing_table_names_migrate(world: &World) {
    let cluster = throwaway_postgres::test_cluster();
    let name = throwaway_postgres::unique_name("unmigrated");
    sql(&format!("{cluster}/postgres"), &format!("CREATE DATABASE {name}")).unwrap();
    let url = format!("{cluster}/{name}");
    speak_german(&url);
    let store = open(&common::options(&url));
    let error = Change::new(world).await.make(&store, None).await.unwrap_err().to_string();
    assert!(error.contains("registryctl migrate"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_do_not_depend_on_language() {
    let (url, world) = create().await;
    speak_german(&url);
    deadlocked_change_is_repeated(&url, &world).await;
    lock_timeout_is_contended(&url, &world).await;
    missing_table_names_migrate(&world).await;
}
