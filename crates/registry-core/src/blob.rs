//! The port to the files that customers download.

use std::fmt;
use std::path::PathBuf;

use async_trait::async_trait;

use crate::clock::Timestamp;
use crate::id::CodeId;
use crate::secret::DownloadLink;

/// The path of a file in the blob store: segments of letters, digits, `.`, `_`, `-` and `+`, joined
/// by `/`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BlobKey(String);

impl BlobKey {
    /// Parses a key. Returns `None` for anything that could escape a store's folder (`..`, empty
    /// segments) or has other characters.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '+');
        let is_segment =
            |part: &str| !part.is_empty() && !part.starts_with('.') && part.chars().all(is_allowed);
        (text.len() <= 512 && text.split('/').all(is_segment)).then(|| Self(text.to_owned()))
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BlobKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Errors of the blob store.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The file does not exist.
    #[error("no file at `{0}`")]
    NotFound(BlobKey),
    /// The store cannot be reached or does not work; a later attempt may succeed.
    #[error("the blob store is unavailable: {0}")]
    Unavailable(String),
}

/// An upload in progress. Dropping it without [`finish`](Self::finish) MUST leave nothing under its
/// key.
#[async_trait]
pub trait BlobUpload: Send {
    /// Appends a part. MUST NOT hold the whole upload in memory.
    async fn write(&mut self, part: &[u8]) -> Result<(), BlobError>;

    /// Makes the file durable and visible under its key, replacing an earlier file. MUST be atomic.
    async fn finish(self: Box<Self>) -> Result<(), BlobError>;

    /// Discards the upload.
    async fn abort(self: Box<Self>) -> Result<(), BlobError>;
}

/// The port to a store of files.
#[async_trait]
pub trait BlobStore: Send + Sync {
    /// Starts the upload of a file of about `size` bytes (`None` if unknown). The file MUST NOT be
    /// visible before [`finish`](BlobUpload::finish).
    async fn upload(
        &self,
        key: &BlobKey,
        size: Option<u64>,
    ) -> Result<Box<dyn BlobUpload>, BlobError>;

    /// Returns the size of a file in bytes, or [`BlobError::NotFound`].
    async fn size(&self, key: &BlobKey) -> Result<u64, BlobError>;

    /// Deletes a file. Succeeds if the file does not exist.
    async fn delete(&self, key: &BlobKey) -> Result<(), BlobError>;

    /// Returns a link, issued at `now`, that downloads the file without other proof until
    /// `expires_at`. A store whose files registryd serves itself binds the link to the `holder`'s
    /// code, so that the link ends when the code's tenant is suspended. The link is computed without
    /// a request to the store, so this MUST succeed while the store is down.
    async fn link(
        &self,
        key: &BlobKey,
        holder: Option<CodeId>,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<DownloadLink, BlobError>;

    /// Checks that files can be read and written now.
    async fn probe(&self) -> Result<(), BlobError>;
}

/// A file that a link signed by registryd names, ready to be served.
#[derive(Debug)]
pub struct LinkedFile {
    /// Path of the file on this machine.
    pub path: PathBuf,
    /// Key of the file.
    pub key: BlobKey,
    /// The code that the link is bound to.
    pub holder: Option<CodeId>,
}

/// Reasons not to serve a link that registryd signed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// The signature does not match: the link was altered or cut off.
    #[error("This download link is not valid: it was altered or cut off.")]
    Invalid,
    /// The link has expired.
    #[error("This download link expired on {}.", crate::clock::format_time(*.0))]
    Expired(Timestamp),
    /// The file does not exist.
    #[error("The file behind this download link no longer exists.")]
    Gone,
    /// The file cannot be read now.
    #[error("The file behind this download link cannot be read now.")]
    Unavailable(String),
}

/// The port that verifies download links, for stores whose files registryd serves itself.
pub trait LinkedFiles: Send + Sync {
    /// Returns the file that a link names; `key` and `query` are the link's path and query string.
    /// MUST check the signature first (in constant time), then the expiry, and only then the file.
    fn open(&self, key: &str, query: &str, now: Timestamp) -> Result<LinkedFile, LinkError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_cannot_leave_its_folder() {
        for text in ["stable/1.2.3/appliance.iso", "a", "a-b_c+d.e/f"] {
            assert!(BlobKey::parse(text).is_some(), "{text:?}");
        }
        for text in
            ["", "/", "/a", "a/", "a//b", "..", "a/../b", ".hidden", "a\\b", "a\0", "a b", "é"]
        {
            assert!(BlobKey::parse(text).is_none(), "{text:?}");
        }
    }
}
