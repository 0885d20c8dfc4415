//! When an appliance checks in: as the registry asks, and after trouble again, spread so that a
//! fleet that was cut off does not come back at once.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::service_error::ServiceError;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// The longest pause that a registry may ask for, in seconds: a license must not lapse over it.
const LONGEST: u64 = 7 * DAY;

/// When to check in next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// In Unix seconds, by this machine's clock.
    pub due_at: u64,
    /// How often it was tried in vain since the last answer.
    pub failures: u32,
}

impl Schedule {
    /// In how many seconds it is due; 0 is now. Where the clock was set back, it does not wait for
    /// the old time.
    #[must_use]
    pub fn due_in(&self, now: u64) -> u64 {
        let wait = self.due_at.saturating_sub(now);
        if wait > LONGEST { 0 } else { wait }
    }

    /// The registry answered at `now`, and asked for this pause. Where it asked for none: a day,
    /// give or take a quarter.
    pub fn answered(&mut self, now: u64, asked: Option<Duration>, jitter: u16) {
        let pause =
            asked.map_or_else(|| DAY * 3 / 4 + share(DAY / 2, jitter), |asked| asked.as_secs());
        *self = Self { due_at: now + pause.clamp(MINUTE, LONGEST), failures: 0 };
    }

    /// It was not reached. The pause is a minute at first, doubled each time, an hour at most; the
    /// second half of it is left to `jitter`. A registry that is busy says itself when to come
    /// back, and that is spread by as much again.
    pub fn failed(&mut self, now: u64, service_error: &ServiceError, jitter: u16) {
        let failures = self.failures.saturating_add(1);
        let longest = MINUTE.saturating_mul(1 << (failures - 1).min(16)).min(HOUR);
        let pause = match service_error.asked() {
            Some(asked) => {
                let asked = asked.clamp(1, HOUR);
                asked + share(asked, jitter)
            }
            None => longest / 2 + share(longest - longest / 2, jitter),
        };
        *self = Self { due_at: now + pause, failures };
    }
}

/// So much of it as the jitter says: none to all.
fn share(of: u64, jitter: u16) -> u64 {
    of * u64::from(jitter) / u64::from(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_registry_says_when_and_trouble_is_spread() {
        let now = 1_000_000;
        let asked = |seconds| Some(Duration::from_secs(seconds));
        for (asked, jitter, pause) in [
            (asked(20 * HOUR), 9, 20 * HOUR),
            (asked(0), 9, MINUTE),
            (asked(365 * DAY), 9, LONGEST),
            (None, 0, 18 * HOUR),
            (None, u16::MAX, 30 * HOUR),
        ] {
            let mut schedule = Schedule { due_at: 5, failures: 3 };
            schedule.answered(now, asked, jitter);
            assert_eq!(
                schedule,
                Schedule { due_at: now + pause, failures: 0 },
                "{asked:?} {jitter}"
            );
        }
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
            schedule.failed(now, &service_error, jitter);
            assert_eq!(schedule.due_at - now, pause, "{service_error:?} {failures} {jitter}");
        }
    }

    #[test]
    fn a_clock_that_was_set_back_does_not_silence_an_appliance() {
        let schedule = Schedule { due_at: 100 * DAY, failures: 0 };
        for (now, due_in) in [(100 * DAY, 0), (101 * DAY, 0), (99 * DAY, DAY), (10 * DAY, 0)] {
            assert_eq!(schedule.due_in(now), due_in, "{now}");
        }
    }
}
