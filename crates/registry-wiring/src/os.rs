//! The operating system's clock and entropy. Nothing else in the service reads either.

use chrono::Utc;
use registry_core::clock::{Clock, Timestamp, truncate};
use registry_core::entropy::Entropy;

/// The operating system's clock.
pub(crate) struct OsClock;

impl Clock for OsClock {
    #[expect(clippy::disallowed_methods, reason = "everything else uses this `Clock`")]
    fn now(&self) -> Timestamp {
        truncate(Utc::now())
    }
}

/// The operating system's entropy.
pub(crate) struct OsEntropy;

impl Entropy for OsEntropy {
    #[expect(clippy::disallowed_methods, reason = "everything else uses this `Entropy`")]
    #[expect(clippy::panic, reason = "a secret must never come from a buffer that was not filled")]
    fn fill(&self, buffer: &mut [u8]) {
        if let Err(error) = getrandom::fill(buffer) {
            panic!("the operating system provides no random bytes: {error}");
        }
    }
}
