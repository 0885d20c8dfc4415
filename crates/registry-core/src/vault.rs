//! The port to the master key.

use zeroize::Zeroizing;

use crate::id::CodeId;
use crate::install_code::PlainCode;
use crate::secret::{CodeDigest, DownloadToken, Sealed};

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

/// The port to the master key. Everything is in-process and synchronous: it may run inside a
/// decision.
pub trait Vault: Send + Sync {
    /// Digests of a code under every master key of the ring, the current one first: a code is
    /// stored under the first and looked up under all. MUST be deterministic, and never empty.
    fn code_digests(&self, code: &PlainCode) -> Vec<CodeDigest>;

    /// Seals `plain` so that it opens only with the same `context` (the id of the row it belongs
    /// to). `nonce` MUST be freshly drawn.
    fn seal(&self, context: &str, nonce: [u8; 24], plain: &str) -> Sealed;

    /// The token of a mail's download link, which stands for this code. MUST be deterministic, and
    /// such that nobody can make one without the key.
    fn download_token(&self, code: CodeId) -> DownloadToken;

    /// The code that a token stands for, made under any key of the ring. MUST compare in constant
    /// time.
    fn download_token_read(&self, text: &str) -> Option<CodeId>;

    /// Opens what [`seal`](Self::seal) sealed, under any key of the ring.
    fn open(&self, context: &str, sealed: &Sealed) -> Result<Zeroizing<String>, OpenError>;
}
