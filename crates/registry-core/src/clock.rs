//! The clock port.

use chrono::{DateTime, SubsecRound, Timelike as _, Utc};

/// A moment in UTC. Core's own are whole microseconds, the finest step that every database keeps.
pub type Timestamp = DateTime<Utc>;

/// Tells the time. Nothing in core asks the operating system.
pub trait Clock: Send + Sync {
    /// The current time; MUST be truncated to microseconds (see [`truncate`]).
    fn now(&self) -> Timestamp;
}

/// Cuts a moment to whole microseconds, so that what was written equals what is read back.
#[must_use]
pub fn truncate(moment: Timestamp) -> Timestamp {
    moment.trunc_subsecs(6)
}

/// The minute that a moment is in.
#[must_use]
pub fn minute(moment: Timestamp) -> Timestamp {
    moment.with_second(0).map_or(moment, |minute| minute.trunc_subsecs(0))
}

/// A moment as operators read it: `2026-11-24 at 03:24 UTC`.
#[must_use]
pub fn in_words(moment: Timestamp) -> String {
    moment.format("%Y-%m-%d at %H:%M UTC").to_string()
}
