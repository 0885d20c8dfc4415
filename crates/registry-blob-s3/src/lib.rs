//! The blob port on any S3-compatible store, through `object_store`.
//!
//! Uploads go in parts, a few at a time, and never stand in memory whole. Links are presigned
//! `GET`s (AWS Signature Version 4, query parameters), made without asking the store; they may be
//! signed for another endpoint than ours, the one that customers reach.

mod settings;
mod upload;

use std::fmt::Display;
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
use registry_core::secret::DownloadLink;
use reqwest::Method;

pub use settings::{S3Credentials, S3Error, S3Settings};

use crate::upload::S3Upload;

/// How long a presigned link may live: S3 refuses longer ones (Amazon S3 User Guide, "Sharing
/// objects with presigned URLs").
pub const LONGEST_LINK: TimeDelta = TimeDelta::days(7);

/// Files in a bucket.
pub struct S3Blobs {
    /// Uploads: patient.
    uploads: AmazonS3,
    /// Questions that somebody waits for.
    questions: AmazonS3,
    /// Makes links for the outside.
    links: AmazonS3,
    prefix: String,
}

impl S3Blobs {
    /// Prepares to use a bucket; connects when it is first asked for something.
    pub fn new(settings: &S3Settings) -> Result<Self, S3Error> {
        // Fails where the process has chosen one already, which is as good.
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
        let inside = settings.endpoint.as_deref();
        let outside = settings.public_endpoint.as_deref().or(inside);
        Ok(Self {
            uploads: settings.client(inside, patient, Duration::from_mins(5))?,
            questions: settings.client(inside, quick.clone(), Duration::from_secs(3))?,
            links: settings.client(outside, quick, Duration::from_secs(3))?,
            prefix: settings.prefix.clone().map(|prefix| format!("{prefix}/")).unwrap_or_default(),
        })
    }

    fn path(&self, key: &BlobKey) -> Path {
        Path::from(format!("{}{key}", self.prefix))
    }
}

/// What the store says, on one line and not endless.
fn unavailable(error: &dyn Display) -> BlobError {
    let text = error.to_string();
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    BlobError::Unavailable(text.chars().take(400).collect())
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
        let found = self.questions.head(&self.path(key)).await;
        found.map(|found| found.size).map_err(|error| failure(&error, key))
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
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<DownloadLink, BlobError> {
        let lifetime = (expires_at - now).clamp(TimeDelta::seconds(1), LONGEST_LINK);
        let lifetime = lifetime.to_std().map_err(|error| unavailable(&error))?;
        let url = self.links.signed_url(Method::GET, &self.path(key), lifetime).await;
        Ok(DownloadLink::new(url.map_err(|error| unavailable(&error))?.to_string()))
    }

    async fn probe(&self) -> Result<(), BlobError> {
        // A `HEAD` of a missing file and of a missing bucket look the same; a list does not.
        let prefix = Path::from(self.prefix.as_str());
        match self.questions.list(Some(&prefix)).next().await {
            None | Some(Ok(_)) => Ok(()),
            Some(Err(error)) => Err(unavailable(&error)),
        }
    }
}
