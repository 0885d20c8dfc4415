//! Recorded responses of requests with an idempotency key.

use registry_core::secret::{KeyId, Sealed};
use registry_core::store::{Replay, ReplayRecord, StoreError};

use crate::table::{Read, digest, table};
use crate::types::SqlTime;

table!(
    /// A row of `replays`.
    ReplayRow of "replays", key ["scope", "key_digest"] {
        scope: String,
        key_digest: Vec<u8>,
        fingerprint: Vec<u8>,
        sealed_key_id: String,
        sealed: Vec<u8>,
        recorded_at: SqlTime,
        expires_at: SqlTime,
    }
);

impl From<&ReplayRecord> for ReplayRow {
    fn from(record: &ReplayRecord) -> Self {
        Self {
            scope: record.request.scope.clone(),
            key_digest: record.request.key_digest.to_vec(),
            fingerprint: record.request.fingerprint.to_vec(),
            sealed_key_id: record.answer.key_id.0.clone(),
            sealed: record.answer.bytes.clone(),
            recorded_at: record.request.now.into(),
            expires_at: record.expires_at.into(),
        }
    }
}

impl TryFrom<ReplayRow> for ReplayRecord {
    type Error = StoreError;

    fn try_from(row: ReplayRow) -> Read<Self> {
        let request = Replay {
            scope: row.scope,
            key_digest: digest(&row.key_digest)?,
            fingerprint: digest(&row.fingerprint)?,
            now: row.recorded_at.into(),
        };
        let answer = Sealed { key_id: KeyId(row.sealed_key_id), bytes: row.sealed };
        Ok(Self { request, answer, expires_at: row.expires_at.into() })
    }
}
