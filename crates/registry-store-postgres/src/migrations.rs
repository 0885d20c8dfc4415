//! Brings the tables up to date.
//!
//! No lock is taken for it: of processes that start at once one makes the tables, and the others,
//! who then fail, look again and find nothing left to do. None of it is under the time limits of
//! requests.

use std::collections::BTreeSet;
use std::time::Duration;

use diesel::migration::{Migration, MigrationSource};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::sql_types::{Bool, Text};
use diesel_async::{
    AsyncMigrationHarness, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection as _,
};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use registry_core::store::StoreError;

use crate::failure::failure;
use crate::pool::Pool;

const TABLES: EmbeddedMigrations = embed_migrations!("../../migrations/postgres");

/// What makes any part of a company's name or of an address quick to find. Each statement runs by
/// itself: an index cannot be built beside writers within a transaction.
const SEARCH: [&str; 2] = [
    "CREATE EXTENSION IF NOT EXISTS pg_trgm",
    "CREATE INDEX CONCURRENTLY IF NOT EXISTS tenants_by_part ON tenants USING gin (search_text gin_trgm_ops)",
];

/// How often, and after which pause, somebody else's migrating is waited for.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(250);

#[derive(QueryableByName)]
struct Version {
    #[diesel(sql_type = Text)]
    version: String,
}

#[derive(QueryableByName)]
struct Flag {
    #[diesel(sql_type = Bool)]
    flag: bool,
}

/// The names of the migrations that have not been run.
pub(crate) async fn pending(pool: &Pool) -> Result<Vec<String>, StoreError> {
    let mut connection = pool.unlimited().await?;
    pending_on(&mut connection).await
}

async fn pending_on(connection: &mut AsyncPgConnection) -> Result<Vec<String>, StoreError> {
    let there = "SELECT to_regclass('__diesel_schema_migrations') IS NOT NULL AS flag";
    let there: Flag =
        diesel::sql_query(there).get_result(connection).await.map_err(|error| failure(&error))?;
    let run: Vec<Version> = if there.flag {
        let run = diesel::sql_query("SELECT version FROM __diesel_schema_migrations")
            .load(connection)
            .await;
        run.map_err(|error| failure(&error))?
    } else {
        Vec::new()
    };
    let run: BTreeSet<String> = run.into_iter().map(|row| row.version).collect();
    let all: Vec<Box<dyn Migration<Pg>>> = TABLES
        .migrations()
        .map_err(|error| StoreError::Corrupt(format!("the migrations are unreadable: {error}")))?;
    let not_run = all.iter().filter(|it| !run.contains(&it.name().version().to_string()));
    Ok(not_run.map(|it| it.name().to_string()).collect())
}

/// Runs what has not been run; returns the names.
pub(crate) async fn run(pool: &Pool) -> Result<Vec<String>, StoreError> {
    let mut tried = run_once(pool).await;
    for _ in 1..TRIES {
        // Somebody else's migrating makes ours fail. A server that is not there is no such case.
        if !matches!(tried, Err(StoreError::Corrupt(_))) {
            break;
        }
        tokio::time::sleep(PAUSE).await;
        tried = run_once(pool).await;
    }
    tried
}

async fn run_once(pool: &Pool) -> Result<Vec<String>, StoreError> {
    let mut connection = pool.unlimited().await?;
    let pending = pending_on(&mut connection).await?;
    if pending.is_empty() {
        return Ok(pending);
    }
    // The harness blocks, so it gets a thread of its own.
    let run = move || {
        let mut harness = AsyncMigrationHarness::new(connection);
        harness.run_pending_migrations(TABLES).map(drop).map_err(|error| error.to_string())
    };
    let ended = tokio::task::spawn_blocking(run).await;
    let ended = ended
        .map_err(|error| StoreError::Unavailable(format!("a migration was aborted: {error}")))?;
    ended.map_err(|error| StoreError::Corrupt(format!("a migration failed: {error}")))?;
    Ok(pending)
}

/// Whether the index for searches by part is whole; `None` where there is none.
pub(crate) async fn search_state(connection: &mut AsyncPgConnection) -> QueryResult<Option<bool>> {
    let state =
        "SELECT indisvalid AS flag FROM pg_index WHERE indexrelid = to_regclass('tenants_by_part')";
    let state: Option<Flag> = diesel::sql_query(state).get_result(connection).await.optional()?;
    Ok(state.map(|state| state.flag))
}

/// Makes the index for searches by part, where there is none.
pub(crate) async fn make_search(pool: &Pool) -> Result<bool, StoreError> {
    let mut connection = pool.unlimited().await?;
    let mut state = search_state(&mut connection).await.map_err(|error| failure(&error))?;
    for _ in 1..TRIES {
        // Somebody else's building is waited for.
        if state != Some(false) {
            break;
        }
        tokio::time::sleep(PAUSE).await;
        state = search_state(&mut connection).await.map_err(|error| failure(&error))?;
    }
    match state {
        Some(true) => return Ok(false),
        Some(false) => {
            let problem = "the index `tenants_by_part` is incomplete. If no process is building it, \
                           drop it and try again.";
            return Err(StoreError::Contended(problem.to_owned()));
        }
        None => {}
    }
    for statement in SEARCH {
        let made = connection.batch_execute(statement).await;
        // Of several that make the extension at once, all but one fail, and find it there.
        let made = match made {
            Err(diesel::result::Error::DatabaseError(
                diesel::result::DatabaseErrorKind::UniqueViolation,
                _,
            )) => connection.batch_execute(statement).await,
            made => made,
        };
        made.map_err(|error| failure(&error))?;
    }
    Ok(true)
}
