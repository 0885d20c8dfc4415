//! Retention: what ended is kept for a while, and then deleted, a bounded batch at a time.

use chrono::TimeDelta;

use crate::clock::Timestamp;
use crate::registry::{Error, Registry};
use crate::store::RetentionKind;

/// How many rows one transaction deletes at most: few enough that nobody waits for it.
pub const BATCH: u32 = 500;

/// How long what ended is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Mails that were sent, given up or discarded.
    pub mails: TimeDelta,
    /// Codes that nobody redeemed. Redeemed ones are kept: they say who has the identity.
    pub codes: TimeDelta,
    /// Lines of the audit.
    pub audit: TimeDelta,
}

impl Default for Retention {
    /// 90 days for mails and codes, two years for the audit.
    fn default() -> Self {
        Self { mails: TimeDelta::days(90), codes: TimeDelta::days(90), audit: TimeDelta::days(730) }
    }
}

impl Retention {
    /// Until when rows of a kind must have ended to go at `now`.
    fn horizon(&self, kind: RetentionKind, now: Timestamp) -> Timestamp {
        let kept = match kind {
            RetentionKind::Replays | RetentionKind::SignIns => TimeDelta::zero(),
            RetentionKind::Mails => self.mails,
            RetentionKind::Codes => self.codes,
            RetentionKind::Audit => self.audit,
        };
        now.checked_sub_signed(kept).unwrap_or(Timestamp::MIN_UTC)
    }
}

impl Registry {
    /// How many rows of a kind would go now.
    pub async fn sweep_count(&self, kind: RetentionKind) -> Result<u64, Error> {
        Ok(self
            .ports
            .store
            .count_expired(kind, self.settings.retention.horizon(kind, self.now()))
            .await?)
    }

    /// Deletes one batch of a kind, and returns how many rows went: fewer than [`BATCH`] where none
    /// is left.
    pub async fn sweep_batch(&self, kind: RetentionKind) -> Result<u64, Error> {
        let before = self.settings.retention.horizon(kind, self.now());
        Ok(self.ports.store.delete_expired(kind, before, BATCH).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_own_horizon_and_the_longest_one_never_comes() {
        let now = Timestamp::from_timestamp(1_800_000_000, 0).unwrap();
        let retention = Retention { audit: TimeDelta::MAX, ..Retention::default() };
        for (kind, horizon) in [
            (RetentionKind::Replays, now),
            (RetentionKind::Mails, now - TimeDelta::days(90)),
            (RetentionKind::Codes, now - TimeDelta::days(90)),
            (RetentionKind::Audit, Timestamp::MIN_UTC),
            (RetentionKind::SignIns, now),
        ] {
            assert_eq!(retention.horizon(kind, now), horizon, "{kind}");
        }
    }
}
