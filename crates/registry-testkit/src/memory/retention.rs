//! Deletion of expired rows.

use std::collections::BTreeMap;
use std::sync::Arc;

use registry_core::clock::Timestamp;
use registry_core::mail::MailState;
use registry_core::store::RetentionKind;

use super::tables::Tables;

/// Removes up to `limit` expired rows, and returns their number.
fn remove<K: Ord + Clone, V>(
    table: &mut BTreeMap<K, Arc<V>>,
    limit: u32,
    is_expired: impl Fn(&V) -> bool,
) -> u64 {
    let keys = table.iter().filter(|(_, row)| is_expired(row)).map(|(key, _)| key.clone());
    let keys: Vec<K> = keys.take(limit as usize).collect();
    for key in &keys {
        table.remove(key);
    }
    keys.len() as u64
}

impl Tables {
    pub(super) fn delete_expired(
        &mut self,
        kind: RetentionKind,
        before: Timestamp,
        limit: u32,
    ) -> u64 {
        match kind {
            RetentionKind::Replays => {
                remove(&mut self.replays, limit, |row| row.expires_at < before)
            }
            RetentionKind::Mails => remove(&mut self.mails, limit, |row| {
                row.state != MailState::Queued && row.settled_at.is_some_and(|at| at < before)
            }),
            RetentionKind::Codes => remove(&mut self.codes, limit, |row| {
                row.consumed.is_none() && row.expires_at < before
            }),
            RetentionKind::SignIns => {
                remove(&mut self.sign_ins, limit, |row| row.expires_at < before)
            }
            RetentionKind::Audit => remove(&mut self.audit, limit, |row| row.at < before),
        }
    }
}
