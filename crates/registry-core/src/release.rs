//! Releases of the appliance image.

use chrono::SecondsFormat;

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
    /// What the vendor signed about it; `None` for those published before manifests were.
    pub manifest: Option<SignedManifest>,
    /// When it was withdrawn: no link to it is made any more.
    pub yanked_at: Option<Timestamp>,
}

/// A manifest and its signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedManifest {
    /// The manifest, a JSON object: exactly the bytes that are signed.
    pub text: String,
    /// The signature (Ed25519, RFC 8032): 64 bytes.
    pub signature: [u8; 64],
}

impl Release {
    /// What is signed about it.
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
    /// Signs these bytes.
    fn sign(&self, manifest: &[u8]) -> [u8; 64];

    /// The key that the signatures can be verified with, as a PEM text (RFC 8410).
    fn public_key_pem(&self) -> String;
}

/// A size in decimal units, as download pages use them: `1.23 GB`.
#[must_use]
pub fn size_in_words(bytes: u64) -> String {
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
    fn sizes_are_in_decimal_units() {
        for (bytes, words) in [
            (0, "0 bytes"),
            (999, "999 bytes"),
            (1_000, "1.00 kB"),
            (64_000_000, "64.00 MB"),
            (5_368_709_120, "5.36 GB"),
        ] {
            assert_eq!(size_in_words(bytes), words);
        }
    }
}
