//! Releases of the appliance image.

use crate::blob::BlobKey;
use crate::clock::Timestamp;
use crate::id::ReleaseId;
use crate::text::{Channel, Version};

/// A published image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// Its id.
    pub id: ReleaseId,
    /// The channel it was published in.
    pub channel: Channel,
    /// Its version, unique in the channel.
    pub version: Version,
    /// Where its file is.
    pub key: BlobKey,
    /// The name that a download is saved under.
    pub file_name: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its SHA-256, 64 lower-case hex digits.
    pub sha256: String,
    /// When it was published.
    pub published_at: Timestamp,
}
