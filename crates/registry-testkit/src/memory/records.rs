//! What stands for itself: releases, and what ended.

use std::collections::BTreeMap;
use std::sync::Arc;

use registry_core::clock::Timestamp;
use registry_core::mail::MailState;
use registry_core::store::{ListedRelease, RetentionKind};
use registry_core::text::Channel;

use super::tables::Tables;

/// Removes up to `limit` rows of which `ended` says yes, and returns how many.
fn remove<K: Ord + Clone, V>(
    table: &mut BTreeMap<K, Arc<V>>,
    limit: u32,
    ended: impl Fn(&V) -> bool,
) -> u64 {
    let keys = table.iter().filter(|(_, row)| ended(row)).map(|(key, _)| key.clone());
    let keys: Vec<K> = keys.take(limit as usize).collect();
    for key in &keys {
        table.remove(key);
    }
    keys.len() as u64
}

impl Tables {
    /// The releases, newest first.
    pub(super) fn listed(&self, channel: Option<&Channel>) -> Vec<ListedRelease> {
        let fits = self
            .releases
            .values()
            .filter(|release| channel.is_none_or(|channel| release.channel == *channel));
        let mut listed: Vec<_> = fits
            .map(|release| ListedRelease {
                is_current: release.yanked_at.is_none()
                    && self.current.get(release.channel.as_str()) == Some(&release.id),
                release: (**release).clone(),
            })
            .collect();
        listed.sort_by_key(|it| std::cmp::Reverse((it.release.published_at, it.release.id)));
        listed
    }

    pub(super) fn delete_ended(
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
