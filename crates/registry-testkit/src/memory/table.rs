//! A table: rows by their key. Copies share the rows.

use std::collections::BTreeMap;
use std::sync::Arc;

use registry_core::store::StoreError;

#[derive(Clone)]
pub(super) struct Table<K, V>(BTreeMap<K, Arc<V>>);

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

/// Fails unless a constraint holds.
pub(super) fn require(holds: bool, constraint: &str) -> Result<(), StoreError> {
    let violated = || StoreError::Corrupt(format!("constraint violated: {constraint}"));
    if holds { Ok(()) } else { Err(violated()) }
}

impl<K: Ord + Clone, V: Clone> Table<K, V> {
    pub(super) fn has(&self, key: &K) -> bool {
        self.0.contains_key(key)
    }

    pub(super) fn get(&self, key: &K) -> Option<V> {
        self.0.get(key).map(|row| (**row).clone())
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = &V> {
        self.0.values().map(|row| &**row)
    }

    pub(super) fn any(&self, selects: impl Fn(&V) -> bool) -> bool {
        self.rows().any(selects)
    }

    pub(super) fn find(&self, selects: impl Fn(&V) -> bool) -> Option<V> {
        self.rows().find(|row| selects(row)).cloned()
    }

    /// Returns the selected rows in the order of what `by` returns.
    pub(super) fn sorted<O: Ord>(
        &self,
        selects: impl Fn(&V) -> bool,
        by: impl Fn(&V) -> O,
    ) -> Vec<V> {
        let mut rows: Vec<V> = self.rows().filter(|row| selects(row)).cloned().collect();
        rows.sort_by_key(by);
        rows
    }

    /// Adds a row, or replaces the one with its key.
    pub(super) fn put(&mut self, key: K, row: V) {
        self.0.insert(key, Arc::new(row));
    }

    /// Adds a row, and fails if its key exists.
    pub(super) fn insert(&mut self, key: K, row: V) -> Result<(), StoreError> {
        require(self.0.insert(key, Arc::new(row)).is_none(), "unique keys")
    }

    /// Changes a row, if it exists.
    pub(super) fn change(&mut self, key: &K, change: impl FnOnce(&mut V)) {
        if let Some(row) = self.0.get_mut(key) {
            change(Arc::make_mut(row));
        }
    }

    /// Changes the selected rows.
    pub(super) fn change_all(&mut self, selects: impl Fn(&V) -> bool, change: impl Fn(&mut V)) {
        for row in self.0.values_mut().filter(|row| selects(row)) {
            change(Arc::make_mut(row));
        }
    }

    /// Removes up to `limit` of the selected rows, and returns their number.
    pub(super) fn remove(&mut self, limit: u32, selects: impl Fn(&V) -> bool) -> u64 {
        let keys = self.0.iter().filter(|(_, row)| selects(row)).map(|(key, _)| key.clone());
        let keys: Vec<K> = keys.take(limit as usize).collect();
        keys.iter().filter_map(|key| self.0.remove(key)).count() as u64
    }
}
