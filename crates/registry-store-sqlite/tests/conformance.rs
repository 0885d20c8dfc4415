//! The conformance suite of the store, on SQLite.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use registry_store_sql::SqlStore;
use registry_store_sqlite::SqliteStore;

fn empty() -> (SqlStore<SqliteStore>, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (SqliteStore::open(&folder.path().join("registry.db")).unwrap(), folder)
}

registry_testkit::store_conformance!(empty());
