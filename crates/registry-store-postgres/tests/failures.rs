//! The store when the database is busy, down, back again, or unusable.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;
#[path = "common/database.rs"]
mod database;
#[path = "common/proxy.rs"]
mod proxy;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use registry_core::store::{Keys as _, StoreError};
use registry_store_postgres::{PostgresOptions, PostgresStore};
use registry_testkit::{World, actor};
use throwaway_postgres::{Cluster, Durability, sql};
use tokio::time::{Instant, sleep};
use tokio_postgres::{Client, NoTls};

/// Time limit of a test's operation: longer than the timeouts of [`impatient`], shorter than the
/// server's own.
const BOUND: Duration = Duration::from_secs(5);

/// Returns options with short timeouts.
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
        .unwrap_or_else(|_| panic!("the operation took more than {BOUND:?}"))
}

/// Opens a session, which ends when the client is dropped.
async fn open_session(url: &str) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// Locks a table, and returns the session whose transaction holds the lock.
async fn lock_table(url: &str, table: &str) -> Client {
    let holder = open_session(url).await.unwrap();
    holder.batch_execute(&format!("BEGIN; LOCK TABLE {table}")).await.unwrap();
    holder
}

#[tokio::test(flavor = "multi_thread")]
async fn wait_for_lock_is_bounded() {
    let url = database::create().await;
    let world = World::over(Arc::new(PostgresStore::new(&impatient(&url)).unwrap()));
    let issued = world.register("Acme", "pro").await;
    let holder = lock_table(&url, "tenants").await;
    let error = within_bound(world.redeem(&issued.code, "a")).await.unwrap_err().to_string();
    assert!(error.contains("busy"), "{error}");
    holder.batch_execute("COMMIT").await.unwrap();
    world.redeem(&issued.code, "a").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn wait_for_connection_is_bounded() {
    let url = database::create().await;
    let store = Arc::new(PostgresStore::new(&impatient(&url)).unwrap());
    let world = Arc::new(World::over(store.clone()));
    world.register("Acme", "pro").await;
    let holder = lock_table(&url, "probes").await;
    let start = Instant::now();
    let waiting: Vec<_> = (0..6)
        .map(|_| {
            tokio::spawn({
                let store = store.clone();
                async move { store.probe().await }
            })
        })
        .collect();
    let mut without_connection = 0;
    for probe in waiting {
        let error = within_bound(probe).await.unwrap().unwrap_err();
        assert!(matches!(error, StoreError::Contended(_)), "{error}");
        without_connection += usize::from(error.to_string().contains("database.pool_size"));
    }
    assert!(without_connection >= 1, "no request waited for a connection in vain");
    assert!(start.elapsed() < BOUND);
    holder.batch_execute("COMMIT").await.unwrap();
    store.probe().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn restarted_server_is_found_again() {
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
    cluster.restart().unwrap();
    let start = Instant::now();
    while let Err(error) = world.redeem(&issued.code, "a").await {
        assert!(start.elapsed() < BOUND, "the server is not found again: {error}");
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn server_without_free_connection_is_unavailable() {
    let cluster = Cluster::start(
        Durability::Quick,
        &["max_connections = 4", "superuser_reserved_connections = 0"],
    )
    .unwrap();
    cluster.sql("postgres", "CREATE DATABASE registry").unwrap();
    let (start, mut sessions) = (Instant::now(), Vec::new());
    while sessions.len() < 4 {
        match open_session(&cluster.url("postgres")).await {
            Ok(session) => sessions.push(session),
            // The session that created the database may still be ending.
            Err(error) => {
                assert!(start.elapsed() < BOUND, "{} sessions: {error}", sessions.len());
                sleep(Duration::from_millis(10)).await;
            }
        }
    }
    let store = PostgresStore::new(&impatient(&cluster.url("registry"))).unwrap();
    let error = store.probe().await.unwrap_err();
    assert!(
        matches!(error, StoreError::Unavailable(_))
            && error.to_string().contains("too many clients"),
        "{error}"
    );
    drop(sessions);
}

#[tokio::test(flavor = "multi_thread")]
async fn error_without_tables_names_migrate() {
    let cluster = throwaway_postgres::test_cluster();
    let store = PostgresStore::new(&impatient(&format!("{cluster}/postgres"))).unwrap();
    let error = store.probe().await.unwrap_err().to_string();
    assert!(error.contains("registryctl migrate"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn several_processes_can_migrate_at_once() {
    let cluster = throwaway_postgres::test_cluster();
    let name = throwaway_postgres::unique_name("migrating");
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

/// R-tenants-7.
#[tokio::test(flavor = "multi_thread")]
async fn search_without_index_finds_beginnings() {
    let url = database::create().await;
    let world = World::over(Arc::new(PostgresStore::new(&common::options(&url)).unwrap()));
    world.register("Acme Ltd", "essentials").await;
    world.register("Bolt Acme", "essentials").await;
    let names = async |query: &str| {
        let request = registry_core::registry::directory::ListTenants {
            query: Some(query.to_owned()),
            ..Default::default()
        };
        let page = world.registry.tenant_list(request).await.unwrap();
        page.items
            .iter()
            .map(|item| item.record.tenant.company_name.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(names("acme").await, ["Bolt Acme", "Acme Ltd"]);
    sql(&url, "DROP INDEX tenants_by_part").unwrap();
    assert_eq!(names("acme").await, ["Acme Ltd"]);
    assert_eq!(names("BOLT-acme@").await, ["Bolt Acme"], "the beginning of an address matches");
}

/// Starts a proxy to the server of the database at `url`. Returns the URL of the database behind
/// it, and a switch. When the switch is set, the proxy silently drops all data of the connections
/// that are open.
async fn start_proxy(url: &str) -> (String, Arc<AtomicBool>) {
    let drop_data = Arc::new(AtomicBool::new(false));
    let switch = drop_data.clone();
    let serve = move |client, server| {
        // Connections that are opened after the switch was set work.
        let is_broken = switch.load(Ordering::SeqCst);
        let drop_data = if is_broken { Arc::default() } else { switch.clone() };
        async move {
            let passes = |_: &[u8]| !drop_data.load(Ordering::SeqCst);
            proxy::relay(client, server, passes, passes).await;
        }
    };
    (proxy::start(url, serve).await, drop_data)
}

#[tokio::test(flavor = "multi_thread")]
async fn silently_lost_connection_is_replaced() {
    let url = database::create().await;
    let (url, drop_data) = start_proxy(&url).await;
    let options =
        PostgresOptions { statement_timeout: Duration::from_millis(500), ..impatient(&url) };
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
    drop_data.store(true, Ordering::SeqCst);
    let lost: Vec<_> = (4..8).map(register).collect();
    let mut errors = Vec::new();
    for lost in lost {
        errors.extend(within_bound(lost).await.unwrap().err().map(|error| error.to_string()));
    }
    // The first requests waited in vain; later ones already had a new connection.
    assert!(errors.iter().any(|error| error.contains("does not respond")), "{errors:?}");
    within_bound(register(8)).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn migrated_database_needs_no_ddl_rights() {
    let url = database::create().await;
    let role = throwaway_postgres::unique_name("dml");
    let grants = format!(
        "CREATE ROLE {role} LOGIN; REVOKE CREATE ON SCHEMA public FROM PUBLIC; \
         GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}"
    );
    sql(&url, &grants).unwrap();
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
async fn incomplete_index_is_not_used() {
    let url = database::create().await;
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
    let request = registry_core::registry::directory::ListTenants {
        query: Some("acme".to_owned()),
        ..Default::default()
    };
    assert!(world.registry.tenant_list(request).await.unwrap().items.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn database_without_utf8_is_refused() {
    let cluster = throwaway_postgres::test_cluster();
    let name = throwaway_postgres::unique_name("latin");
    let create = format!("CREATE DATABASE {name} ENCODING 'LATIN1' TEMPLATE template0");
    sql(&format!("{cluster}/postgres"), &create).unwrap();
    let store = PostgresStore::new(&common::options(&format!("{cluster}/{name}"))).unwrap();
    let error = store.check().await.unwrap_err().to_string();
    assert!(error.contains("LATIN1") && error.contains("UTF8"), "{error}");
}
