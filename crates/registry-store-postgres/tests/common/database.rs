//! A database of its own for each test, in the cluster that `cargo xtask test` starts.

use std::fs::File;

use registry_store_postgres::PostgresStore;
use throwaway_postgres::{TEST_CLUSTER, sql};

use crate::common::options;

/// What every database is a copy of.
const TEMPLATE: &str = "registry_template";

/// The address of a fresh, migrated database.
pub(crate) async fn fresh() -> String {
    let cluster = throwaway_postgres::test_cluster();
    let url = |database: &str| format!("{cluster}/{database}");
    // Each test is a process of its own, so the turn to make the template is taken by a file's
    // lock.
    let turn = std::env::temp_dir()
        .join(format!("{TEST_CLUSTER}-{}.lock", cluster.replace(['/', ':'], "-")));
    let turn = File::create(turn).unwrap();
    turn.lock().unwrap();
    let there = format!("SELECT count(*) FROM pg_database WHERE datname = '{TEMPLATE}'");
    if sql(&url("postgres"), &there).unwrap() == "0" {
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
    drop(turn);
    url(&name)
}

fn uuid() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap().trim().replace('-', "")
}
