//! The port to randomness.

use uuid::{Builder, Uuid};

use crate::clock::Timestamp;

/// A source of cryptographically strong random bytes.
pub trait Entropy: Send + Sync {
    /// Fills `buffer` with random bytes. MUST NOT return before the whole buffer is filled.
    fn fill(&self, buffer: &mut [u8]);
}

/// Draws `N` random bytes.
pub fn bytes<const N: usize>(entropy: &dyn Entropy) -> [u8; N] {
    let mut buffer = [0; N];
    entropy.fill(&mut buffer);
    buffer
}

/// Draws a time-ordered id (UUID version 7, RFC 9562 §5.7), so that rows of the same time are
/// neighbours in an index.
#[must_use]
pub fn uuid(entropy: &dyn Entropy, now: Timestamp) -> Uuid {
    let millis = u64::try_from(now.timestamp_millis()).unwrap_or_default();
    Builder::from_unix_timestamp_millis(millis, &bytes(entropy)).into_uuid()
}

/// Returns the smallest id that [`uuid()`] can draw at `moment`. All ids drawn earlier are smaller.
#[must_use]
pub fn uuid_floor(moment: Timestamp) -> Uuid {
    let millis = u64::try_from(moment.timestamp_millis()).unwrap_or_default();
    Builder::from_unix_timestamp_millis(millis, &[0; 10]).into_uuid()
}

/// Formats bytes as lower-case hexadecimal, two digits per byte.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // writing to a String cannot fail
        text
    })
}
