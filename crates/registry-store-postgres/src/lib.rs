//! Storage on PostgreSQL: several processes share one database, which alone limits the throughput.
//!
//! The requests of a kind that arrive while a transaction of that kind runs share the next one
//! (module `batch`): for many requests, the database then parses, plans, locks, writes and flushes once.
//! A request that cannot share a transaction has its own (module `alone`).

mod alone;
mod batch;
mod failure;
mod lanes;
mod migrations;
mod pending;
mod pool;
mod session;
mod target;
mod tls;
mod transaction;

use std::sync::Arc;

use registry_core::store::{Decide, Outcome, Replay, StoreError};
use registry_store_sql::kind::Kind;
use registry_store_sql::script::Script;
use registry_store_sql::{Database, SqlStore};

use crate::batch::Batchers;
use crate::pool::Pool;

pub use target::{PostgresOptions, UrlError};

/// A PostgreSQL database.
#[derive(Clone)]
pub struct PostgresStore {
    pool: Pool,
    batchers: Arc<Batchers>,
}

impl PostgresStore {
    /// Returns a store in the database that `options` name. The first use of the store connects.
    ///
    /// # Errors
    /// If the URL is invalid, or a file with certificates cannot be read.
    pub fn new(options: &PostgresOptions) -> Result<SqlStore<Self>, StoreError> {
        let pool = Pool::new(options)?;
        let batchers = Arc::new(Batchers::new(pool.clone(), options));
        Ok(SqlStore(Self { pool, batchers }))
    }

    /// Checks that no pooler takes a connection's session away, and that the encoding is UTF-8. With
    /// any other encoding, the database could not store every name.
    pub async fn check(&self) -> Result<(), StoreError> {
        Box::pin(self.pool.check_sessions()).await?;
        Box::pin(self.pool.read(migrations::CheckEncoding)).await
    }

    /// Returns the server's time, in seconds since 1970.
    pub async fn unix_seconds(&self) -> Result<i64, StoreError> {
        Box::pin(self.pool.read(migrations::UnixSeconds)).await
    }

    /// Returns the names of the pending migrations. All migrations must have run before any other
    /// use of the store. The database role only needs the right to read.
    pub async fn migrations_pending(&self) -> Result<Vec<String>, StoreError> {
        Box::pin(self.pool.read(pending::Pending)).await
    }

    /// Runs the pending migrations, and returns their names. Several processes may do so at the
    /// same time. The async runtime must have several threads.
    pub async fn migrations_run(&self) -> Result<Vec<String>, StoreError> {
        Box::pin(migrations::run(&self.pool)).await
    }

    /// Creates the index for searches by any part of a name, with the extension `pg_trgm`. Returns
    /// false if the index existed. On a large fleet this takes some time; other processes can write
    /// meanwhile. If the server does not permit it, searches match only the beginning of a name,
    /// and nothing else changes.
    pub async fn search_by_part_make(&self) -> Result<bool, StoreError> {
        Box::pin(migrations::make_search(&self.pool)).await
    }
}

impl Database for PostgresStore {
    const WRITES_BLOCK: bool = false;

    async fn change<K: Kind>(
        &self,
        key: K,
        replay: Option<Replay>,
        decide: Decide<K::Facts, K::Output>,
    ) -> Result<Outcome<K::Output>, StoreError> {
        self.batchers.change(key, replay, decide).await
    }

    async fn read<S: Script>(&self, script: S) -> Result<S::Output, StoreError> {
        self.pool.read(script).await
    }

    async fn write<S: Script>(&self, script: S) -> Result<S::Output, StoreError> {
        self.pool.write(script).await
    }
}
