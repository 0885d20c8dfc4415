//! The port to the master key.

use zeroize::Zeroizing;

use crate::install_code::PlainCode;
use crate::secret::{CodeDigest, Sealed};

/// Why a sealed text cannot be opened.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The master key it was sealed under is not in the ring.
    #[error("sealed under master key `{0}`, which is not here")]
    UnknownKey(String),
    /// It was altered, or belongs to another row.
    #[error("sealed text does not open: altered, or from another row")]
    Tampered,
}

/// The port to the master key. Everything is in-process and synchronous: it may run inside a decision.
pub trait Vault: Send + Sync {
    /// Digests of a code under every master key of the ring, the current one first: a code is stored under the
    /// first and looked up under all. MUST be deterministic, and never empty.
    fn code_digests(&self, code: &PlainCode) -> Vec<CodeDigest>;

    /// Seals `plain` so that it opens only with the same `context` (the id of the row it belongs to).
    /// `nonce` MUST be freshly drawn.
    fn seal(&self, context: &str, nonce: [u8; 24], plain: &str) -> Sealed;

    /// Opens what [`seal`](Self::seal) sealed, under any key of the ring.
    fn open(&self, context: &str, sealed: &Sealed) -> Result<Zeroizing<String>, OpenError>;
}
