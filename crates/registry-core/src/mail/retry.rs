//! Outcome of a failed attempt: another attempt later, a deferral, or the end.

use chrono::TimeDelta;

use super::{DeliveryOutcome, MailError};
use crate::clock::Timestamp;

/// Returns the delay after the `attempts`th failure: 30 s, doubled with each failure, at most six
/// hours. `jitter` (0 to 255) adds up to a quarter, to spread out mails that failed together.
#[must_use]
pub fn retry_delay(attempts: u32, jitter: u8) -> TimeDelta {
    let doubled = 30_i64.saturating_mul(1_i64 << attempts.saturating_sub(1).min(20));
    let millis = doubled.min(6 * 3600) * 1000;
    TimeDelta::milliseconds(millis + millis / 4 * i64::from(jitter) / 255)
}

/// A mail is never due later than this. One that is was queued before the clock was set back, and is
/// due at once.
pub const LONGEST_DELAY: TimeDelta = TimeDelta::hours(8);

/// Number of failures after which a mail is given up. With [`retry_delay`], that takes about three
/// days.
pub const MAX_ATTEMPTS: u32 = 20;

/// Returns the outcome of a failed attempt for a mail that had failed `attempts` times before.
#[must_use]
pub fn settle_failure(
    error: MailError,
    attempts: u32,
    now: Timestamp,
    jitter: u8,
) -> DeliveryOutcome {
    match error {
        MailError::Unavailable(error) | MailError::Unclear(error) => {
            DeliveryOutcome::Deferred { error }
        }
        MailError::Permanent(error) | MailError::Unreadable(error) => {
            DeliveryOutcome::Dead { error }
        }
        MailError::Transient(error) if attempts + 1 >= MAX_ATTEMPTS => {
            DeliveryOutcome::Dead { error }
        }
        MailError::Transient(error) => {
            DeliveryOutcome::Retry { due_at: now + retry_delay(attempts + 1, jitter), error }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_mail_backs_off_until_given_up() {
        let now = Timestamp::from_timestamp(1_800_000_000, 0).unwrap();
        let transient = || MailError::Transient("busy".into());
        for (before, jitter, millis) in [
            (0, 0, 30_000),
            (0, 255, 37_500),
            (1, 0, 60_000),
            (1, 51, 63_000),
            (2, 0, 120_000),
            (9, 0, 15_360_000),
            (10, 0, 21_600_000),
            (18, 255, 27_000_000),
        ] {
            let due_at = now + TimeDelta::milliseconds(millis);
            let expected = DeliveryOutcome::Retry { due_at, error: "busy".into() };
            assert_eq!(
                settle_failure(transient(), before, now, jitter),
                expected,
                "after {before} failures"
            );
        }
        assert_eq!(
            settle_failure(transient(), 19, now, 0),
            DeliveryOutcome::Dead { error: "busy".into() }
        );
        let permanent = MailError::Permanent("no such user".into());
        assert_eq!(
            settle_failure(permanent, 0, now, 0),
            DeliveryOutcome::Dead { error: "no such user".into() }
        );
    }

    #[test]
    fn unavailable_server_defers_every_mail() {
        let now = Timestamp::from_timestamp(1_800_000_000, 0).unwrap();
        for before in [0, 19, 1000] {
            let outcome =
                settle_failure(MailError::Unavailable("connection refused".into()), before, now, 9);
            assert_eq!(outcome, DeliveryOutcome::Deferred { error: "connection refused".into() });
        }
    }
}
