//! The state file: written whole or not at all, for its owner only.

use std::fs::{DirBuilder, File};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tempfile::NamedTempFile;

/// Why the state cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The folder or the file cannot be used.
    #[error("{path} cannot be used: {error}. Check its owner, and that the disk is not full.", path = .0.display(), error = .1)]
    Unusable(PathBuf, std::io::Error),
    /// Others may read it.
    #[error("{path} is open to others (mode {mode:o}): chmod it to 600", path = .0.display(), mode = .1)]
    Open(PathBuf, u32),
    /// It holds something else.
    #[error("{path} is damaged: {error}. Start over with a re-issued code, after `reset`.", path = .0.display(), error = .1)]
    Damaged(PathBuf, String),
}

/// A file under a name of its own, mode 0600 from the first byte on. It is gone when it is dropped.
pub(crate) fn private_file(folder: &Path, content: &[u8]) -> std::io::Result<NamedTempFile> {
    let mut file = NamedTempFile::new_in(folder)?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    Ok(file)
}

/// Writes a file whole or not at all, for its owner only; when this returns, it lasts.
pub(crate) fn write_whole(folder: &Path, path: &Path, content: &[u8]) -> std::io::Result<()> {
    private_file(folder, content)?.persist(path).map_err(|error| error.error)?;
    File::open(folder)?.sync_all()
}

/// A folder with the state.
pub(crate) struct Folder(PathBuf);

const FILE: &str = "install.json";

impl Folder {
    /// Opens the folder, and makes it where there is none, for its owner only.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.map_err(|error| StoreError::Unusable(path.to_owned(), error))?;
        Ok(Self(path.to_owned()))
    }

    /// What was written last; `None` where nothing was.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<Option<T>, StoreError> {
        let path = self.0.join(FILE);
        let unusable = |error| StoreError::Unusable(path.clone(), error);
        let file = match File::open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            file => file.map_err(unusable)?,
        };
        let mode = file.metadata().map_err(unusable)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(StoreError::Open(path, mode));
        }
        let read = serde_json::from_reader(std::io::BufReader::new(file));
        read.map(Some).map_err(|error| StoreError::Damaged(path, error.to_string()))
    }

    /// Writes it down: when this returns, it lasts.
    pub(crate) fn write<T: Serialize>(&self, state: &T) -> Result<(), StoreError> {
        let path = self.0.join(FILE);
        let text = serde_json::to_string_pretty(state).map_err(std::io::Error::other);
        let written = text.and_then(|text| write_whole(&self.0, &path, text.as_bytes()));
        written.map_err(|error| StoreError::Unusable(path, error))
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) -> Result<(), StoreError> {
        let path = self.0.join(FILE);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(StoreError::Unusable(path, error)),
            _ => Ok(()),
        }
    }
}
