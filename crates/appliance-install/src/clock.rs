//! The clock port. Tests set it.

/// Tolerated difference between two clocks, in seconds.
pub(crate) const MAX_SKEW: u64 = 60;

/// A source of the current time.
pub trait Clock: Send + Sync {
    /// Returns the current time, in Unix seconds.
    fn now(&self) -> u64;
}

/// The clock of this machine.
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the port's side of the operating system"
    )]
    fn now(&self) -> u64 {
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs()
    }
}
