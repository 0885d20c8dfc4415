//! What a caller sees when the database is busy, gone, back again, or not to be trusted.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;
#[path = "common/database.rs"]
mod database;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use registry_core::store::{Store as _, StoreError};
use registry_store_postgres::{PostgresOptions, PostgresStore};
use registry_testkit::{World, actor};
use throwaway_postgres::{Cluster, Durability, sql};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
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
    tokio::time::timeout(BOUND, work)
        .await
        .unwrap_or_else(|_| panic!("it took more than {BOUND:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_others_hold_is_waited_for_within_bounds_and_then_it_is_busy() {
    let url = database::fresh().await;
    let world = World::over(Arc::new(PostgresStore::new(&impatient(&url)).unwrap()));
    let issued = world.register("Acme", "pro").await;
    let holder = {
        let url = url.clone();
        std::thread::spawn(move || {
            sql(&url, "BEGIN; LOCK TABLE tenants; SELECT pg_sleep(2); COMMIT")
        })
    };
    while sql(&url, "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock'").unwrap()
        == "0"
    {
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
        std::thread::spawn(move || {
            sql(&url, "BEGIN; LOCK TABLE probes; SELECT pg_sleep(1); COMMIT")
        })
    };
    while sql(&url, "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock'").unwrap()
        == "0"
    {
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
        assert!(
            matches!(&error, registry_core::Error::Store(StoreError::Unavailable(_))),
            "{error:?}"
        );
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
    let cluster = Cluster::start(
        Durability::Quick,
        &["max_connections = 4", "superuser_reserved_connections = 0"],
    )
    .unwrap();
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
    assert!(
        matches!(error, StoreError::Unavailable(_))
            && error.to_string().contains("too many clients"),
        "{error}"
    );
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
    let name = throwaway_postgres::fresh_name("migrating");
    sql(&format!("{cluster}/postgres"), &format!("CREATE DATABASE {name}")).unwrap();
    let url = format!("{cluster}/{name}");
    let migrating: Vec<_> = (0..6)
        .map(|_| {
            let store = PostgresStore::new(&common::options(&url)).unwrap();
            tokio::spawn(async move {
                store.migrations_run().await.unwrap();
                store.search_by_part_make().await.unwrap();
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
        let asked = registry_core::registry::directory::ListTenants {
            query: Some(query.to_owned()),
            ..Default::default()
        };
        let page = world.registry.tenant_list(asked).await.unwrap();
        page.items
            .iter()
            .map(|item| item.record.tenant.company_name.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(names("acme").await, ["Bolt Acme", "Acme Ltd"]);
    sql(&url, "DROP INDEX tenants_by_part").unwrap();
    assert_eq!(names("acme").await, ["Acme Ltd"]);
    assert_eq!(names("BOLT-acme@").await, ["Bolt Acme"], "by the beginning of the address too");
}

/// Passes connections on to a server, until it is told to swallow what those it has by then say.
async fn black_hole(port: u16) -> (u16, Arc<AtomicBool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (own, swallow) = (listener.local_addr().unwrap().port(), Arc::new(AtomicBool::new(false)));
    let told = swallow.clone();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            // Those that come after the network is well again are not swallowed.
            let swallow = if told.load(Ordering::SeqCst) { Arc::default() } else { told.clone() };
            let ((from_client, to_client), (from_server, to_server)) =
                (client.into_split(), server.into_split());
            tokio::spawn(pass(from_client, to_server, swallow.clone()));
            tokio::spawn(pass(from_server, to_client, swallow));
        }
    });
    (own, swallow)
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, swallow: Arc<AtomicBool>) {
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        if !swallow.load(Ordering::SeqCst) && to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_were_lost_without_a_word_are_replaced() {
    let url = database::fresh().await;
    let (address, name) =
        url.strip_prefix("postgres://postgres@127.0.0.1:").unwrap().split_once('/').unwrap();
    let (port, swallow) = black_hole(address.parse().unwrap()).await;
    let options = PostgresOptions {
        statement_timeout: Duration::from_millis(500),
        ..impatient(&format!("postgres://postgres@127.0.0.1:{port}/{name}"))
    };
    let world = Arc::new(World::over(Arc::new(PostgresStore::new(&options).unwrap())));
    let register = |number: usize| {
        let world = world.clone();
        tokio::spawn(async move {
            world
                .registry
                .tenant_register(World::new_tenant(&format!("Company {number}"), "pro"), actor())
                .await
        })
    };
    for number in 0..4 {
        register(number).await.unwrap().unwrap();
    }
    swallow.store(true, Ordering::SeqCst);
    let lost: Vec<_> = (4..8).map(register).collect();
    let mut errors = Vec::new();
    for lost in lost {
        errors.extend(within_bound(lost).await.unwrap().err().map(|error| error.to_string()));
    }
    // Those that came first waited in vain; those that came later had a fresh connection already.
    assert!(errors.iter().any(|error| error.contains("does not answer")), "{errors:?}");
    within_bound(register(8)).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_may_only_read_and_write_rows_is_enough_once_the_tables_are_there() {
    let url = database::fresh().await;
    let role = throwaway_postgres::fresh_name("dml");
    let granted = format!(
        "CREATE ROLE {role} LOGIN; REVOKE CREATE ON SCHEMA public FROM PUBLIC; \
         GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}"
    );
    sql(&url, &granted).unwrap();
    let store =
        PostgresStore::new(&common::options(&url.replace("postgres@", &format!("{role}@"))))
            .unwrap();
    assert_eq!(store.migrations_pending().await.unwrap(), [""; 0]);
    assert_eq!(store.migrations_run().await.unwrap(), [""; 0]);
    assert!(!store.search_by_part_make().await.unwrap());
    let world = World::over(Arc::new(store));
    let issued = world.register("Acme", "pro").await;
    world.redeem(&issued.code, "a").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_is_not_whole_is_not_searched_and_not_taken_for_made() {
    let url = database::fresh().await;
    let store = PostgresStore::new(&common::options(&url)).unwrap();
    sql(
        &url,
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'tenants_by_part'::regclass",
    )
    .unwrap();
    let error = store.search_by_part_make().await.unwrap_err().to_string();
    assert!(error.contains("tenants_by_part"), "{error}");
    let world = World::over(Arc::new(store));
    world.register("Bolt Acme", "essentials").await;
    let asked = registry_core::registry::directory::ListTenants {
        query: Some("acme".to_owned()),
        ..Default::default()
    };
    assert!(world.registry.tenant_list(asked).await.unwrap().items.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_cannot_hold_every_name_is_refused() {
    let cluster = throwaway_postgres::test_cluster();
    let name = throwaway_postgres::fresh_name("latin");
    let made = format!("CREATE DATABASE {name} ENCODING 'LATIN1' TEMPLATE template0");
    sql(&format!("{cluster}/postgres"), &made).unwrap();
    let store = PostgresStore::new(&common::options(&format!("{cluster}/{name}"))).unwrap();
    let error = store.check_encoding().await.unwrap_err().to_string();
    assert!(error.contains("LATIN1") && error.contains("UTF8"), "{error}");
}
