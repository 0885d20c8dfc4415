use registry_core::blob::BlobKey;
use registry_core::clock::Timestamp;
use registry_core::id::ReleaseId;
use registry_core::release::{Release, SignedManifest};
use registry_core::text::{Channel, Version};

use crate::table::table;

table!(
    Release of "releases", key ["id"] {
        id: ReleaseId,
        channel: Channel,
        version: Version,
        file_name: String,
        size: u64,
        sha256: String,
        published_at: Timestamp,
        yanked_at: Option<Timestamp>,
    } and |release| {
        blob_key: BlobKey = release.key,
        manifest: Option<String> = release.manifest.as_ref().map(|it| it.text.clone()),
        manifest_signature: Option<[u8; 64]> = release.manifest.as_ref().map(|it| it.signature),
    } as {
        key: blob_key,
        manifest: manifest
            .zip(manifest_signature)
            .map(|(text, signature)| SignedManifest { text, signature }),
    }
);
