//! The schedule of check-ins. The registry requests the time of the next one. After a failure the
//! appliance retries with backoff and jitter, so a fleet does not return all at once after an
//! outage.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::service_error::ServiceError;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// Longest pause that a registry may request, in seconds. A license must not expire during it.
const MAX_PAUSE: u64 = 7 * DAY;

/// Time of the next check-in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// Time of the next check-in, in Unix seconds, by this machine's clock.
    pub due_at: u64,
    /// Number of failed attempts since the registry's last response.
    pub failures: u32,
}

impl Schedule {
    /// Returns the seconds until the next check-in; 0 if it is due. If the clock was set back by
    /// more than the longest pause, the check-in is due at once.
    #[must_use]
    pub fn due_in(&self, now: u64) -> u64 {
        let wait = self.due_at.saturating_sub(now);
        if wait > MAX_PAUSE { 0 } else { wait }
    }

    /// Records a response at `now`. The next check-in follows after the pause that the registry
    /// requests, limited to between one minute and seven days. Without a request the pause is
    /// between 18 and 30 hours.
    pub fn record_response(&mut self, now: u64, next_check_in: Option<Duration>, jitter: u16) {
        let pause = next_check_in
            .map_or_else(|| DAY * 3 / 4 + fraction(DAY / 2, jitter), |pause| pause.as_secs());
        *self = Self { due_at: now + pause.clamp(MINUTE, MAX_PAUSE), failures: 0 };
    }

    /// Records a failure at `now`. The pause is at most one minute after the first failure, doubles
    /// with each further one, and is one hour at most; `jitter` decides on its second half. A
    /// `Retry-After` of the registry replaces this pause, and `jitter` adds up to as much again.
    pub fn record_failure(&mut self, now: u64, service_error: &ServiceError, jitter: u16) {
        let failures = self.failures.saturating_add(1);
        let longest = MINUTE.saturating_mul(1 << (failures - 1).min(16)).min(HOUR);
        let pause = match service_error.retry_after() {
            Some(retry_after) => {
                let retry_after = retry_after.clamp(1, HOUR);
                retry_after + fraction(retry_after, jitter)
            }
            None => longest / 2 + fraction(longest - longest / 2, jitter),
        };
        *self = Self { due_at: now + pause, failures };
    }
}

/// Returns the part of `whole` that `jitter` selects, from nothing to all of it.
fn fraction(whole: u64, jitter: u16) -> u64 {
    whole * u64::from(jitter) / u64::from(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_000_000;

    #[test]
    fn registry_sets_the_next_check_in() {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        for (next_check_in, jitter, pause) in [
            (seconds(20 * HOUR), 9, 20 * HOUR),
            (seconds(0), 9, MINUTE),
            (seconds(365 * DAY), 9, MAX_PAUSE),
            (None, 0, 18 * HOUR),
            (None, u16::MAX, 30 * HOUR),
        ] {
            let mut schedule = Schedule { due_at: 5, failures: 3 };
            schedule.record_response(NOW, next_check_in, jitter);
            assert_eq!(
                schedule,
                Schedule { due_at: NOW + pause, failures: 0 },
                "{next_check_in:?} {jitter}"
            );
        }
    }

    #[test]
    fn failures_back_off_with_jitter() {
        let busy = |seconds| ServiceError::Busy { retry_after: Some(seconds) };
        for (service_error, failures, jitter, pause) in [
            (ServiceError::Dns, 0, 0, 30),
            (ServiceError::Dns, 0, u16::MAX, MINUTE),
            (ServiceError::Dns, 3, u16::MAX, 8 * MINUTE),
            (ServiceError::Dns, 60, 0, HOUR / 2),
            (ServiceError::Dns, u32::MAX, u16::MAX, HOUR),
            (busy(30), 5, 0, 30),
            (busy(30), 5, u16::MAX, 60),
            (ServiceError::Busy { retry_after: None }, 0, 0, 30),
        ] {
            let mut schedule = Schedule { due_at: 5, failures };
            schedule.record_failure(NOW, &service_error, jitter);
            assert_eq!(schedule.due_at - NOW, pause, "{service_error:?} {failures} {jitter}");
        }
    }

    #[test]
    fn clock_set_back_delays_no_check_in() {
        let schedule = Schedule { due_at: 100 * DAY, failures: 0 };
        for (now, due_in) in [(100 * DAY, 0), (101 * DAY, 0), (99 * DAY, DAY), (10 * DAY, 0)] {
            assert_eq!(schedule.due_in(now), due_in, "{now}");
        }
    }
}
