//! Storage on SQLite: the default, one file and no server.
//!
//! All changes go through one connection, so nothing changes the facts during a decision, not even
//! another process with the same file: each transaction begins with `BEGIN IMMEDIATE`. Changes that
//! arrive while a transaction runs share the next one, which makes them durable with one write to
//! the disk (module `queue`).

mod connection;
mod queue;
mod session;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use registry_core::store::{Decide, Outcome, Replay, StoreError};
use registry_store_sql::kind::Kind;
use registry_store_sql::script::Script;
use registry_store_sql::{Database, SqlStore};

use crate::connection::{Readers, Target};
use crate::queue::Queue;

/// A database in an SQLite file.
#[derive(Clone)]
pub struct SqliteStore {
    target: Target,
    readers: Arc<Readers>,
    queue: Arc<Queue>,
}

/// Time that a change waits for others by default.
const PATIENCE: Duration = Duration::from_secs(5);

impl SqliteStore {
    /// Opens the database at `path`. Creates the file if it does not exist, and runs pending
    /// migrations. Blocks the thread meanwhile. A request waits for others for five seconds.
    pub fn open(path: &Path) -> Result<SqlStore<Self>, StoreError> {
        Self::open_with(path, PATIENCE)
    }

    /// Opens the database, in which a request waits for others for at most `patience`.
    pub fn open_with(path: &Path, patience: Duration) -> Result<SqlStore<Self>, StoreError> {
        let not_utf8 = || StoreError::Unavailable("its path is not UTF-8".to_owned());
        let url = path.to_str().ok_or_else(not_utf8)?.to_owned();
        let target = Target { url, patience };
        let writer = connection::open(&target)?;
        let readers = Arc::new(Readers::new(&target));
        let queue = Arc::new(Queue::new(target.clone(), writer));
        Ok(SqlStore(Self { target, readers, queue }))
    }

    /// Writes a snapshot of the database to `path`, which must not exist. Other requests can write
    /// meanwhile.
    pub async fn copy_to(&self, path: &Path) -> Result<(), StoreError> {
        let not_utf8 = || StoreError::Unavailable("the path of the copy is not UTF-8".to_owned());
        let path = path.to_str().ok_or_else(not_utf8)?.to_owned();
        connection::copy_to(self.target.clone(), path).await
    }
}

impl Database for SqliteStore {
    const WRITES_BLOCK: bool = true;

    async fn change<K: Kind>(
        &self,
        key: K,
        replay: Option<Replay>,
        decide: Decide<K::Facts, K::Output>,
    ) -> Result<Outcome<K::Output>, StoreError> {
        let work = move |connection: &mut diesel::SqliteConnection| {
            session::decide(connection, &key, replay.as_ref(), &decide)
        };
        self.queue.write(work).await
    }

    async fn read<S: Script>(&self, script: S) -> Result<S::Output, StoreError> {
        self.readers.read(move |connection| session::run(connection, &script)).await
    }

    async fn write<S: Script>(&self, script: S) -> Result<S::Output, StoreError> {
        self.queue.write(move |connection| session::run(connection, &script)).await
    }
}
