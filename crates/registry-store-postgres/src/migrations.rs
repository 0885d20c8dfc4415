//! Brings the tables up to date.
//!
//! No lock is taken for it: of processes that start at once one makes the tables, and the others, who then fail, look
//! again and find nothing left to do.

use std::time::Duration;

use diesel_async::AsyncMigrationHarness;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use registry_core::store::StoreError;

use crate::pool::Pool;

const TABLES: EmbeddedMigrations = embed_migrations!("../../migrations/postgres");

/// What makes any part of a company's name or of an address quick to find. It takes the extension `pg_trgm`.
const SEARCH: EmbeddedMigrations = embed_migrations!("../../migrations/postgres-search");

/// How often, and after which pause, somebody else's migrating is waited for.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(250);

/// The names of the migrations that have not been run.
pub(crate) async fn pending(pool: &Pool) -> Result<Vec<String>, StoreError> {
    with_harness(pool, |harness| {
        let pending = harness.pending_migrations(TABLES).map_err(|error| error.to_string())?;
        Ok(pending.iter().map(|migration| migration.name().to_string()).collect())
    })
    .await
}

/// Runs what has not been run; returns the names.
pub(crate) async fn run(pool: &Pool) -> Result<Vec<String>, StoreError> {
    run_beside_others(pool, || TABLES, TRIES).await
}

/// Makes every part of a name quick to find, where the server lets us.
pub(crate) async fn run_search(pool: &Pool) -> Result<Vec<String>, StoreError> {
    run_beside_others(pool, || SEARCH, 2).await
}

/// Somebody else's migrating makes ours fail, and leaves nothing to do. A server that is not there is no such case.
async fn run_beside_others(
    pool: &Pool,
    migrations: fn() -> EmbeddedMigrations,
    at_most: u32,
) -> Result<Vec<String>, StoreError> {
    let mut tried = run_once(pool, migrations()).await;
    for _ in 1..at_most {
        if !matches!(tried, Err(StoreError::Corrupt(_))) {
            break;
        }
        tokio::time::sleep(PAUSE).await;
        tried = run_once(pool, migrations()).await;
    }
    tried
}

async fn run_once(pool: &Pool, migrations: EmbeddedMigrations) -> Result<Vec<String>, StoreError> {
    with_harness(pool, |harness| {
        let done = harness.run_pending_migrations(migrations).map_err(|error| error.to_string())?;
        Ok(done.iter().map(ToString::to_string).collect())
    })
    .await
}

type Harness = AsyncMigrationHarness<crate::pool::Pooled>;

/// The harness blocks, so it gets a thread of its own.
async fn with_harness<T: Send + 'static>(
    pool: &Pool,
    work: impl FnOnce(&mut Harness) -> Result<T, String> + Send + 'static,
) -> Result<T, StoreError> {
    let connection = pool.get().await?;
    let ended = tokio::task::spawn_blocking(move || work(&mut AsyncMigrationHarness::new(connection))).await;
    let ended = ended.map_err(|error| StoreError::Unavailable(format!("migrating broke off: {error}")))?;
    ended.map_err(|error| StoreError::Corrupt(format!("migrating: {error}")))
}
