//! Retention: rows that have ended are deleted after a while, in batches of bounded size.

use chrono::TimeDelta;

use crate::clock::Timestamp;
use crate::mail::MailError;
use crate::registry::{Error, Registry};
use crate::store::RetentionKind;

/// Most rows that one transaction deletes: few enough that no other transaction waits for long.
pub const BATCH: u32 = 500;

/// Retention periods, counted from the time when a row ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Mails that were sent, given up or discarded.
    pub mails: TimeDelta,
    /// Codes that were never redeemed. Redeemed codes are not deleted: they record which appliance
    /// has the identity.
    pub codes: TimeDelta,
    /// Audit entries.
    pub audit: TimeDelta,
    /// Tenants that were registered at the sign-up page and never installed.
    pub unused_tenants: TimeDelta,
    /// Mails that were delivered into a folder.
    pub mailbox: TimeDelta,
}

impl Default for Retention {
    /// 90 days for mails and codes, two years for the audit, 30 days for unused tenants, and a week
    /// for delivered mails.
    fn default() -> Self {
        Self {
            mails: TimeDelta::days(90),
            codes: TimeDelta::days(90),
            audit: TimeDelta::days(730),
            unused_tenants: TimeDelta::days(30),
            mailbox: TimeDelta::days(7),
        }
    }
}

impl Retention {
    /// Returns the time before which a row of this kind must have ended to be deleted at `now`.
    fn cutoff(&self, kind: RetentionKind, now: Timestamp) -> Timestamp {
        let period = match kind {
            RetentionKind::Replays | RetentionKind::SignIns => TimeDelta::zero(),
            RetentionKind::Mails => self.mails,
            RetentionKind::Codes => self.codes,
            RetentionKind::Audit => self.audit,
            RetentionKind::UnusedTenants => self.unused_tenants,
        };
        now.checked_sub_signed(period).unwrap_or(Timestamp::MIN_UTC)
    }
}

impl Registry {
    /// Returns the number of rows of a kind that can be deleted now.
    pub async fn expired_count(&self, kind: RetentionKind) -> Result<u64, Error> {
        Ok(self
            .ports
            .store
            .count_expired(kind, self.settings.retention.cutoff(kind, self.now()))
            .await?)
    }

    /// Deletes the mails in the mailbox folder whose retention is over, and returns their number.
    pub async fn delete_delivered_mails(&self) -> Result<u64, MailError> {
        let period = self.settings.retention.mailbox;
        let before = self.now().checked_sub_signed(period).unwrap_or(Timestamp::MIN_UTC);
        self.ports.mailer.delete_delivered(before).await
    }

    /// Deletes one batch of a kind, and returns the number of deleted rows. Fewer than [`BATCH`]
    /// means that no more rows are left to delete.
    pub async fn delete_expired_batch(&self, kind: RetentionKind) -> Result<u64, Error> {
        let before = self.settings.retention.cutoff(kind, self.now());
        Ok(self.ports.store.delete_expired(kind, before, BATCH).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_own_cutoff() {
        let now = Timestamp::from_timestamp(1_800_000_000, 0).unwrap();
        let retention = Retention { audit: TimeDelta::MAX, ..Retention::default() };
        for (kind, cutoff) in [
            (RetentionKind::Replays, now),
            (RetentionKind::Mails, now - TimeDelta::days(90)),
            (RetentionKind::Codes, now - TimeDelta::days(90)),
            // A period of `TimeDelta::MAX` never ends.
            (RetentionKind::Audit, Timestamp::MIN_UTC),
            (RetentionKind::SignIns, now),
            (RetentionKind::UnusedTenants, now - TimeDelta::days(30)),
        ] {
            assert_eq!(retention.cutoff(kind, now), cutoff, "{kind}");
        }
    }
}
