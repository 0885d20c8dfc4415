//! Links to the current image: only where its file is there, whole.

use std::sync::{Mutex, PoisonError};

use chrono::TimeDelta;

use crate::blob::{BlobError, BlobKey};
use crate::clock::Timestamp;
use crate::registry::{Error, Registry};
use crate::release::Release;
use crate::secret::DownloadLink;

/// How long it is believed that a file is there, or is not: asking may be a call over the network.
const BELIEVED: TimeDelta = TimeDelta::seconds(10);

/// What was last seen of a release's file.
#[derive(Default)]
pub(crate) struct LastLook(Mutex<Option<(BlobKey, Timestamp, bool)>>);

impl LastLook {
    fn at(&self, key: &BlobKey, now: Timestamp) -> Option<bool> {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = |it: &&(BlobKey, Timestamp, bool)| it.0 == *key && it.1 <= now && now - it.1 < BELIEVED;
        last.as_ref().filter(fresh).map(|it| it.2)
    }

    fn note(&self, key: &BlobKey, now: Timestamp, is_whole: bool) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((key.clone(), now, is_whole));
    }
}

impl Registry {
    /// A link to a release's file that ends at `expires_at`; `None` where the file is gone or torn. Where the blob store
    /// does not answer, the link is made all the same: it may answer by the time that somebody follows it.
    pub(crate) async fn download_link(
        &self,
        release: &Release,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<Option<DownloadLink>, BlobError> {
        let is_whole = match self.last_look.at(&release.key, now) {
            Some(is_whole) => is_whole,
            None => match self.is_whole(release).await {
                Ok(is_whole) => {
                    self.last_look.note(&release.key, now, is_whole);
                    is_whole
                }
                Err(_) => true,
            },
        };
        if is_whole { self.ports.blobs.link(&release.key, now, expires_at).await.map(Some) } else { Ok(None) }
    }

    /// Whether a release's file is there with all of its bytes.
    pub(crate) async fn is_whole(&self, release: &Release) -> Result<bool, Error> {
        match self.ports.blobs.size(&release.key).await {
            Ok(size) => Ok(size == release.size),
            Err(BlobError::NotFound(_)) => Ok(false),
            Err(error @ BlobError::Unavailable(_)) => Err(error.into()),
        }
    }
}
