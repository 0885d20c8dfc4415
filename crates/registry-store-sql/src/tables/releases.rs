//! Releases.

use registry_core::blob::BlobKey;
use registry_core::release::{Release, SignedManifest};
use registry_core::store::StoreError;
use registry_core::text::{Channel, Version};

use crate::table::{Read, corrupt, number, table};
use crate::types::{SqlId, SqlTime};

table!(
    /// A row of `releases`.
    ReleaseRow of "releases", key ["id"] {
        id: SqlId,
        channel: String,
        version: String,
        blob_key: String,
        file_name: String,
        size: i64,
        sha256: String,
        published_at: SqlTime,
        manifest: Option<String>,
        manifest_signature: Option<Vec<u8>>,
        yanked_at: Option<SqlTime>,
    }
);

impl TryFrom<&Release> for ReleaseRow {
    type Error = StoreError;

    fn try_from(release: &Release) -> Read<Self> {
        Ok(Self {
            id: release.id.into(),
            channel: release.channel.to_string(),
            version: release.version.to_string(),
            blob_key: release.key.to_string(),
            file_name: release.file_name.clone(),
            size: number(release.size)?,
            sha256: release.sha256.clone(),
            published_at: release.published_at.into(),
            manifest: release.manifest.as_ref().map(|manifest| manifest.text.clone()),
            manifest_signature: release
                .manifest
                .as_ref()
                .map(|manifest| manifest.signature.to_vec()),
            yanked_at: release.yanked_at.map(Into::into),
        })
    }
}

impl TryFrom<ReleaseRow> for Release {
    type Error = StoreError;

    fn try_from(row: ReleaseRow) -> Read<Self> {
        Ok(Self {
            id: row.id.into(),
            channel: Channel::from_stored(row.channel),
            version: Version::from_stored(row.version),
            key: BlobKey::parse(&row.blob_key).ok_or_else(|| corrupt("blob key"))?,
            file_name: row.file_name,
            size: number(row.size)?,
            sha256: row.sha256,
            published_at: row.published_at.into(),
            manifest: manifest(row.manifest, row.manifest_signature)?,
            yanked_at: row.yanked_at.map(Into::into),
        })
    }
}

fn manifest(text: Option<String>, signature: Option<Vec<u8>>) -> Read<Option<SignedManifest>> {
    let Some((text, signature)) = text.zip(signature) else { return Ok(None) };
    let signature = signature.try_into().map_err(|_| corrupt("signature of a manifest"))?;
    Ok(Some(SignedManifest { text, signature }))
}
