//! Delivers into a folder: one `.eml` file a mail, named by the mail's id.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use chrono::TimeDelta;
use registry_core::mail::{MailError, Mailer, OutgoingMail};
use tempfile::NamedTempFile;

use crate::render::Renderer;

/// Longer than any disk should take to write a small file.
const PATIENCE: TimeDelta = TimeDelta::seconds(30);

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

/// Writes the whole file or none, and flushes it to the disk: only then is the mail delivered. What
/// a killed delivery left behind is written over by the next one of the same mail.
fn deliver(folder: &Path, name: &str, raw: &[u8]) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let partial = folder.join(format!(".{name}.partial"));
    let mut file =
        File::options().write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
    file.write_all(raw)?;
    file.sync_all()?;
    std::fs::rename(&partial, folder.join(name))?;
    File::open(folder)?.sync_all()
}

/// Whether a mail of some size could be written now. An empty file would be taken by a full disk.
fn try_out(folder: &Path) -> io::Result<()> {
    let mut file = NamedTempFile::new_in(folder)?;
    file.write_all(&[0; 4096])?;
    file.as_file().sync_all()?;
    file.close()
}

async fn blocking(work: impl FnOnce() -> io::Result<()> + Send + 'static) -> Result<(), MailError> {
    let work = tokio::task::spawn_blocking(work);
    let ended = tokio::time::timeout(PATIENCE.to_std().unwrap_or_default(), work).await;
    let ended = ended.map_err(|_| {
        MailError::Unavailable("the mailbox folder's disk does not answer".to_owned())
    })?;
    let ended = ended.map_err(|error| MailError::Unavailable(error.to_string()))?;
    ended.map_err(|error| MailError::Unavailable(format!("the mailbox folder: {error}")))
}

#[async_trait]
impl Mailer for FolderMailer {
    async fn send(&self, mail: &OutgoingMail) -> Result<(), MailError> {
        let raw = self.renderer.render(mail)?.formatted();
        let (folder, name) = (self.folder.clone(), format!("{}.eml", mail.id));
        blocking(move || deliver(&folder, &name, &raw)).await
    }

    async fn probe(&self) -> Result<(), MailError> {
        let folder = self.folder.clone();
        blocking(move || try_out(&folder)).await
    }

    fn patience(&self) -> TimeDelta {
        PATIENCE
    }
}
