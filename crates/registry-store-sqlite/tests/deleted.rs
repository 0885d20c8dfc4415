//! Deleted rows are gone from the file: its free pages hold no secret.

use diesel::prelude::*;
use registry_store_sqlite::SqliteStore;

/// A row that is swept leaves nothing in the database file or in its write-ahead log.
#[tokio::test]
async fn swept_row_leaves_nothing_in_the_file() {
    use registry_core::store::{Retention as _, RetentionKind};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("registry.db");
    let canary = "canary-of-a-swept-row-".repeat(400);
    let store = SqliteStore::open(&path).unwrap();
    {
        let mut database = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
        let insert = "INSERT INTO replays (scope, key_digest, fingerprint, sealed_key_id, sealed, \
                      recorded_at, expires_at) VALUES ('scope', zeroblob(32), zeroblob(32), 'key', ?, 0, 0)";
        let sealed = canary.as_bytes().to_vec();
        diesel::sql_query(insert)
            .bind::<diesel::sql_types::Binary, _>(sealed)
            .execute(&mut database)
            .unwrap();
    }
    let holds_canary = || {
        std::fs::read_dir(folder.path()).unwrap().any(|file| {
            let content = std::fs::read(file.unwrap().path()).unwrap();
            content.windows(21).any(|part| part == b"canary-of-a-swept-row")
        })
    };
    assert!(holds_canary(), "the test finds what is there");
    let now = registry_core::clock::Timestamp::from_timestamp(1_800_000_000, 0).unwrap();
    assert_eq!(store.delete_expired(RetentionKind::Replays, now, 10).await.unwrap(), 1);
    drop(store);
    // Closing the last connection moves the write-ahead log into the file.
    let mut database = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    diesel::sql_query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut database).ok();
    drop(database);
    assert!(!holds_canary());
}
