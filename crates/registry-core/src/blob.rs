//! The port to the files that customers download.

use std::fmt;
use std::path::PathBuf;

use async_trait::async_trait;

use crate::clock::Timestamp;
use crate::secret::DownloadLink;

/// Where a file is: segments of letters, digits, `.`, `_`, `-` and `+`, joined by `/`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BlobKey(String);

impl BlobKey {
    /// Reads a key; `None` for anything that could lead a file store astray (`..`, empty segments,
    /// odd characters).
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '+');
        let segments_fine = text
            .split('/')
            .all(|part| !part.is_empty() && !part.starts_with('.') && part.chars().all(fine));
        (text.len() <= 512 && segments_fine).then(|| Self(text.to_owned()))
    }

    /// The key.
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

/// What went wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// There is no such file.
    #[error("no file at `{0}`")]
    NotFound(BlobKey),
    /// The store cannot be reached or does not do what it should; trying later may help.
    #[error("the blob store is unavailable: {0}")]
    Unavailable(String),
}

/// A file being written. Dropping it without [`finish`](Self::finish) MUST leave nothing under its
/// key.
#[async_trait]
pub trait BlobUpload: Send {
    /// Appends a part. The upload MUST NOT be held in memory whole.
    async fn write(&mut self, part: &[u8]) -> Result<(), BlobError>;

    /// Makes the file durable and visible under its key, replacing what was there, all of it or
    /// nothing.
    async fn finish(self: Box<Self>) -> Result<(), BlobError>;

    /// Takes back what was written.
    async fn abort(self: Box<Self>) -> Result<(), BlobError>;
}

/// A store of files.
#[async_trait]
pub trait BlobStore: Send + Sync {
    /// Starts to write a file, of about `size` bytes where that is known. It MUST NOT be visible
    /// before it is finished.
    async fn upload(
        &self,
        key: &BlobKey,
        size: Option<u64>,
    ) -> Result<Box<dyn BlobUpload>, BlobError>;

    /// The size of a file in bytes, or [`BlobError::NotFound`].
    async fn size(&self, key: &BlobKey) -> Result<u64, BlobError>;

    /// Deletes a file; one that is not there is deleted already.
    async fn delete(&self, key: &BlobKey) -> Result<(), BlobError>;

    /// A link that downloads the file without any other proof until `expires_at`. It is made
    /// without asking the file's store, so it MUST work where that is down. `now` is the time it is
    /// made at.
    async fn link(
        &self,
        key: &BlobKey,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<DownloadLink, BlobError>;

    /// Whether files can be read and written now.
    async fn probe(&self) -> Result<(), BlobError>;
}

/// A file that a link of our own names, ready to be served.
#[derive(Debug)]
pub struct LinkedFile {
    /// Where it is on this machine.
    pub path: PathBuf,
    /// Its key.
    pub key: BlobKey,
}

/// Why a link of our own is not served.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// The signature does not fit: the link was altered or cut off.
    #[error("This download link is not valid: it was altered or cut off.")]
    Invalid,
    /// Its time ran out.
    #[error("This download link ended on {}.", crate::clock::in_words(*.0))]
    Expired(Timestamp),
    /// The file it names is gone.
    #[error("The file behind this download link is not there any more.")]
    Gone,
    /// The file cannot be looked at now.
    #[error("The file behind this download link cannot be read now.")]
    Unavailable(String),
}

/// Checks the links of a store whose files registryd serves itself.
pub trait LinkedFiles: Send + Sync {
    /// The file that the link with this key and query string names. The signature MUST be checked,
    /// in constant time, before the expiry, and both before the file.
    fn open(&self, key: &str, query: &str, now: Timestamp) -> Result<LinkedFile, LinkError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_cannot_leave_its_folder() {
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
