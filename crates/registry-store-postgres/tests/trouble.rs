//! What a caller sees when the database is busy, gone, back again, or not to be trusted.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;
#[path = "common/database.rs"]
mod database;

use std::sync::Arc;
use std::time::Duration;

use registry_core::store::{Store as _, StoreError};
use registry_store_postgres::{PostgresOptions, PostgresStore};
use registry_testkit::World;
use throwaway_postgres::{Cluster, Durability, sql};
use tokio::time::{Instant, sleep};

/// Longer than any wait that the tests set, shorter than the server's own limits.
const BOUND: Duration = Duration::from_secs(5);

fn impatient(url: &str) -> PostgresOptions {
    PostgresOptions {
        pool_size: 2,
        pool_wait: Duration::from_millis(300),
        connect_timeout: Duration::from_millis(500),
        lock_timeout: Duration::from_millis(300),
        statement_timeout: Duration::from_secs(2),
        ..common::options(url)
    }
}

async fn within_bound<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(BOUND, work).await.unwrap_or_else(|_| panic!("it took more than {BOUND:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_others_hold_is_waited_for_within_bounds_and_then_it_is_busy() {
    let url = database::fresh().await;
    let world = World::over(Arc::new(PostgresStore::new(&impatient(&url)).unwrap()));
    let issued = world.register("Acme", "pro").await;
    let holder = {
        let url = url.clone();
        std::thread::spawn(move || sql(&url, "BEGIN; LOCK TABLE tenants; SELECT pg_sleep(2); COMMIT"))
    };
    while sql(&url, "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock'").unwrap() == "0" {
        sleep(Duration::from_millis(10)).await;
    }
    let refused = within_bound(world.redeem(&issued.code, "a")).await.unwrap_err().to_string();
    assert!(refused.contains("busy"), "{refused}");
    holder.join().unwrap().unwrap();
    world.redeem(&issued.code, "a").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn when_all_connections_are_taken_a_caller_is_told_so_within_bounds() {
    let url = database::fresh().await;
    let store = Arc::new(PostgresStore::new(&impatient(&url)).unwrap());
    let world = Arc::new(World::over(store.clone()));
    world.register("Acme", "pro").await;
    let holder = {
        let url = url.clone();
        std::thread::spawn(move || sql(&url, "BEGIN; LOCK TABLE probes; SELECT pg_sleep(1); COMMIT"))
    };
    while sql(&url, "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock'").unwrap() == "0" {
        sleep(Duration::from_millis(10)).await;
    }
    let begun = Instant::now();
    let waiting: Vec<_> = (0..6)
        .map(|_| {
            tokio::spawn({
                let store = store.clone();
                async move { store.probe().await }
            })
        })
        .collect();
    let mut taken = 0;
    for probe in waiting {
        let error = within_bound(probe).await.unwrap().unwrap_err();
        assert!(matches!(error, StoreError::Contended(_)), "{error}");
        taken += usize::from(error.to_string().contains("database.pool_size"));
    }
    assert!(taken >= 1, "somebody found no connection");
    assert!(begun.elapsed() < BOUND);
    holder.join().unwrap().unwrap();
    store.probe().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_down_is_unavailable_and_found_again_without_a_restart() {
    let cluster = Cluster::start(Durability::Quick, &[]).unwrap();
    cluster.sql("postgres", "CREATE DATABASE registry").unwrap();
    let store = PostgresStore::new(&impatient(&cluster.url("registry"))).unwrap();
    store.migrations_run().await.unwrap();
    let world = World::over(Arc::new(store));
    let issued = world.register("Acme", "pro").await;
    cluster.stop_immediately().unwrap();
    for _ in 0..3 {
        let error = within_bound(world.redeem(&issued.code, "a")).await.unwrap_err();
        assert!(matches!(&error, registry_core::Error::Store(StoreError::Unavailable(_))), "{error:?}");
    }
    cluster.start_again().unwrap();
    let begun = Instant::now();
    while let Err(error) = world.redeem(&issued.code, "a").await {
        assert!(begun.elapsed() < BOUND, "it is not found again: {error}");
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_a_free_connection_is_unavailable() {
    let cluster =
        Cluster::start(Durability::Quick, &["max_connections = 4", "superuser_reserved_connections = 0"]).unwrap();
    cluster.sql("postgres", "CREATE DATABASE registry").unwrap();
    let holders: Vec<_> = (0..4)
        .map(|_| {
            let url = cluster.url("postgres");
            std::thread::spawn(move || sql(&url, "SELECT pg_sleep(2)"))
        })
        .collect();
    // Nobody can ask whether all four are there; they are there for longer than this.
    sleep(Duration::from_millis(700)).await;
    let store = PostgresStore::new(&impatient(&cluster.url("registry"))).unwrap();
    let error = store.probe().await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)) && error.to_string().contains("too many clients"), "{error}");
    for holder in holders {
        holder.join().unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_without_tables_says_what_to_run() {
    let cluster = throwaway_postgres::test_cluster();
    let store = PostgresStore::new(&impatient(&format!("{cluster}/postgres"))).unwrap();
    let error = store.probe().await.unwrap_err().to_string();
    assert!(error.contains("registryctl migrate"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn several_processes_may_migrate_at_once() {
    let cluster = throwaway_postgres::test_cluster();
    let name = format!("migrating_{}", std::process::id());
    sql(&format!("{cluster}/postgres"), &format!("CREATE DATABASE {name}")).unwrap();
    let url = format!("{cluster}/{name}");
    let migrating: Vec<_> = (0..6)
        .map(|_| {
            let store = PostgresStore::new(&common::options(&url)).unwrap();
            tokio::spawn(async move {
                store.migrations_run().await.unwrap();
                store.search_migrations_run().await.unwrap();
                store.migrations_pending().await.unwrap()
            })
        })
        .collect();
    for pending in migrating {
        assert_eq!(pending.await.unwrap(), [""; 0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_optional_index_searches_find_beginnings() {
    let url = database::fresh().await;
    let world = World::over(Arc::new(PostgresStore::new(&common::options(&url)).unwrap()));
    world.register("Acme Ltd", "essentials").await;
    world.register("Bolt Acme", "essentials").await;
    let names = async |query: &str| {
        let asked =
            registry_core::registry::directory::ListTenants { query: Some(query.to_owned()), ..Default::default() };
        let page = world.registry.tenant_list(asked).await.unwrap();
        page.items.iter().map(|item| item.record.tenant.company_name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(names("acme").await, ["Bolt Acme", "Acme Ltd"]);
    sql(&url, "DROP INDEX tenants_by_part").unwrap();
    assert_eq!(names("acme").await, ["Acme Ltd"]);
    assert_eq!(names("BOLT-acme@").await, ["Bolt Acme"], "by the beginning of the address too");
}
