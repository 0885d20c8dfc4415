//! Readiness: the state of each part of the service.

use chrono::TimeDelta;

use crate::blob::BlobError;
use crate::mail::MailCounts;
use crate::registry::{Error, Registry};

/// Time after which a mail that waits is delayed.
const DELAYED_AFTER: TimeDelta = TimeDelta::hours(1);

/// A part of the service, and its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Name of the part on the wire.
    pub name: &'static str,
    /// True if requests fail without the part.
    pub required: bool,
    /// State of the part.
    pub state: PartState,
}

/// State of a part of the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PartState {
    /// The part works.
    Ok,
    /// The part does not work because of something that an operator did or has not done yet.
    Down(String),
    /// The part failed. The cause may contain private details such as paths.
    Failed(String),
}

impl Registry {
    /// Returns the state of every part. Mail, files and a missing release are reported, but no
    /// request fails because of them. Mail waits in the outbox, and codes are issued without a
    /// link.
    pub async fn readiness(&self) -> Vec<Part> {
        let state = |problem: Option<String>| problem.map_or(PartState::Ok, PartState::Failed);
        let store = self.ports.store.probe().await.err().map(|error| error.to_string());
        let no_keys = self.ports.signer.public_keys().is_empty();
        let keys = if no_keys {
            PartState::Down("no license signing key exists".to_owned())
        } else {
            PartState::Ok
        };
        let blobs = self.ports.blobs.probe().await.err().map(|error| error.to_string());
        let mail = match self.ports.mailer.probe().await {
            Err(error) => PartState::Failed(error.to_string()),
            Ok(()) => self.outbox_state().await,
        };
        let release = self.release_state().await;
        vec![
            Part { name: "database", required: true, state: state(store) },
            Part { name: "key_ring", required: true, state: keys },
            Part { name: "blob_store", required: false, state: state(blobs) },
            Part { name: "mail", required: false, state: mail },
            Part { name: "release", required: false, state: release },
        ]
    }

    /// Returns the numbers of mails.
    pub async fn mail_counts(&self) -> Result<MailCounts, Error> {
        Ok(self.ports.store.mail_counts(self.now() - DELAYED_AFTER).await?)
    }

    async fn outbox_state(&self) -> PartState {
        match self.mail_counts().await {
            Err(error) => PartState::Failed(error.to_string()),
            Ok(MailCounts { delayed: 0, .. }) => PartState::Ok,
            Ok(MailCounts { delayed, .. }) => PartState::Down(format!(
                "{delayed} mails have waited for more than an hour: `registryctl mail list` shows why"
            )),
        }
    }

    async fn release_state(&self) -> PartState {
        let channel = &self.settings.downloads.channel;
        match self.ports.store.release_current(channel.clone()).await {
            Err(error) => PartState::Failed(error.to_string()),
            Ok(None) => PartState::Down(format!(
                "no release is published in channel `{channel}`: codes go out without a link"
            )),
            Ok(Some(release)) => match self.ports.blobs.size(&release.key).await {
                Ok(size) if size == release.size => PartState::Ok,
                Ok(size) => PartState::Down(format!(
                    "the file of {} has {size} bytes, not {}",
                    release.version, release.size
                )),
                Err(BlobError::NotFound(_)) => {
                    PartState::Down(format!("the file of {} does not exist", release.version))
                }
                Err(error @ BlobError::Unavailable(_)) => PartState::Failed(error.to_string()),
            },
        }
    }
}
