//! What ended: counted, and deleted a batch at a time.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Integer, Text};
use registry_core::clock::Timestamp;
use registry_core::entropy::uuid_floor;
use registry_core::store::{RetentionKind, StoreError};

use crate::connection::failure;

/// The table of a kind, its key, and the condition on what ended before the first parameter; the
/// second is the least id of that time: ids are in order of time, so the table's own key finds what
/// is old.
fn rows_of(kind: RetentionKind) -> (&'static str, &'static str, &'static str) {
    match kind {
        RetentionKind::Replays => ("replays", "scope, key_digest", "expires_at < ?1 AND ?2 <> ''"),
        RetentionKind::Mails => {
            ("mails", "id", "id < ?2 AND state <> 'queued' AND settled_at < ?1")
        }
        RetentionKind::Codes => {
            ("install_codes", "id", "consumed_at IS NULL AND expires_at < ?1 AND id < ?2")
        }
        RetentionKind::Audit => ("audit", "id", "id < ?2 AND at < ?1"),
        RetentionKind::SignIns => ("sign_ins", "digest", "expires_at < ?1 AND ?2 <> ''"),
    }
}

#[derive(QueryableByName)]
struct Counted {
    #[diesel(sql_type = BigInt)]
    rows: i64,
}

pub(crate) fn count(
    connection: &mut SqliteConnection,
    kind: RetentionKind,
    before: Timestamp,
) -> Result<u64, StoreError> {
    let (table, _, condition) = rows_of(kind);
    let counted: Counted =
        diesel::sql_query(format!("SELECT count(*) AS rows FROM {table} WHERE {condition}"))
            .bind::<BigInt, _>(before.timestamp_micros())
            .bind::<Text, _>(uuid_floor(before).to_string())
            .get_result(connection)
            .map_err(|error| failure(&error))?;
    Ok(counted.rows.unsigned_abs())
}

pub(crate) fn delete(
    connection: &mut SqliteConnection,
    kind: RetentionKind,
    before: Timestamp,
    limit: u32,
) -> Result<u64, StoreError> {
    let (table, key, condition) = rows_of(kind);
    let batch = format!("SELECT {key} FROM {table} WHERE {condition} LIMIT ?3");
    let deleted = diesel::sql_query(format!("DELETE FROM {table} WHERE ({key}) IN ({batch})"))
        .bind::<BigInt, _>(before.timestamp_micros())
        .bind::<Text, _>(uuid_floor(before).to_string())
        .bind::<Integer, _>(i32::try_from(limit).unwrap_or(i32::MAX))
        .execute(connection);
    deleted.map(|rows| rows as u64).map_err(|error| failure(&error))
}
