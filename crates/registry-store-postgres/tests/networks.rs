//! The store behind networks and servers that let it down: silent hosts, connections that a firewall
//! forgot, failovers, and poolers.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;
#[path = "common/database.rs"]
mod database;
#[path = "common/proxy.rs"]
mod proxy;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use registry_core::store::{Keys as _, StoreError};
use registry_store_postgres::{PostgresOptions, PostgresStore};
use registry_testkit::World;
use throwaway_postgres::{Cluster, Durability};
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};

fn options(url: &str) -> PostgresOptions {
    PostgresOptions { connect_timeout: Duration::from_secs(2), ..common::options(url) }
}

/// Replaces the host and the port of a URL.
fn with_hosts(url: &str, hosts: &str) -> String {
    let (_, database) = url.strip_prefix("postgres://postgres@").unwrap().split_once('/').unwrap();
    format!("postgres://postgres@{hosts}/{database}")
}

fn host_of(url: &str) -> &str {
    url.strip_prefix("postgres://postgres@").unwrap().split_once('/').unwrap().0
}

/// Registers several tenants at once, and panics if one takes longer than two seconds.
async fn register_at_once(world: &Arc<World>, count: usize) {
    let begun = Instant::now();
    let register = |number: usize| {
        let world = world.clone();
        tokio::spawn(async move { world.register(&format!("Company {number}"), "pro").await })
    };
    for registered in join_all((0..count).map(register)).await {
        registered.unwrap();
    }
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_host_leaves_time_for_others() {
    let url = database::create().await;
    // Its kernel accepts connections, and nothing ever answers.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = silent.local_addr().unwrap();
    let hosts = format!("{silent},{}", host_of(&url));
    let store = PostgresStore::new(&options(&with_hosts(&url, &hosts))).unwrap();
    let begun = Instant::now();
    store.probe().await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    let begun = Instant::now();
    let world = Arc::new(World::over(Arc::new(store)));
    register_at_once(&world, 8).await;
    assert!(begun.elapsed() < Duration::from_secs(1), "the host that responded is tried first");
}

/// A firewall forgets connections that are idle, and drops their packets without a word.
#[tokio::test(flavor = "multi_thread")]
async fn forgotten_connections_are_replaced_in_time() {
    let url = database::create().await;
    let generation = Arc::new(AtomicUsize::new(0));
    let seen = generation.clone();
    let url = proxy::start(&url, move |client, server| {
        let (opened, seen) = (seen.load(Ordering::SeqCst), seen.clone());
        let again = seen.clone();
        proxy::relay(
            client,
            server,
            move |_| seen.load(Ordering::SeqCst) == opened,
            move |_| again.load(Ordering::SeqCst) == opened,
        )
    })
    .await;
    let store = PostgresStore::new(&options(&url)).unwrap();
    let world = Arc::new(World::over(Arc::new(store)));
    register_at_once(&world, 8).await;
    generation.fetch_add(1, Ordering::SeqCst);
    sleep(Duration::from_millis(1_200)).await;
    register_at_once(&world, 16).await;
    register_at_once(&world, 16).await;
}

/// The first host is gone, and so are its connections.
#[tokio::test(flavor = "multi_thread")]
async fn other_host_is_found_after_failover() {
    let second = database::create().await;
    let name = second.rsplit('/').next().unwrap();
    let cluster = Cluster::start(Durability::Quick, &[]).unwrap();
    cluster.sql("postgres", &format!("CREATE DATABASE {name}")).unwrap();
    let first = cluster.url(name);
    PostgresStore::new(&options(&first)).unwrap().migrations_run().await.unwrap();
    let hosts = format!("{},{}", host_of(&first), host_of(&second));
    let store = PostgresStore::new(&options(&with_hosts(&second, &hosts))).unwrap();
    store.probe().await.unwrap();
    let probes = "SELECT writes FROM probes";
    assert_eq!(cluster.sql(name, probes).unwrap(), "1", "the first host is tried first");
    cluster.stop_immediately().unwrap();
    let begun = Instant::now();
    while store.probe().await.is_err() {
        assert!(begun.elapsed() < Duration::from_secs(5), "the other host is not found");
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(throwaway_postgres::sql(&second, probes).unwrap(), "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_right_is_named_with_its_grant() {
    let cluster = Cluster::start(Durability::Quick, &[]).unwrap();
    for statement in ["CREATE DATABASE registry", "CREATE ROLE reader LOGIN"] {
        cluster.sql("postgres", statement).unwrap();
    }
    cluster.sql("registry", "REVOKE CREATE ON SCHEMA public FROM PUBLIC").unwrap();
    let url = cluster.url("registry").replace("postgres@", "reader@");
    let store = PostgresStore::new(&options(&url)).unwrap();
    let begun = Instant::now();
    let Err(StoreError::Unavailable(problem)) = store.migrations_run().await else {
        panic!("a role without rights cannot migrate")
    };
    assert!(problem.contains("GRANT USAGE, CREATE ON SCHEMA public TO reader"), "{problem}");
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}

/// While a migration waits for a table, every request waits behind it. So it waits only briefly.
#[tokio::test(flavor = "multi_thread")]
async fn migration_gives_way_to_open_transaction() {
    const DOWN: &str =
        include_str!("../../../migrations/postgres/2026-11-28-000000_mail_kinds/down.sql");
    let cluster = Cluster::start(Durability::Quick, &[]).unwrap();
    cluster.sql("postgres", "CREATE DATABASE registry").unwrap();
    let url = cluster.url("registry");
    let store = PostgresStore::new(&options(&url)).unwrap();
    store.migrations_run().await.unwrap();
    cluster.sql("registry", DOWN).unwrap();
    let forget = "DELETE FROM __diesel_schema_migrations WHERE version = '20261128000000'";
    cluster.sql("registry", forget).unwrap();

    let (holder, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    holder.batch_execute("BEGIN; SELECT count(*) FROM mails").await.unwrap();
    let migrating = tokio::spawn({
        let store = store.clone();
        async move { store.migrations_run().await }
    });
    for _ in 0..3 {
        sleep(Duration::from_millis(400)).await;
        let begun = Instant::now();
        cluster.sql("registry", "SELECT count(*) FROM mails").unwrap();
        assert!(begun.elapsed() < Duration::from_millis(1_500), "{:?}", begun.elapsed());
    }
    assert!(!migrating.is_finished(), "the migration waits for the open transaction");
    holder.batch_execute("COMMIT").await.unwrap();
    let names = migrating.await.unwrap().unwrap();
    assert!(names.iter().any(|name| name.contains("mail_kinds")), "{names:?}");
}

/// A running PgBouncer, in a mode that gives out connections for one transaction each.
struct PgBouncer {
    child: std::process::Child,
    url: String,
    _folder: tempfile::TempDir,
}

impl PgBouncer {
    fn start(url: &str) -> Self {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let (host, port) = host_of(url).split_once(':').unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let own = listener.local_addr().unwrap().port();
        drop(listener);
        let config = folder.path().join("pgbouncer.ini");
        let text = format!(
            "[databases]\n* = host={host} port={port} user=postgres\n[pgbouncer]\n\
             listen_addr = 127.0.0.1\nlisten_port = {own}\nunix_socket_dir =\n\
             auth_type = any\npool_mode = transaction\n"
        );
        std::fs::write(&config, text).unwrap();
        let program = std::env::var("PGBOUNCER").unwrap();
        // It does not run as root.
        let mut command = if rustix::process::geteuid().is_root() {
            let mut command = std::process::Command::new("setpriv");
            command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", &program]);
            command
        } else {
            std::process::Command::new(program)
        };
        let child = command.arg("-q").arg(&config).current_dir("/").spawn().unwrap();
        Self { child, url: with_hosts(url, &format!("127.0.0.1:{own}")), _folder: folder }
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn transaction_pooling_of_pgbouncer_is_refused() {
    let url = database::create().await;
    let direct = PostgresStore::new(&options(&url)).unwrap();
    direct.check().await.unwrap();
    let pooler = PgBouncer::start(&url);
    let begun = Instant::now();
    loop {
        let store = PostgresStore::new(&options(&pooler.url)).unwrap();
        let problem = store.check().await.unwrap_err().to_string();
        if problem.contains("PgBouncer") {
            assert!(problem.contains("pool_mode = session"), "{problem}");
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "{problem}");
        sleep(Duration::from_millis(100)).await;
    }
}
