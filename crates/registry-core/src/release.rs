//! Releases of the appliance image.

use chrono::SecondsFormat;

use crate::blob::BlobKey;
use crate::clock::Timestamp;
use crate::id::ReleaseId;
use crate::text::{Channel, Version};

/// A published version of the appliance image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// Id of the release.
    pub id: ReleaseId,
    /// The channel of the release.
    pub channel: Channel,
    /// The version, unique in its channel.
    pub version: Version,
    /// Key of the image file.
    pub key: BlobKey,
    /// File name of a download.
    pub file_name: String,
    /// Size in bytes.
    pub size: u64,
    /// SHA-256 of the file, 64 lower-case hex digits.
    pub sha256: String,
    /// Time of publication.
    pub published_at: Timestamp,
    /// The signed manifest; `None` for releases published before manifests were introduced.
    pub manifest: Option<SignedManifest>,
    /// Time of withdrawal (yank). No links to a withdrawn release are issued.
    pub yanked_at: Option<Timestamp>,
}

/// A manifest with its signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedManifest {
    /// The manifest, a JSON object: exactly the bytes that are signed.
    pub text: String,
    /// Ed25519 signature (RFC 8032), 64 bytes.
    pub signature: [u8; 64],
}

impl Release {
    /// Returns the text of the manifest, as it is signed.
    #[must_use]
    pub fn manifest_text(&self) -> String {
        let manifest = serde_json::json!({
            "version": self.version.as_str(),
            "channel": self.channel.as_str(),
            "key": self.key.as_str(),
            "file_name": self.file_name,
            "size": self.size,
            "sha256": self.sha256,
            "published_at": self.published_at.to_rfc3339_opts(SecondsFormat::Secs, true),
        });
        manifest.to_string()
    }
}

/// The port to the key that signs manifests. In-process and synchronous.
pub trait ManifestSigner: Send + Sync {
    /// Signs the bytes of a manifest.
    fn sign(&self, manifest: &[u8]) -> [u8; 64];

    /// The public key that verifies the signatures, in PEM (RFC 8410).
    fn public_key_pem(&self) -> String;
}

/// Formats a size in decimal units, as download pages do: `1.23 GB`.
#[must_use]
pub fn format_size(bytes: u64) -> String {
    let units: [(u64, &str); 3] = [(1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB")];
    let Some((unit, name)) = units.into_iter().find(|(unit, _)| bytes >= *unit) else {
        return format!("{bytes} bytes");
    };
    let hundredths = u128::from(bytes) * 100 / u128::from(unit);
    format!("{}.{:02} {name}", hundredths / 100, hundredths % 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_use_decimal_units() {
        for (bytes, expected) in [
            (0, "0 bytes"),
            (999, "999 bytes"),
            (1_000, "1.00 kB"),
            (64_000_000, "64.00 MB"),
            (5_368_709_120, "5.36 GB"),
        ] {
            assert_eq!(format_size(bytes), expected);
        }
    }
}
