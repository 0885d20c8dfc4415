//! Runs the migrations.
//!
//! They take no lock of their own: of several processes that start at once, one makes the tables. The
//! others fail, try again, and find nothing left to do.
//!
//! A migration waits only briefly for a table that a transaction uses: while it waits, every request
//! would wait behind it. It gives way, and tries again.

use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_types::Bool;
use diesel_async::{
    AsyncMigrationHarness, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection as _,
};
use diesel_migrations::MigrationHarness as _;
use registry_core::store::StoreError;
use registry_store_sql::script::{Script, Session};
use registry_store_sql::statement::Statement;

use crate::failure::failure;
use crate::pending::{MIGRATIONS, Pending};
use crate::pool::Pool;

/// Statements that create the index for searches by any part of a name. Each runs in its own
/// transaction: within a longer one, an index cannot be built while others write.
const SEARCH: [&str; 2] = [
    "CREATE EXTENSION IF NOT EXISTS pg_trgm",
    "CREATE INDEX CONCURRENTLY IF NOT EXISTS tenants_by_part ON tenants USING gin (search_text gin_trgm_ops)",
];

/// Number of attempts, and the pause between two, while another process migrates or uses a table.
const ATTEMPTS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(500);

/// Time that a migration waits for a lock.
const LOCK_TIMEOUT: Duration = Duration::from_millis(500);

#[derive(QueryableByName)]
struct Flag {
    #[diesel(sql_type = Bool)]
    flag: bool,
}

/// Runs the pending migrations, and returns their names.
pub(crate) async fn run(pool: &Pool) -> Result<Vec<String>, StoreError> {
    let mut result = run_once(pool).await;
    for _ in 1..ATTEMPTS {
        // Migrations fail if another process runs them at the same time. An unreachable server is
        // another case.
        if !matches!(result, Err(StoreError::Corrupt(_))) {
            return result;
        }
        tokio::time::sleep(PAUSE).await;
        result = run_once(pool).await;
    }
    let Err(StoreError::Corrupt(problem)) = result else { return result };
    let blockers = pool.read(Blockers).await?;
    if blockers.is_empty() {
        return Err(StoreError::Corrupt(problem));
    }
    let blockers = blockers.join(", ");
    Err(StoreError::Contended(format!("{problem}. These sessions use its tables: {blockers}")))
}

async fn run_once(pool: &Pool) -> Result<Vec<String>, StoreError> {
    let pending = pool.read(Pending).await?;
    if pending.is_empty() {
        return Ok(pending);
    }
    if let Some(grant) = pool.read(MissingGrant).await? {
        let problem = format!("its role may not create tables: run `{grant}` as an administrator");
        return Err(StoreError::Unavailable(problem));
    }
    let connection = pool.unlimited(LOCK_TIMEOUT).await?;
    // The harness blocks, so it gets a thread of its own.
    let run = move || {
        let mut harness = AsyncMigrationHarness::new(connection);
        harness.run_pending_migrations(MIGRATIONS).map(drop).map_err(|error| error.to_string())
    };
    let ended = tokio::task::spawn_blocking(run).await;
    let ended = ended
        .map_err(|error| StoreError::Unavailable(format!("a migration was aborted: {error}")))?;
    ended.map_err(|error| StoreError::Corrupt(format!("a migration failed: {error}")))?;
    Ok(pending)
}

/// Returns the statement that grants the right to create tables, if the role does not have it.
struct MissingGrant;

impl Script for MissingGrant {
    type Output = Option<String>;

    async fn run<S: Session>(&self, session: &mut S) -> Result<Option<String>, StoreError> {
        let grant = "SELECT CASE WHEN current_schema() IS NULL THEN \
                     format('CREATE SCHEMA AUTHORIZATION %I', current_user) \
                     WHEN NOT has_schema_privilege(current_schema(), 'CREATE') THEN \
                     format('GRANT USAGE, CREATE ON SCHEMA %I TO %I', current_schema(), current_user) \
                     END";
        let grant = session.load::<Option<String>>(Statement::new(grant)).await?;
        Ok(grant.into_iter().flatten().next())
    }
}

/// Describes the sessions that hold locks on tables of the schema.
struct Blockers;

impl Script for Blockers {
    type Output = Vec<String>;

    async fn run<S: Session>(&self, session: &mut S) -> Result<Vec<String>, StoreError> {
        let blockers = "SELECT DISTINCT format('%s (%s, %s, since %s)', a.pid, \
                        coalesce(nullif(a.application_name, ''), a.usename, 'unknown'), a.state, \
                        date_trunc('second', a.xact_start)) \
                        FROM pg_locks l JOIN pg_class c ON c.oid = l.relation \
                        JOIN pg_stat_activity a ON a.pid = l.pid \
                        WHERE c.relkind = 'r' AND c.relnamespace = current_schema()::regnamespace \
                        AND l.granted AND l.pid <> pg_backend_pid()";
        let blockers = session.load::<Option<String>>(Statement::new(blockers)).await?;
        Ok(blockers.into_iter().flatten().collect())
    }
}

/// Returns whether the index for searches by part is complete; `None` if it does not exist.
async fn search_state(connection: &mut AsyncPgConnection) -> QueryResult<Option<bool>> {
    let state =
        "SELECT indisvalid AS flag FROM pg_index WHERE indexrelid = to_regclass('tenants_by_part')";
    let state: Option<Flag> = diesel::sql_query(state).get_result(connection).await.optional()?;
    Ok(state.map(|state| state.flag))
}

/// Creates the index for searches by part. Returns false if it existed.
pub(crate) async fn make_search(pool: &Pool) -> Result<bool, StoreError> {
    let mut connection = pool.unlimited(Duration::ZERO).await?;
    let mut state = search_state(&mut connection).await.map_err(|error| failure(&error))?;
    for _ in 1..ATTEMPTS {
        // Another process may be building it.
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
        // If several processes create the extension at once, all but one fail, and then find it.
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

/// Checks that the encoding of the database is UTF-8.
pub(crate) struct CheckEncoding;

impl Script for CheckEncoding {
    type Output = ();

    async fn run<S: Session>(&self, session: &mut S) -> Result<(), StoreError> {
        let encoding = Statement::new("SELECT current_setting('server_encoding')");
        let encoding = session.load::<Option<String>>(encoding).await?.into_iter().flatten().next();
        match encoding.as_deref() {
            Some("UTF8") => Ok(()),
            other => Err(StoreError::Corrupt(format!(
                "its encoding is {} and must be UTF8, which can store every name",
                other.unwrap_or("unknown")
            ))),
        }
    }
}

/// Returns the server's time, in seconds since 1970.
pub(crate) struct UnixSeconds;

impl Script for UnixSeconds {
    type Output = i64;

    async fn run<S: Session>(&self, session: &mut S) -> Result<i64, StoreError> {
        let now = Statement::new("SELECT extract(epoch FROM clock_timestamp())::bigint");
        Ok(session.load::<i64>(now).await?.into_iter().sum())
    }
}
