//! Counted audit entries, one write at a time for each: events that arrive meanwhile are added to the
//! next write. So a flood of events of one kind waits for no row, and keeps nobody else waiting.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::audit::AuditEntry;
use crate::store::{Store, StoreError};

type Key = [u8; 32];

/// Events that wait for the write of their entry to end.
#[derive(Default)]
pub(super) struct AuditFold(Mutex<HashMap<Key, u32>>);

/// The write of one entry. When it is dropped, others may write it.
struct Writing<'a> {
    fold: &'a AuditFold,
    key: Key,
    is_done: bool,
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        if !self.is_done {
            self.fold.waiting().remove(&self.key);
        }
    }
}

impl AuditFold {
    fn waiting(&self) -> MutexGuard<'_, HashMap<Key, u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an event. Returns at once if the same entry is being written.
    pub(super) async fn count(
        &self,
        store: &dyn Store,
        mut entry: AuditEntry,
    ) -> Result<(), StoreError> {
        let Some(key) = entry.count_key() else { return store.audit_count(entry).await };
        if let Some(waiting) = self.waiting().get_mut(&key) {
            *waiting = waiting.saturating_add(entry.count);
            return Ok(());
        }
        self.waiting().insert(key, 0);
        let mut write = Writing { fold: self, key, is_done: false };
        loop {
            store.audit_count(entry.clone()).await?;
            let mut waiting = self.waiting();
            let more = waiting.get_mut(&key).map(std::mem::take).unwrap_or_default();
            if more == 0 {
                // Removed under the lock, so that no event is added to an entry without a writer.
                waiting.remove(&key);
                write.is_done = true;
                return Ok(());
            }
            entry.count = more;
        }
    }
}
