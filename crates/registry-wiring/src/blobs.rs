//! The store of the images: the data folder, or a bucket.

use std::sync::Arc;

use anyhow::Context as _;
use registry_blob_local::{LinkKey, LocalBlobs};
use registry_blob_s3::{S3Blobs, S3Credentials, S3Settings};
use registry_core::blob::{BlobStore, LinkedFiles};
use registry_vault::KeyRing;

use crate::config::{Config, S3};
use crate::data::{DataFolder, configured_secret, ensure_folder, read_public};

/// The store of the images, and its files if registryd serves them itself.
pub(crate) type Blobs = (Arc<dyn BlobStore>, Option<Arc<dyn LinkedFiles>>);

/// Opens the store that `config` names.
pub(crate) fn open(
    config: &Config,
    public_url: &str,
    data: &DataFolder,
    vault: &KeyRing,
) -> anyhow::Result<Blobs> {
    if let Some(s3) = &config.s3 {
        return Ok((Arc::new(bucket(s3)?), None));
    }
    let keys = vault.link_keys().into_iter().map(|(id, secret)| LinkKey { id, secret }).collect();
    let folder = ensure_folder(data.files())?;
    let blobs = LocalBlobs::open(folder.clone(), format!("{public_url}/files"), keys);
    let blobs = Arc::new(blobs.with_context(|| format!("{} cannot be used", folder.display()))?);
    Ok((blobs.clone(), Some(blobs)))
}

/// Checks `s3.*` and the files that it names.
pub(crate) fn check(config: &Config) -> anyhow::Result<()> {
    config.s3.as_ref().map(bucket).transpose().map(drop)
}

fn bucket(s3: &S3) -> anyhow::Result<S3Blobs> {
    S3Blobs::new(&settings(s3)?).context("`s3` cannot be used")
}

fn settings(s3: &S3) -> anyhow::Result<S3Settings> {
    let key = configured_secret(
        "s3.secret_access_key",
        s3.secret_access_key.as_ref(),
        s3.secret_access_key_file.as_deref(),
    )?;
    let credentials =
        s3.access_key_id.clone().zip(key).map(|(access_key_id, secret_access_key)| S3Credentials {
            access_key_id,
            secret_access_key,
            session_token: s3.session_token.as_ref().map(|token| token.expose().clone()),
        });
    Ok(S3Settings {
        bucket: s3.bucket.clone(),
        region: s3.region.clone(),
        endpoint: s3.endpoint.clone(),
        public_endpoint: s3.public_endpoint.clone(),
        path_style: s3.path_style.unwrap_or(s3.endpoint.is_some()),
        prefix: s3.prefix.clone(),
        credentials,
        ca_pem: s3.ca_file.as_deref().map(|path| read_public("s3.ca_file", path)).transpose()?,
    })
}
