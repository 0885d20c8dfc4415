use registry_core::clock::Timestamp;
use registry_core::secret::{KeyId, Sealed};
use registry_core::store::{Replay, ReplayRecord};

use crate::table::table;

table!(
    ReplayRecord of "replays", key ["scope", "key_digest"] {
        expires_at: Timestamp,
    } and |record| {
        scope: String = record.request.scope,
        key_digest: [u8; 32] = record.request.key_digest,
        fingerprint: [u8; 32] = record.request.fingerprint,
        recorded_at: Timestamp = record.request.now,
        sealed_key_id: KeyId = record.answer.key_id,
        sealed: Vec<u8> = record.answer.bytes,
    } as {
        request: Replay { scope, key_digest, fingerprint, now: recorded_at },
        answer: Sealed { key_id: sealed_key_id, bytes: sealed },
    }
);
