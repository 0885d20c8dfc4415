//! The throttle of guesses: so many unknown codes from one source in a while, then no more.
//!
//! In memory and bounded: what it forgets first are the windows that began first.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use chrono::TimeDelta;

use crate::Refusal;
use crate::clock::Timestamp;

/// Where a request comes from: an IPv4 address, or the /64 of an IPv6 one (what one customer line
/// usually has).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Source(IpAddr);

impl Source {
    /// The source an address belongs to.
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

/// How much guessing is too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// How many unknown codes a source may try within the window.
    pub limit: u32,
    /// The window; it starts with the first guess.
    pub window: TimeDelta,
    /// How many sources are remembered at most.
    pub sources: usize,
}

impl Default for RateLimit {
    /// 30 in ten minutes, 65,536 sources (about 4 MB).
    fn default() -> Self {
        Self { limit: 30, window: TimeDelta::minutes(10), sources: 65_536 }
    }
}

#[derive(Clone, Copy)]
struct Guesses {
    since: Timestamp,
    count: u32,
}

/// Counts guesses by source, or by something else that can be told apart.
pub struct RateLimiter<K = Source> {
    policy: RateLimit,
    sources: Mutex<HashMap<K, Guesses>>,
}

impl<K: Copy + Eq + Hash> RateLimiter<K> {
    /// A throttle that has seen nothing yet.
    #[must_use]
    pub fn new(policy: RateLimit) -> Self {
        Self { policy, sources: Mutex::default() }
    }

    /// Refuses a source that has guessed too much, until its window ends.
    pub fn check(&self, source: K, now: Timestamp) -> Result<(), Refusal> {
        let sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(guesses) = sources.get(&source) else { return Ok(()) };
        let left = guesses.since + self.policy.window - now;
        if guesses.count < self.policy.limit || left <= TimeDelta::zero() {
            return Ok(());
        }
        Err(Refusal::TooManyGuesses { retry_after: left })
    }

    /// Counts a guess, and refuses it where it is one too many: of guesses that were all under way
    /// before the first of them was counted, no more than the limit learn whether they were right.
    pub fn note(&self, source: K, now: Timestamp) -> Result<(), Refusal> {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = |guesses: &Guesses| guesses.since + self.policy.window <= now;
        if sources.len() >= self.policy.sources && !sources.contains_key(&source) {
            sources.retain(|_, guesses| !is_over(guesses));
            if sources.len() >= self.policy.sources {
                let oldest = sources
                    .iter()
                    .min_by_key(|(_, guesses)| guesses.since)
                    .map(|(&source, _)| source);
                oldest.and_then(|source| sources.remove(&source));
            }
        }
        let guesses = sources.entry(source).or_insert(Guesses { since: now, count: 0 });
        if is_over(guesses) {
            *guesses = Guesses { since: now, count: 0 };
        }
        guesses.count = guesses.count.saturating_add(1);
        if guesses.count > self.policy.limit {
            return Err(Refusal::TooManyGuesses {
                retry_after: guesses.since + self.policy.window - now,
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

    fn throttle(limit: u32, sources: usize) -> RateLimiter {
        RateLimiter::new(RateLimit { limit, window: TimeDelta::seconds(60), sources })
    }

    #[test]
    fn the_limit_holds_for_one_source_until_its_window_ends() {
        let throttle = throttle(3, 10);
        let eve = source("203.0.113.7");
        for second in 0..3 {
            assert_eq!(throttle.check(eve, at(second)), Ok(()));
            assert_eq!(throttle.note(eve, at(second)), Ok(()));
        }
        let wait = Err(Refusal::TooManyGuesses { retry_after: TimeDelta::seconds(57) });
        assert_eq!(throttle.check(eve, at(3)), wait);
        assert_eq!(throttle.note(eve, at(3)), wait, "one that was under way already");
        assert_eq!(throttle.check(source("203.0.113.8"), at(3)), Ok(()));
        assert_eq!(throttle.check(eve, at(60)), Ok(()));
    }

    #[test]
    fn an_ipv6_source_is_its_64_and_a_mapped_one_is_the_ipv4_address() {
        assert_eq!(source("2001:db8:1:2::1"), source("2001:db8:1:2:ffff::9"));
        assert_ne!(source("2001:db8:1:2::1"), source("2001:db8:1:3::1"));
        assert_eq!(source("::ffff:203.0.113.7"), source("203.0.113.7"));
        assert_eq!(source("2001:db8:1:2::1").to_string(), "2001:db8:1:2::/64");
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_source_is_forgotten_first() {
        let throttle = throttle(1, 2);
        for (second, address) in ["192.0.2.1", "192.0.2.2", "192.0.2.3"].into_iter().enumerate() {
            throttle.note(source(address), at(i64::try_from(second).unwrap())).unwrap();
        }
        assert_eq!(throttle.sources.lock().unwrap().len(), 2);
        assert_eq!(throttle.check(source("192.0.2.1"), at(4)), Ok(()));
        assert!(throttle.check(source("192.0.2.3"), at(4)).is_err());
    }
}
