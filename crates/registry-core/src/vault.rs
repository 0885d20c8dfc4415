//! The port to the master key.

use zeroize::Zeroizing;

use crate::id::CodeId;
use crate::install_code::PlainCode;
use crate::secret::{CodeDigest, DownloadToken, Sealed};

/// Reasons why a sealed text cannot be opened.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The master key that sealed the text is not in the key ring.
    #[error("sealed under master key `{0}`, which is not in the key ring")]
    UnknownKey(String),
    /// The text was altered, or belongs to another row.
    #[error("the sealed text cannot be opened: it was altered, or belongs to another row")]
    Tampered,
}

/// The port to the master key. In-process and synchronous, because decisions may call it.
pub trait Vault: Send + Sync {
    /// Returns the digests of a code under every master key of the ring, the current key first.
    /// Codes are stored under the first digest and looked up under all. MUST be deterministic, and
    /// MUST NOT be empty.
    fn code_digests(&self, code: &PlainCode) -> Vec<CodeDigest>;

    /// Seals `plain` so that it opens only with the same `context` (the id of its row). Every call
    /// MUST get a newly drawn `nonce`.
    fn seal(&self, context: &str, nonce: [u8; 24], plain: &str) -> Sealed;

    /// Returns the token of a mail's download link, which identifies the code. MUST be
    /// deterministic, and MUST NOT be forgeable without the key.
    fn download_token(&self, code: CodeId) -> DownloadToken;

    /// Verifies a token made under any key of the ring, and returns its code. MUST compare in
    /// constant time.
    fn download_token_read(&self, text: &str) -> Option<CodeId>;

    /// Opens a text from [`seal`](Self::seal), under any key of the ring.
    fn open(&self, context: &str, sealed: &Sealed) -> Result<Zeroizing<String>, OpenError>;
}
