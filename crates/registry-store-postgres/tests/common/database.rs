//! A separate database for each test, in the cluster that `cargo xtask test` starts.

use std::fs::File;

use registry_store_postgres::PostgresStore;
use throwaway_postgres::{TEST_CLUSTER, sql};

use crate::common::options;

/// Name of the migrated database that each test copies.
const TEMPLATE: &str = "registry_template";

/// Creates a migrated database, and returns its URL.
pub(crate) async fn create() -> String {
    let cluster = throwaway_postgres::test_cluster();
    let url = |database: &str| format!("{cluster}/{database}");
    // nextest runs each test in a separate process, so a file lock decides which one creates the
    // template.
    let lock = std::env::temp_dir()
        .join(format!("{TEST_CLUSTER}-{}.lock", cluster.replace(['/', ':'], "-")));
    let lock = File::create(lock).unwrap();
    lock.lock().unwrap();
    let exists = format!("SELECT count(*) FROM pg_database WHERE datname = '{TEMPLATE}'");
    if sql(&url("postgres"), &exists).unwrap() == "0" {
        sql(&url("postgres"), "CREATE DATABASE registry_making").unwrap();
        let store = PostgresStore::new(&options(&url("registry_making"))).unwrap();
        store.migrations_run().await.unwrap();
        store.search_by_part_make().await.unwrap();
        assert_eq!(store.migrations_pending().await.unwrap(), [""; 0]);
        drop(store);
        sql(&url("postgres"), &format!("ALTER DATABASE registry_making RENAME TO {TEMPLATE}"))
            .unwrap();
    }
    let name = format!("t{}", uuid());
    sql(&url("postgres"), &format!("CREATE DATABASE {name} TEMPLATE {TEMPLATE}")).unwrap();
    drop(lock);
    url(&name)
}

fn uuid() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap().trim().replace('-', "")
}
