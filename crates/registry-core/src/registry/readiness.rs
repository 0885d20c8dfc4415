//! Readiness: what works now, part by part.

use crate::blob::BlobError;
use crate::registry::Registry;

/// A part of the service and how it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its name on the wire.
    pub name: &'static str,
    /// Whether requests fail without it.
    pub required: bool,
    /// How it is.
    pub state: PartState,
}

/// How a part is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PartState {
    /// It works.
    Ok,
    /// It does not, by what an operator has done or left undone.
    Down(String),
    /// It failed; the cause may name what is nobody else's business, such as paths.
    Failed(String),
}

impl Registry {
    /// How every part is. Mail, files and a missing release are reported and fail no request: mail
    /// waits in the outbox, and codes are minted without a link.
    pub async fn readiness(&self) -> Vec<Part> {
        let state = |problem: Option<String>| problem.map_or(PartState::Ok, PartState::Failed);
        let store = self.ports.store.probe().await.err().map(|error| error.to_string());
        let no_keys = self.ports.signer.public_keys().is_empty();
        let keys = if no_keys {
            PartState::Down("there is no license key".to_owned())
        } else {
            PartState::Ok
        };
        let blobs = self.ports.blobs.probe().await.err().map(|error| error.to_string());
        let mail = self.ports.mailer.probe().await.err().map(|error| error.to_string());
        let release = self.release_state().await;
        vec![
            Part { name: "database", required: true, state: state(store) },
            Part { name: "key_ring", required: true, state: keys },
            Part { name: "blob_store", required: false, state: state(blobs) },
            Part { name: "mail", required: false, state: state(mail) },
            Part { name: "release", required: false, state: release },
        ]
    }

    async fn release_state(&self) -> PartState {
        let channel = &self.settings.channel;
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
                    PartState::Down(format!("the file of {} is not there", release.version))
                }
                Err(error @ BlobError::Unavailable(_)) => PartState::Failed(error.to_string()),
            },
        }
    }
}
