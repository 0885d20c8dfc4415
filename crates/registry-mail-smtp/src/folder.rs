//! Delivers mails into a folder, each as an `.eml` file that is named by the mail's id.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use async_trait::async_trait;
use chrono::TimeDelta;
use registry_core::clock::Timestamp;
use registry_core::mail::{MailError, Mailer, OutgoingMail};
use tempfile::NamedTempFile;

use crate::render::Renderer;

/// Time limit of a write: more than any disk needs for a small file.
const TIMEOUT: TimeDelta = TimeDelta::seconds(30);

/// Writes mails into a folder.
pub struct FolderMailer {
    folder: PathBuf,
    renderer: Renderer,
}

impl FolderMailer {
    /// Opens the folder, and creates it if it does not exist.
    pub fn open(folder: impl Into<PathBuf>, renderer: Renderer) -> io::Result<Self> {
        let folder = folder.into();
        std::fs::create_dir_all(&folder)?;
        Ok(Self { folder, renderer })
    }
}

/// Writes the whole file or nothing. The mail counts as delivered once the file is flushed to the
/// disk. The partial file of a killed delivery is overwritten by the next attempt.
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

/// Writes and removes a file of a mail's size. An empty file would not detect a full disk.
fn probe(folder: &Path) -> io::Result<()> {
    let mut file = NamedTempFile::new_in(folder)?;
    file.write_all(&[0; 4096])?;
    file.as_file().sync_all()?;
    file.close()
}

/// Deletes the mails, and the partial files of killed deliveries, that were written before this time.
fn delete_older(folder: &Path, before: SystemTime) -> io::Result<u64> {
    let mut deleted = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let is_ours = name.ends_with(".eml") || name.ends_with(".eml.partial");
        if is_ours && entry.metadata()?.modified()? < before {
            std::fs::remove_file(entry.path())?;
            deleted += 1;
        }
    }
    Ok(deleted)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, MailError> {
    let work = tokio::task::spawn_blocking(work);
    let result = tokio::time::timeout(TIMEOUT.to_std().unwrap_or_default(), work).await;
    let result = result.map_err(|_| {
        let seconds = TIMEOUT.num_seconds();
        MailError::Unavailable(format!(
            "the mailbox folder's disk did not respond within {seconds} seconds"
        ))
    })?;
    let result = result.map_err(|error| MailError::Unavailable(error.to_string()))?;
    result.map_err(|error| {
        MailError::Unavailable(format!("the mailbox folder cannot be written: {error}"))
    })
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
        blocking(move || probe(&folder)).await
    }

    async fn delete_delivered(&self, before: Timestamp) -> Result<u64, MailError> {
        let folder = self.folder.clone();
        blocking(move || delete_older(&folder, before.into())).await
    }

    fn send_timeout(&self) -> TimeDelta {
        TIMEOUT
    }
}
