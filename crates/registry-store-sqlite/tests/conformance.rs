//! SQLite against the store's suite.

use registry_store_sqlite::SqliteStore;

fn empty() -> (SqliteStore, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (SqliteStore::open(&folder.path().join("registry.db")).unwrap(), folder)
}

registry_testkit::store_conformance!(empty());
