//! Rate limits: a maximum number of events per source and window of time.
//!
//! The counters are in memory, and their number is bounded. If there is no room for a new source,
//! the counter with the oldest window is dropped.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use chrono::TimeDelta;

use crate::Refusal;
use crate::clock::Timestamp;

/// The source of a request: an IPv4 address, or the /64 of an IPv6 address (the usual size of one
/// customer's network).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Source(IpAddr);

impl Source {
    /// Returns the source that an address belongs to.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self(address.into()),
            IpAddr::V6(address) => {
                Self(std::net::Ipv6Addr::from_bits(address.to_bits() & (!0 << 64)).into())
            }
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(address) => address.fmt(f),
            IpAddr::V6(address) => write!(f, "{address}/64"),
        }
    }
}

/// The kinds of events that rate limiters count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limited {
    /// Redemptions with a code that the registry does not know.
    UnknownCodes,
    /// Requests from the pages: mails, and failed operator logins.
    Requests,
}

/// A maximum number of events per source and window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Maximum number of events of a source within the window.
    pub limit: u32,
    /// Length of the window, which starts with the first event.
    pub window: TimeDelta,
    /// Maximum number of sources in memory.
    pub sources: usize,
}

impl Default for RateLimit {
    /// 30 events in ten minutes, and 65,536 sources (about 4 MB).
    fn default() -> Self {
        Self { limit: 30, window: TimeDelta::minutes(10), sources: 65_536 }
    }
}

#[derive(Clone, Copy)]
struct Counter {
    since: Timestamp,
    count: u32,
}

impl Counter {
    /// Returns the time until the window ends; `None` if it has. A window that begins more than its
    /// length from now has ended, too: the clock was set back since. One that begins a little later
    /// has not: a concurrent request took its time earlier.
    fn left(&self, window: TimeDelta, now: Timestamp) -> Option<TimeDelta> {
        let left = self.since + window - now;
        (left > TimeDelta::zero() && left <= window * 2).then(|| left.min(window))
    }
}

/// Counts events by source, or by another key.
pub struct RateLimiter<K = Source> {
    limited: Limited,
    policy: RateLimit,
    sources: Mutex<HashMap<K, Counter>>,
}

impl<K: Copy + Eq + Hash> RateLimiter<K> {
    /// Creates a rate limiter without any counted events.
    #[must_use]
    pub fn new(limited: Limited, policy: RateLimit) -> Self {
        Self { limited, policy, sources: Mutex::default() }
    }

    /// Refuses a source that has reached the limit, until its window ends.
    pub fn check(&self, source: K, now: Timestamp) -> Result<(), Refusal> {
        let sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(counter) = sources.get(&source) else { return Ok(()) };
        match counter.left(self.policy.window, now) {
            Some(retry_after) if counter.count >= self.policy.limit => {
                Err(Refusal::RateLimited { limited: self.limited, retry_after })
            }
            _ => Ok(()),
        }
    }

    /// Counts an event, and refuses it if it exceeds the limit. Callers count an unknown code
    /// before they report it. Of concurrent requests that all passed [`check`](Self::check), at
    /// most `limit` therefore learn that their code is unknown.
    pub fn record(&self, source: K, now: Timestamp) -> Result<(), Refusal> {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let window = self.policy.window;
        let is_over = |counter: &Counter| counter.left(window, now).is_none();
        if sources.len() >= self.policy.sources && !sources.contains_key(&source) {
            sources.retain(|_, counter| !is_over(counter));
            if sources.len() >= self.policy.sources {
                let oldest = sources
                    .iter()
                    .min_by_key(|(_, counter)| counter.since)
                    .map(|(&source, _)| source);
                oldest.and_then(|source| sources.remove(&source));
            }
        }
        let counter = sources.entry(source).or_insert(Counter { since: now, count: 0 });
        if is_over(counter) {
            *counter = Counter { since: now, count: 0 };
        }
        counter.count = counter.count.saturating_add(1);
        if counter.count > self.policy.limit {
            return Err(Refusal::RateLimited {
                limited: self.limited,
                retry_after: counter.left(window, now).unwrap_or(window),
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source::of(text.parse().unwrap())
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_timestamp(1_800_000_000 + seconds, 0).unwrap()
    }

    fn limiter(limit: u32, sources: usize) -> RateLimiter {
        let policy = RateLimit { limit, window: TimeDelta::seconds(60), sources };
        RateLimiter::new(Limited::UnknownCodes, policy)
    }

    /// R-guessing-2.
    #[test]
    fn limit_lasts_until_the_window_ends() {
        let limiter = limiter(3, 10);
        let eve = source("203.0.113.7");
        for second in 0..3 {
            assert_eq!(limiter.check(eve, at(second)), Ok(()));
            assert_eq!(limiter.record(eve, at(second)), Ok(()));
        }
        let wait = Err(Refusal::RateLimited {
            limited: Limited::UnknownCodes,
            retry_after: TimeDelta::seconds(57),
        });
        assert_eq!(limiter.check(eve, at(3)), wait);
        assert_eq!(limiter.record(eve, at(3)), wait, "an event that was already in progress");
        assert_eq!(limiter.check(source("203.0.113.8"), at(3)), Ok(()));
        assert_eq!(limiter.check(eve, at(60)), Ok(()));
    }

    #[test]
    fn clock_that_is_set_back_locks_nobody_out() {
        let limiter = limiter(1, 10);
        let eve = source("203.0.113.7");
        limiter.record(eve, at(172_800)).unwrap();
        assert!(limiter.check(eve, at(172_801)).is_err());
        assert_eq!(limiter.check(eve, at(0)), Ok(()));
        assert_eq!(limiter.record(eve, at(0)), Ok(()));
        let Err(Refusal::RateLimited { retry_after, .. }) = limiter.check(eve, at(1)) else {
            panic!("the limit holds after the step, too")
        };
        assert_eq!(retry_after, TimeDelta::seconds(59));
        // A concurrent request that took its time a moment earlier does not begin a new window.
        let mallory = source("203.0.113.8");
        limiter.record(mallory, at(10)).unwrap();
        let Err(Refusal::RateLimited { retry_after, .. }) = limiter.record(mallory, at(9)) else {
            panic!("the window has not ended")
        };
        assert_eq!(retry_after, TimeDelta::seconds(60));
    }

    /// R-guessing-3.
    #[test]
    fn source_is_ipv4_address_or_ipv6_64() {
        assert_eq!(source("2001:db8:1:2::1"), source("2001:db8:1:2:ffff::9"));
        assert_ne!(source("2001:db8:1:2::1"), source("2001:db8:1:3::1"));
        assert_eq!(source("::ffff:203.0.113.7"), source("203.0.113.7"));
        assert_eq!(source("2001:db8:1:2::1").to_string(), "2001:db8:1:2::/64");
    }

    /// R-guessing-5.
    #[test]
    fn oldest_source_is_dropped_first() {
        let limiter = limiter(1, 2);
        for (second, address) in ["192.0.2.1", "192.0.2.2", "192.0.2.3"].into_iter().enumerate() {
            limiter.record(source(address), at(i64::try_from(second).unwrap())).unwrap();
        }
        assert_eq!(limiter.sources.lock().unwrap().len(), 2);
        assert_eq!(limiter.check(source("192.0.2.1"), at(4)), Ok(()));
        assert!(limiter.check(source("192.0.2.3"), at(4)).is_err());
    }
}
