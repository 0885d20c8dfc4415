//! What ended: counted, and deleted a batch at a time.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Timestamptz};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use registry_core::clock::Timestamp;
use registry_core::entropy::uuid_floor;
use registry_core::store::{RetentionKind, StoreError};

use crate::failure::failure;

/// The table of a kind, its key, and the condition on what ended before the first parameter. Ids
/// are in order of time, so the table's own key finds what is old.
fn rows_of(kind: RetentionKind, before: Timestamp) -> (&'static str, &'static str, String) {
    let floor = uuid_floor(before);
    match kind {
        RetentionKind::Replays => ("replays", "scope, key_digest", "expires_at < $1".to_owned()),
        RetentionKind::Mails => {
            ("mails", "id", format!("id < '{floor}' AND state <> 'queued' AND settled_at < $1"))
        }
        RetentionKind::Codes => {
            ("install_codes", "id", "consumed_at IS NULL AND expires_at < $1".to_owned())
        }
        RetentionKind::Audit => ("audit", "id", format!("id < '{floor}' AND at < $1")),
        RetentionKind::SignIns => ("sign_ins", "digest", "expires_at < $1".to_owned()),
    }
}

#[derive(QueryableByName)]
struct Counted {
    #[diesel(sql_type = BigInt)]
    rows: i64,
}

pub(crate) async fn count(
    connection: &mut AsyncPgConnection,
    kind: RetentionKind,
    before: Timestamp,
) -> Result<u64, StoreError> {
    let (table, _, condition) = rows_of(kind, before);
    let counted =
        diesel::sql_query(format!("SELECT count(*) AS rows FROM {table} WHERE {condition}"))
            .bind::<Timestamptz, _>(before)
            .get_result::<Counted>(connection)
            .await;
    Ok(counted.map_err(|error| failure(&error))?.rows.unsigned_abs())
}

/// Passes over what others hold in this moment: two that sweep at once share the work.
pub(crate) async fn delete(
    connection: &mut AsyncPgConnection,
    kind: RetentionKind,
    before: Timestamp,
    limit: u32,
) -> Result<u64, StoreError> {
    let (table, key, condition) = rows_of(kind, before);
    // Materialized: a plan that asked for the batch again and again would pass over the limit.
    let batch =
        format!("SELECT {key} FROM {table} WHERE {condition} LIMIT $2 FOR UPDATE SKIP LOCKED");
    let delete = format!(
        "WITH batch AS MATERIALIZED ({batch}) DELETE FROM {table} WHERE ({key}) IN (SELECT {key} FROM batch)"
    );
    let deleted = diesel::sql_query(delete)
        .bind::<Timestamptz, _>(before)
        .bind::<BigInt, _>(i64::from(limit))
        .execute(connection)
        .await;
    deleted.map(|rows| rows as u64).map_err(|error| failure(&error))
}
