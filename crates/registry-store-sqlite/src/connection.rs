//! Connections: one that writes (see [`queue`](crate::queue)), and a pool of readers beside it, which
//! WAL lets run at the same time.

use std::sync::Arc;
use std::time::Duration;

use diesel::connection::SimpleConnection as _;
use diesel::r2d2::{ConnectionManager, CustomizeConnection, Pool};
use diesel::result::{DatabaseErrorKind, Error as DieselError};
use diesel::{Connection as _, ConnectionError, RunQueryDsl as _, SqliteConnection};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness as _, embed_migrations};
use registry_core::store::StoreError;
use tokio::sync::Semaphore;

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("../../migrations/sqlite");

/// Maximum number of readers.
const READERS: u32 = 4;

/// Number of attempts, and the pause between two, to switch a new file to WAL while other processes
/// do the same.
const WAL_ATTEMPTS: u32 = 100;
const WAL_PAUSE: Duration = Duration::from_millis(20);

/// Settings of every connection. With FULL, an acknowledged registration survives a power cut. With
/// `secure_delete`, a deleted secret does not stay in the file's free pages.
const PRAGMAS: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
                       PRAGMA foreign_keys = ON; PRAGMA secure_delete = ON;";

/// The database file.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) url: String,
    /// Time that a caller waits for a connection, and a connection for other processes. Then the
    /// error is that the database is busy.
    pub(crate) patience: Duration,
}

impl Target {
    fn pragmas(&self) -> String {
        format!("PRAGMA busy_timeout = {}; {PRAGMAS}", self.patience.as_millis())
    }
}

/// Sets up the connections that read.
#[derive(Debug)]
struct Reader(Target);

impl CustomizeConnection<SqliteConnection, diesel::r2d2::Error> for Reader {
    fn on_acquire(&self, connection: &mut SqliteConnection) -> Result<(), diesel::r2d2::Error> {
        let pragmas = format!("{} PRAGMA query_only = ON;", self.0.pragmas());
        connection.batch_execute(&pragmas).map_err(diesel::r2d2::Error::QueryError)
    }
}

/// Opens the connection that writes. Creates the file if it does not exist, and migrates the
/// database.
pub(crate) fn open(target: &Target) -> Result<SqliteConnection, StoreError> {
    let mut writer = establish(target)?;
    let url = &target.url;
    let pending = writer.has_pending_migration(MIGRATIONS);
    let pending =
        pending.map_err(|error| StoreError::Unavailable(format!("cannot read {url}: {error}")))?;
    if pending {
        // No other process reads or writes meanwhile: of two that start at once, one migrates.
        let mut failed = None;
        let migrated = writer.exclusive_transaction(|writer| {
            writer.run_pending_migrations(MIGRATIONS).map(drop).map_err(|error| {
                failed = Some(format!("a migration of {url} failed: {error}"));
                DieselError::RollbackTransaction
            })
        });
        match failed {
            Some(problem) => return Err(StoreError::Corrupt(problem)),
            None => migrated.map_err(|error| failure(&error))?,
        }
    }
    Ok(writer)
}

/// Copies the database as it is at this moment, on a separate connection: the statement must not
/// run in a transaction.
pub(crate) async fn copy_to(target: Target, path: String) -> Result<(), StoreError> {
    blocking(move || {
        let copy = diesel::sql_query("VACUUM INTO ?").bind::<diesel::sql_types::Text, _>(path);
        copy.execute(&mut establish(&target)?).map(drop).map_err(|error| failure(&error))
    })
    .await
}

/// The connections that read.
pub(crate) struct Readers {
    pool: Pool<ConnectionManager<SqliteConnection>>,
    /// One permit for each connection: callers wait here, and not on a thread.
    permits: Arc<Semaphore>,
    patience: Duration,
}

impl Readers {
    pub(crate) fn new(target: &Target) -> Self {
        let pool = Pool::builder()
            .max_size(READERS)
            .min_idle(Some(0))
            .connection_timeout(target.patience)
            .connection_customizer(Box::new(Reader(target.clone())))
            .build_unchecked(ConnectionManager::new(&target.url));
        let permits = Arc::new(Semaphore::new(READERS as usize));
        Self { pool, permits, patience: target.patience }
    }

    /// Runs `work` on one snapshot of the database, without keeping writers waiting.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut SqliteConnection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let permit =
            tokio::time::timeout(self.patience, self.permits.clone().acquire_owned()).await;
        let permit = permit.ok().and_then(Result::ok);
        let permit = permit
            .ok_or_else(|| StoreError::Contended("all read connections are in use".to_owned()))?;
        let pool = self.pool.clone();
        blocking(move || {
            let mut connection =
                pool.get().map_err(|error| StoreError::Unavailable(error.to_string()))?;
            let mut result = None;
            let ended = connection.transaction(|connection| -> Result<(), DieselError> {
                result = Some(work(connection));
                Ok(())
            });
            drop(permit);
            // The work's own error says more than that of ending a transaction that only reads.
            match (result, ended) {
                (Some(Err(error)), _) => Err(error),
                (Some(Ok(value)), Ok(())) => Ok(value),
                (_, Err(error)) => Err(failure(&error)),
                (None, Ok(())) => Err(StoreError::Unavailable("nothing was read".to_owned())),
            }
        })
        .await
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let ended = tokio::task::spawn_blocking(work).await;
    ended.map_err(|error| StoreError::Unavailable(format!("a transaction was aborted: {error}")))?
}

/// Opens a connection. Switching a new file to WAL does not wait for other processes that do the
/// same, so it is attempted several times.
pub(crate) fn establish(target: &Target) -> Result<SqliteConnection, StoreError> {
    let (url, pragmas) = (&target.url, target.pragmas());
    let connect = |error: ConnectionError| StoreError::Unavailable(format!("{url}: {error}"));
    let mut connection = SqliteConnection::establish(url).map_err(connect)?;
    let mut set = connection.batch_execute(&pragmas);
    for _ in 1..WAL_ATTEMPTS {
        if !matches!(set, Err(DieselError::DatabaseError(DatabaseErrorKind::Unknown, _))) {
            break;
        }
        std::thread::sleep(WAL_PAUSE);
        set = connection.batch_execute(&pragmas);
    }
    set.map_err(|error| StoreError::Unavailable(format!("{url}: {error}")))?;
    Ok(connection)
}

/// Returns what a failure means for a caller. diesel names the kinds of failures that depend on the
/// data. All others are troubles of the file, the disk, or of another process with the same file.
pub(crate) fn failure(error: &DieselError) -> StoreError {
    match error {
        DieselError::DatabaseError(DatabaseErrorKind::Unknown, _)
        | DieselError::BrokenTransactionManager => StoreError::Unavailable(error.to_string()),
        _ => StoreError::Corrupt(error.to_string()),
    }
}
