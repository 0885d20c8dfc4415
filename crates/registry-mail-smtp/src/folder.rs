//! Delivers into a folder: one `.eml` file a mail, named by the mail's id.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use registry_core::mail::{MailError, Mailer, OutgoingMail};
use tempfile::NamedTempFile;

use crate::render::Renderer;

/// Writes mails into a folder.
pub struct FolderMailer {
    folder: PathBuf,
    renderer: Renderer,
}

impl FolderMailer {
    /// Opens the folder, and makes it where there is none.
    pub fn open(folder: impl Into<PathBuf>, renderer: Renderer) -> io::Result<Self> {
        let folder = folder.into();
        std::fs::create_dir_all(&folder)?;
        Ok(Self { folder, renderer })
    }
}

/// Writes the whole file or none, and flushes it to the disk: only then is the mail delivered.
fn deliver(folder: &Path, name: &str, raw: &[u8]) -> io::Result<()> {
    let mut file = NamedTempFile::new_in(folder)?;
    file.write_all(raw)?;
    file.as_file().sync_all()?;
    file.persist(folder.join(name)).map_err(|error| error.error)?;
    File::open(folder)?.sync_all()
}

async fn blocking(work: impl FnOnce() -> io::Result<()> + Send + 'static) -> Result<(), MailError> {
    let ended = tokio::task::spawn_blocking(work).await.map_err(|error| MailError::Transient(error.to_string()))?;
    ended.map_err(|error| MailError::Transient(format!("the mailbox folder: {error}")))
}

#[async_trait]
impl Mailer for FolderMailer {
    async fn send(&self, mail: &OutgoingMail) -> Result<(), MailError> {
        let raw = self.renderer.render(mail)?;
        let (folder, name) = (self.folder.clone(), format!("{}.eml", mail.id));
        blocking(move || deliver(&folder, &name, &raw)).await
    }

    async fn probe(&self) -> Result<(), MailError> {
        let folder = self.folder.clone();
        blocking(move || NamedTempFile::new_in(folder)?.close()).await
    }
}
