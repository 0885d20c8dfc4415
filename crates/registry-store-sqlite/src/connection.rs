//! Connections: one writer behind a fair async mutex, a pool of readers beside it (WAL lets them
//! run together).
//!
//! A transaction runs whole in one blocking closure, which always ends: a caller that goes away
//! cannot leave one open.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use diesel::RunQueryDsl as _;
use diesel::connection::{AnsiTransactionManager, SimpleConnection as _, TransactionManager as _};
use diesel::r2d2::{ConnectionManager, CustomizeConnection, Pool};
use diesel::result::{DatabaseErrorKind, Error as DieselError};
use diesel::{Connection as _, ConnectionError, SqliteConnection};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness as _, embed_migrations};
use registry_core::store::StoreError;
use tokio::sync::{Mutex, Semaphore};

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("../../migrations/sqlite");

/// How many readers there are at most.
const READERS: u32 = 4;

/// How long a caller waits for a connection before it is told that the database is busy.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often, and after which pause, a new file is switched to WAL while others do the same.
const WAL_TRIES: u32 = 100;
const WAL_PAUSE: Duration = Duration::from_millis(20);

/// What every connection is set to. FULL: an acknowledged registration survives a power cut.
const PRAGMAS: &str = "PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
                       PRAGMA foreign_keys = ON;";

#[derive(Debug)]
struct Reader;

impl CustomizeConnection<SqliteConnection, diesel::r2d2::Error> for Reader {
    fn on_acquire(&self, connection: &mut SqliteConnection) -> Result<(), diesel::r2d2::Error> {
        let pragmas = format!("{PRAGMAS} PRAGMA query_only = ON;");
        connection.batch_execute(&pragmas).map_err(diesel::r2d2::Error::QueryError)
    }
}

/// The connections to one database file.
pub(crate) struct Connections {
    url: String,
    /// Empty after a panic within a transaction: the next writer opens a fresh one.
    writer: Arc<Mutex<Option<SqliteConnection>>>,
    readers: Pool<ConnectionManager<SqliteConnection>>,
    /// One a reader: who waits for one waits here, and not on a thread.
    places: Arc<Semaphore>,
}

impl Connections {
    /// Opens the database, makes its file where there is none, and brings its tables up to date.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let url = path
            .to_str()
            .ok_or_else(|| StoreError::Unavailable("its path is not UTF-8".to_owned()))?
            .to_owned();
        let mut writer = establish(&url)?;
        // One transaction that nobody else writes beside: of two processes that start at once, one
        // migrates.
        let pending = writer.has_pending_migration(MIGRATIONS);
        let pending = pending
            .map_err(|error| StoreError::Unavailable(format!("cannot read {url}: {error}")))?;
        if pending {
            transaction(&mut writer, LockMode::Everything, |writer| migrate(writer, &url))?;
        }
        let readers = Pool::builder()
            .max_size(READERS)
            .min_idle(Some(0))
            .connection_timeout(PATIENCE)
            .connection_customizer(Box::new(Reader))
            .build_unchecked(ConnectionManager::new(&url));
        Ok(Self {
            url,
            writer: Arc::new(Mutex::new(Some(writer))),
            readers,
            places: Arc::new(Semaphore::new(READERS as usize)),
        })
    }

    /// Runs `work` in one transaction that holds the write lock from its beginning.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut SqliteConnection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let waited = tokio::time::timeout(PATIENCE, self.writer.clone().lock_owned()).await;
        let mut slot = waited
            .map_err(|_| StoreError::Contended("the write connection is in use".to_owned()))?;
        let url = self.url.clone();
        blocking(move || {
            let mut connection = match slot.take() {
                Some(connection) => connection,
                None => establish(&url)?,
            };
            let done = transaction(&mut connection, LockMode::WriteLock, work);
            // One that could not even roll back is closed; the next writer opens a fresh one.
            let broken = AnsiTransactionManager::is_broken_transaction_manager(&mut connection);
            *slot = Some(connection).filter(|_| !broken);
            done
        })
        .await
    }

    /// Copies the database as it is in this moment, on a connection of its own: no transaction may
    /// be open there.
    pub(crate) async fn copy_to(&self, path: String) -> Result<(), StoreError> {
        let url = self.url.clone();
        blocking(move || {
            let copying =
                diesel::sql_query("VACUUM INTO ?").bind::<diesel::sql_types::Text, _>(path);
            let mut connection = establish(&url)?;
            copying.execute(&mut connection).map(drop).map_err(|error| failure(&error))
        })
        .await
    }

    /// Runs `work` on one snapshot of the database, without keeping writers waiting.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut SqliteConnection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let place = tokio::time::timeout(PATIENCE, self.places.clone().acquire_owned()).await;
        let place = place.ok().and_then(Result::ok);
        let place = place
            .ok_or_else(|| StoreError::Contended("all read connections are in use".to_owned()))?;
        let readers = self.readers.clone();
        blocking(move || {
            let mut connection =
                readers.get().map_err(|error| StoreError::Unavailable(error.to_string()))?;
            let done = transaction(&mut connection, LockMode::Snapshot, work);
            drop(place);
            done
        })
        .await
    }
}

/// What a transaction holds from its beginning.
#[derive(Clone, Copy)]
enum LockMode {
    /// One snapshot to read.
    Snapshot,
    /// The write lock.
    WriteLock,
    /// Everything: nobody else even reads.
    Everything,
}

/// Runs `work` in a transaction and keeps its own error: what a failed rollback says would hide it.
fn transaction<T>(
    connection: &mut SqliteConnection,
    hold: LockMode,
    work: impl FnOnce(&mut SqliteConnection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let mut failed = None;
    let run = |connection: &mut SqliteConnection| {
        work(connection).map_err(|error| {
            failed = Some(error);
            DieselError::RollbackTransaction
        })
    };
    let done = match hold {
        LockMode::Snapshot => connection.transaction(run),
        LockMode::WriteLock => connection.immediate_transaction(run),
        LockMode::Everything => connection.exclusive_transaction(run),
    };
    match failed {
        Some(error) => Err(error),
        None => done.map_err(|error| failure(&error)),
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let ended = tokio::task::spawn_blocking(work).await;
    ended.map_err(|error| StoreError::Unavailable(format!("a transaction was aborted: {error}")))?
}

fn migrate(connection: &mut SqliteConnection, url: &str) -> Result<(), StoreError> {
    let migrated = connection.run_pending_migrations(MIGRATIONS);
    migrated
        .map(drop)
        .map_err(|error| StoreError::Corrupt(format!("a migration of {url} failed: {error}")))
}

/// Opens a connection. Switching a new file to WAL does not wait for others that do the same, so it
/// is tried again.
fn establish(url: &str) -> Result<SqliteConnection, StoreError> {
    let connect = |error: ConnectionError| StoreError::Unavailable(format!("{url}: {error}"));
    let mut connection = SqliteConnection::establish(url).map_err(connect)?;
    for _ in 0..WAL_TRIES {
        match connection.batch_execute(PRAGMAS).map_err(|error| failure(&error)) {
            Err(StoreError::Contended(_)) => std::thread::sleep(WAL_PAUSE),
            Err(error) => return Err(error),
            Ok(()) => return Ok(connection),
        }
    }
    Err(StoreError::Contended(format!("other processes are opening {url}")))
}

/// What a failure of SQLite's means for a caller. SQLite has no codes in diesel, only the texts of
/// `sqlite3_errstr`.
pub(crate) fn failure(error: &DieselError) -> StoreError {
    let text = error.to_string();
    let any = |needles: &[&str]| needles.iter().any(|needle| text.contains(needle));
    match error {
        DieselError::DatabaseError(DatabaseErrorKind::Unknown, _)
            if any(&["is locked", "is busy"]) =>
        {
            StoreError::Contended(text)
        }
        DieselError::DatabaseError(DatabaseErrorKind::Unknown, _)
            if any(&["disk is full", "disk I/O", "readonly", "unable to open"]) =>
        {
            StoreError::Unavailable(text)
        }
        _ => StoreError::Corrupt(text),
    }
}
