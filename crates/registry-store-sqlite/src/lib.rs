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

use registry_core::store::{Decide, Outcome, Replay, StoreError};
use registry_store_sql::kind::Kind;
use registry_store_sql::script::Script;
use registry_store_sql::{Database, SqlStore};

use crate::connection::Readers;
use crate::queue::Queue;

/// A database in an SQLite file.
#[derive(Clone)]
pub struct SqliteStore {
    url: String,
    readers: Arc<Readers>,
    queue: Arc<Queue>,
}

impl SqliteStore {
    /// Opens the database at `path`. Creates the file if it does not exist, and runs pending
    /// migrations. Blocks the thread meanwhile.
    pub fn open(path: &Path) -> Result<SqlStore<Self>, StoreError> {
        let not_utf8 = || StoreError::Unavailable("its path is not UTF-8".to_owned());
        let url = path.to_str().ok_or_else(not_utf8)?.to_owned();
        let writer = connection::open(&url)?;
        let readers = Arc::new(Readers::new(&url));
        let queue = Arc::new(Queue::new(url.clone(), writer));
        Ok(SqlStore(Self { url, readers, queue }))
    }

    /// Writes a snapshot of the database to `path`, which must not exist. Other requests can write
    /// meanwhile.
    pub async fn copy_to(&self, path: &Path) -> Result<(), StoreError> {
        let not_utf8 = || StoreError::Unavailable("the path of the copy is not UTF-8".to_owned());
        let path = path.to_str().ok_or_else(not_utf8)?.to_owned();
        connection::copy_to(self.url.clone(), path).await
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
