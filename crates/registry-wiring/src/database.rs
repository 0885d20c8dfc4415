//! The database: SQLite in the data folder, or PostgreSQL if a URL is configured.

use std::sync::Arc;

use anyhow::{Context as _, bail};
use registry_core::clock::Clock as _;
use registry_core::store::Store;
use registry_store_postgres::{PostgresOptions, PostgresStore};
use registry_store_sql::SqlStore;
use registry_store_sqlite::SqliteStore;

use crate::config::{Config, Database};
use crate::data::{DataFolder, configured_secret};
use crate::file_system;
use crate::os::OsClock;

/// Opens the database and makes sure that all migrations have run.
pub(crate) async fn open(config: &Config, data: &DataFolder) -> anyhow::Result<Arc<dyn Store>> {
    let Some(store) = postgres(&config.database)? else {
        file_system::check(data.path())?;
        let path = data.private_database()?;
        let patience = config.database.lock_timeout.to_std();
        let store = SqliteStore::open_with(&path, patience)
            .with_context(|| format!("{} cannot be opened", path.display()))?;
        return Ok(Arc::new(store));
    };
    store.check().await.context(UNUSABLE)?;
    if config.database.migrate {
        if let Some(problem) = run_migrations(&store, &config.database).await?.search {
            tracing::warn!(
                problem,
                "searches match only the beginning of a name or an address \
                 (`database.search_by_part`)"
            );
        }
        return Ok(Arc::new(store));
    }
    let pending = store.migrations_pending().await.context(UNUSABLE)?;
    if !pending.is_empty() {
        bail!(
            "the database has pending migrations and `database.migrate` is off: \
             run `registryctl migrate` first"
        );
    }
    Ok(Arc::new(store))
}

/// Result of running the migrations.
#[derive(Clone, Debug)]
pub struct Migrated {
    /// Names of the migrations that ran.
    pub names: Vec<String>,
    /// Error of creating the index for searches by any part of a name, if it was configured.
    pub search: Option<String>,
}

/// Runs the pending migrations of a PostgreSQL database. Returns `None` for SQLite, which is
/// migrated whenever it is opened.
pub async fn migrate(config: &Config) -> anyhow::Result<Option<Migrated>> {
    match postgres(&config.database)? {
        None => Ok(None),
        Some(store) => {
            store.check().await.context(UNUSABLE)?;
            run_migrations(&store, &config.database).await.map(Some)
        }
    }
}

/// Returns the seconds by which the clock of a PostgreSQL database is ahead of this machine's.
/// SQLite has no clock of its own.
pub async fn database_clock_skew(config: &Config) -> anyhow::Result<i64> {
    let Some(store) = postgres(&config.database)? else { return Ok(0) };
    let database = store.unix_seconds().await.context(UNUSABLE)?;
    Ok(database - OsClock.now().timestamp())
}

const UNUSABLE: &str = "the database cannot be used (`database.url`)";

async fn run_migrations(store: &PostgresStore, database: &Database) -> anyhow::Result<Migrated> {
    let mut names = store.migrations_run().await.context(UNUSABLE)?;
    let mut search = None;
    if database.search_by_part {
        match store.search_by_part_make().await {
            Ok(true) => names.push("search_by_part".to_owned()),
            Ok(false) => {}
            Err(error) => search = Some(error.to_string()),
        }
    }
    Ok(Migrated { names, search })
}

/// Checks the URL, and reads the file that it is in.
pub(crate) fn check(config: &Config) -> anyhow::Result<()> {
    postgres(&config.database).map(drop)
}

fn postgres(database: &Database) -> anyhow::Result<Option<SqlStore<PostgresStore>>> {
    let url =
        configured_secret("database.url", database.url.as_ref(), database.url_file.as_deref())?;
    let Some(url) = url else { return Ok(None) };
    let options = PostgresOptions {
        url,
        pool_size: database.pool_size,
        pool_wait: database.pool_wait.to_std(),
        batch_size: database.batch_size,
        batches_in_flight: database.batches_in_flight,
        connect_timeout: database.connect_timeout.to_std(),
        statement_timeout: database.statement_timeout.to_std(),
        lock_timeout: database.lock_timeout.to_std(),
    };
    PostgresStore::new(&options).context(UNUSABLE).map(Some)
}
