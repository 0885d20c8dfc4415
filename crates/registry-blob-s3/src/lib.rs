//! The blob store in a bucket of any S3-compatible store, through `object_store`.
//!
//! An upload sends its parts a few at a time, and never holds the whole file in memory. Links are
//! presigned `GET` requests (AWS Signature Version 4, in query parameters), made without a request
//! to the store. They can be signed for a public endpoint that customers reach, instead of the
//! internal one.

mod settings;
mod upload;

use std::error::Error as StdError;
use std::time::Duration;

use async_trait::async_trait;
use chrono::TimeDelta;
use futures_util::StreamExt as _;
use object_store::aws::AmazonS3;
use object_store::path::Path;
use object_store::signer::Signer as _;
use object_store::{ObjectStore as _, ObjectStoreExt as _, RetryConfig};
use registry_core::blob::{BlobError, BlobKey, BlobStore, BlobUpload};
use registry_core::clock::Timestamp;
use registry_core::id::CodeId;
use registry_core::secret::DownloadLink;
use registry_core::tls_hint::explained;
use reqwest::Method;

pub use settings::{S3Credentials, S3Error, S3Settings};

use crate::upload::S3Upload;

/// Maximum lifetime of a presigned link: S3 refuses longer ones (Amazon S3 User Guide, "Sharing
/// objects with presigned URLs").
pub const MAX_LINK_LIFETIME: TimeDelta = TimeDelta::days(7);

/// A blob store in a bucket.
pub struct S3Blobs {
    /// Client for uploads and deletions, with long timeouts and several retries.
    uploads: AmazonS3,
    /// Client for calls that a request waits for, with short timeouts.
    queries: AmazonS3,
    /// Client that signs links for the public endpoint.
    links: AmazonS3,
    prefix: String,
}

impl S3Blobs {
    /// Creates the clients of a bucket. They connect at their first request.
    pub fn new(settings: &S3Settings) -> Result<Self, S3Error> {
        // An error means that the process has installed a provider already, which is fine.
        drop(rustls::crypto::ring::default_provider().install_default());
        let patient = RetryConfig {
            max_retries: 5,
            retry_timeout: Duration::from_mins(2),
            ..RetryConfig::default()
        };
        let quick = RetryConfig {
            max_retries: 1,
            retry_timeout: Duration::from_secs(3),
            ..RetryConfig::default()
        };
        let endpoint = settings.endpoint.as_deref();
        let public_endpoint = settings.public_endpoint.as_deref().or(endpoint);
        Ok(Self {
            uploads: settings.client(endpoint, patient, Duration::from_mins(5))?,
            queries: settings.client(endpoint, quick.clone(), Duration::from_secs(3))?,
            links: settings.client(public_endpoint, quick, Duration::from_secs(3))?,
            prefix: settings.prefix.clone().map(|prefix| format!("{prefix}/")).unwrap_or_default(),
        })
    }

    fn path(&self, key: &BlobKey) -> Path {
        Path::from(format!("{}{key}", self.prefix))
    }
}

/// Returns an error of the store with its causes, as one line of at most 800 characters.
fn unavailable(error: &(dyn StdError + 'static)) -> BlobError {
    let causes = std::iter::successors(error.source(), |cause| (*cause).source());
    let text = causes.fold(error.to_string(), |text, cause| {
        let cause = cause.to_string();
        if text.contains(&cause) { text } else { format!("{text}: {cause}") }
    });
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    BlobError::Unavailable(explained(&text).chars().take(800).collect())
}

fn failure(error: &object_store::Error, key: &BlobKey) -> BlobError {
    match error {
        object_store::Error::NotFound { .. } => BlobError::NotFound(key.clone()),
        error => unavailable(error),
    }
}

#[async_trait]
impl BlobStore for S3Blobs {
    async fn upload(
        &self,
        key: &BlobKey,
        size: Option<u64>,
    ) -> Result<Box<dyn BlobUpload>, BlobError> {
        Ok(Box::new(S3Upload::new(self.uploads.clone(), self.path(key), size)))
    }

    async fn size(&self, key: &BlobKey) -> Result<u64, BlobError> {
        let object = self.queries.head(&self.path(key)).await;
        object.map(|object| object.size).map_err(|error| failure(&error, key))
    }

    async fn delete(&self, key: &BlobKey) -> Result<(), BlobError> {
        match self.uploads.delete(&self.path(key)).await {
            Err(object_store::Error::NotFound { .. }) | Ok(()) => Ok(()),
            Err(error) => Err(unavailable(&error)),
        }
    }

    async fn link(
        &self,
        key: &BlobKey,
        _holder: Option<CodeId>,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<DownloadLink, BlobError> {
        let lifetime = (expires_at - now).clamp(TimeDelta::seconds(1), MAX_LINK_LIFETIME);
        let lifetime = lifetime.to_std().map_err(|error| unavailable(&error))?;
        let url = self.links.signed_url(Method::GET, &self.path(key), lifetime).await;
        Ok(DownloadLink::new(url.map_err(|error| unavailable(&error))?.to_string()))
    }

    async fn probe(&self) -> Result<(), BlobError> {
        // A list distinguishes a missing bucket from an empty one. A `HEAD` of a file would not.
        let prefix = Path::from(self.prefix.as_str());
        match self.queries.list(Some(&prefix)).next().await {
            None | Some(Ok(_)) => Ok(()),
            Some(Err(error)) => Err(unavailable(&error)),
        }
    }
}
