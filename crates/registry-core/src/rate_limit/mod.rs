//! Rate limits: a maximum number of events in a window of time, for each source, for the networks
//! around it, and for all sources together.
//!
//! An event is reserved before the work that it leads to, and given back if it turned out to be
//! none. So a burst of requests learns no more than requests one after the other.

mod limiter;
mod source;

use chrono::TimeDelta;

pub use limiter::{Attempt, RateLimiter, Reservation};
pub use source::{Counted, Network, Source};

/// The kinds of events that rate limiters count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limited {
    /// Redemptions with a code that the registry does not know.
    UnknownCodes,
    /// Requests from the pages: mails, and failed operator logins.
    Requests,
}

/// A maximum number of events in a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Maximum number of events of a source. The networks around it have multiples of it.
    pub limit: u32,
    /// Length of the window, which starts with the first event.
    pub window: TimeDelta,
    /// Maximum number of events of all sources together. Sources without an event have half as
    /// many again for themselves: a flood from many sources does not shut them out. The number of
    /// counters in memory is at most nine times this: three networks, in two windows that overlap.
    pub total: u32,
}

impl Default for RateLimit {
    /// 30 events of a source in ten minutes, and 20,000 of all.
    fn default() -> Self {
        Self { limit: 30, window: TimeDelta::minutes(10), total: 20_000 }
    }
}

impl RateLimit {
    /// Maximum number of events of all sources, those included that only sources without an event
    /// have.
    #[must_use]
    pub fn total_with_reserve(&self) -> u32 {
        self.total.saturating_add(self.total / 2)
    }
}

/// Numbers that a rate limiter has counted since the process started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Events that were counted.
    pub counted: u64,
    /// Events that were refused because of their source or a network around it.
    pub refused: u64,
    /// Events that were refused because all sources together had too many.
    pub overloaded: u64,
}

/// A source or network with counted events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CountedNetwork {
    /// The network, such as `203.0.113.7/32`.
    pub network: String,
    /// Number of events in its window.
    pub count: u32,
    /// Number of events that it may have.
    pub limit: u32,
    /// Time until its window ends.
    pub ends_in: TimeDelta,
}
