//! The operating system's clock and entropy: the only place that asks it for either.

use chrono::Utc;
use registry_core::clock::{Clock, Timestamp, truncate};
use registry_core::entropy::Entropy;

/// The operating system's clock.
pub(crate) struct OsClock;

impl Clock for OsClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock that everything else asks")]
    fn now(&self) -> Timestamp {
        truncate(Utc::now())
    }
}

/// The operating system's entropy.
pub(crate) struct OsEntropy;

impl Entropy for OsEntropy {
    #[expect(clippy::disallowed_methods, reason = "this is the source that everything else asks")]
    #[expect(clippy::panic, reason = "a secret must never be made of a buffer that was not filled")]
    fn fill(&self, buffer: &mut [u8]) {
        if let Err(error) = getrandom::fill(buffer) {
            panic!("the operating system gives no random bytes: {error}");
        }
    }
}
