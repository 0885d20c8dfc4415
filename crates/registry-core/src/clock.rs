//! The clock port.

use chrono::{DateTime, SubsecRound, Timelike as _, Utc};

/// A moment in UTC. Core truncates to whole microseconds, the finest resolution that every
/// supported database stores.
pub type Timestamp = DateTime<Utc>;

/// The port to the time. Core never reads the operating system's clock.
pub trait Clock: Send + Sync {
    /// Returns the current time. The time MUST be truncated to microseconds (see [`truncate`]).
    fn now(&self) -> Timestamp;
}

/// Truncates a moment to whole microseconds, so that a stored time equals the one read back.
#[must_use]
pub fn truncate(moment: Timestamp) -> Timestamp {
    moment.trunc_subsecs(6)
}

/// Truncates a moment to the minute.
#[must_use]
pub fn minute(moment: Timestamp) -> Timestamp {
    moment.with_second(0).map_or(moment, |minute| minute.trunc_subsecs(0))
}

/// Formats a moment for people: `2026-11-24 at 03:24 UTC`.
#[must_use]
pub fn format_time(moment: Timestamp) -> String {
    moment.format("%Y-%m-%d at %H:%M UTC").to_string()
}
