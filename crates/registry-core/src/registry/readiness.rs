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
    /// It does not; what an operator should know.
    Down(String),
}

impl Registry {
    /// How every part is. Mail, files and a missing release are reported and fail no request: mail waits in the
    /// outbox, and codes are minted without a link.
    pub async fn readiness(&self) -> Vec<Part> {
        let state = |problem: Option<String>| problem.map_or(PartState::Ok, PartState::Down);
        let store = self.ports.store.probe().await.err().map(|error| error.to_string());
        let keys = self.ports.signer.public_keys().is_empty().then(|| "there is no license key".to_owned());
        let blobs = self.ports.blobs.probe().await.err().map(|error| error.to_string());
        let mail = self.ports.mailer.probe().await.err().map(|error| error.to_string());
        let release = self.release_problem().await;
        vec![
            Part { name: "database", required: true, state: state(store) },
            Part { name: "key_ring", required: true, state: state(keys) },
            Part { name: "blob_store", required: false, state: state(blobs) },
            Part { name: "mail", required: false, state: state(mail) },
            Part { name: "release", required: false, state: state(release) },
        ]
    }

    async fn release_problem(&self) -> Option<String> {
        let channel = &self.settings.channel;
        match self.ports.store.release_current(channel.clone()).await {
            Err(error) => Some(error.to_string()),
            Ok(None) => Some(format!("no release is published in channel `{channel}`: codes go out without a link")),
            Ok(Some(release)) => match self.ports.blobs.size(&release.key).await {
                Ok(size) if size == release.size => None,
                Ok(size) => Some(format!("the file of {} has {size} bytes, not {}", release.version, release.size)),
                Err(error @ (BlobError::NotFound(_) | BlobError::Unavailable(_))) => Some(error.to_string()),
            },
        }
    }
}
