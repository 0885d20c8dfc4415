//! The state folder. Files are written atomically and only their owner can read them.

use std::fs::{File, Permissions, TryLockError};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use private_files::is_exposed;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tempfile::NamedTempFile;

/// Error of the state folder.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The folder or the file cannot be used.
    #[error(
        "{path} cannot be used: {error}. Check its owner, and that the disk is not full.",
        path = .0.display(),
        error = .1
    )]
    Unusable(PathBuf, std::io::Error),
    /// Another process holds the lock.
    #[error(
        "Another appliance-setup process is using {path}. Wait until it ends, or stop it.",
        path = .0.display()
    )]
    Busy(PathBuf),
    /// Other users can read the file.
    #[error(
        "Other users can read {path} (mode {mode:o}). Change it with `chmod 600 {path}`.",
        path = .0.display(),
        mode = .1
    )]
    Exposed(PathBuf, u32),
    /// The content of the file cannot be read.
    #[error(
        "{path} is damaged: {error}. Run `appliance-setup reset --yes` and install again with a \
         re-issued code.",
        path = .0.display(),
        error = .1
    )]
    Damaged(PathBuf, String),
}

/// Prefix of manifests while they are applied.
const MANIFEST: &str = ".manifest-";
/// Prefix of files until they are complete.
const NEW: &str = ".new-";

/// Creates a temporary file for a manifest, with mode 0600 from the first byte. The file is removed
/// when the value is dropped.
pub(crate) fn manifest_file(folder: &Path, content: &[u8]) -> std::io::Result<NamedTempFile> {
    private_file(folder, MANIFEST, content)
}

fn private_file(folder: &Path, prefix: &str, content: &[u8]) -> std::io::Result<NamedTempFile> {
    let mut file = loop {
        let file = tempfile::Builder::new()
            .prefix(prefix)
            .tempfile_in(folder)
            .map_err(without_temporary_name)?;
        // The lock marks the file as used. The sweep of another process may remove the file before
        // it is locked.
        file.as_file().lock()?;
        if file.path().exists() {
            break file;
        }
    };
    file.as_file_mut().write_all(content)?;
    file.as_file().sync_all()?;
    Ok(file)
}

/// Drops the random file name, which says nothing to the installer.
fn without_temporary_name(error: std::io::Error) -> std::io::Error {
    if error.raw_os_error().is_some() { error } else { error.kind().into() }
}

/// Writes a file atomically, readable by its owner only. The file is durable when this returns.
pub(crate) fn write_atomically(folder: &Path, path: &Path, content: &[u8]) -> std::io::Result<()> {
    private_file(folder, NEW, content)?.persist(path).map_err(|error| error.error)?;
    File::open(folder)?.sync_all()
}

/// Writes a value to a file in the state folder.
pub fn save_state<T: Serialize>(folder: &Path, file: &str, value: &T) -> Result<(), StoreError> {
    Folder::open(folder)?.write(file, value)
}

/// Reads a value from a file in the state folder; `None` if the file does not exist.
pub fn load_state<T: DeserializeOwned>(folder: &Path, file: &str) -> Result<Option<T>, StoreError> {
    Folder::open(folder)?.read(file)
}

/// The state folder.
pub(crate) struct Folder(PathBuf);

/// Lock of a file. While one process holds it, no other process changes the file.
pub struct Lock(#[expect(dead_code, reason = "dropping the file releases the lock")] File);

impl Folder {
    /// Opens the folder. A missing folder is created for its owner only; an existing empty one gets
    /// the same mode.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let unusable = |error| StoreError::Unusable(path.to_owned(), error);
        private_files::create_folder(path).map_err(unusable)?;
        let is_empty = std::fs::read_dir(path).map_err(unusable)?.next().is_none();
        if is_empty && is_exposed(&std::fs::metadata(path).map_err(unusable)?) {
            std::fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(unusable)?;
        }
        Ok(Self(path.to_owned()))
    }

    /// Reads a file; `None` if it does not exist.
    pub(crate) fn read<T: DeserializeOwned>(&self, file: &str) -> Result<Option<T>, StoreError> {
        let path = self.0.join(file);
        let unusable = |error| StoreError::Unusable(path.clone(), error);
        let file = match File::open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            file => file.map_err(unusable)?,
        };
        let metadata = file.metadata().map_err(unusable)?;
        if is_exposed(&metadata) {
            return Err(StoreError::Exposed(path, metadata.permissions().mode() & 0o777));
        }
        let value = serde_json::from_reader(std::io::BufReader::new(file));
        value.map(Some).map_err(|error| StoreError::Damaged(path, error.to_string()))
    }

    /// Writes a file atomically. The file is durable when this returns.
    pub(crate) fn write<T: Serialize>(&self, file: &str, value: &T) -> Result<(), StoreError> {
        let path = self.0.join(file);
        let text = serde_json::to_string_pretty(value).map_err(std::io::Error::other);
        let written = text.and_then(|text| write_atomically(&self.0, &path, text.as_bytes()));
        written.map_err(|error| StoreError::Unusable(path, error))
    }

    /// Locks a file, and blocks the thread until no other process holds the lock.
    pub(crate) fn lock(&self, file: &str) -> Result<Lock, StoreError> {
        let (file, path) = self.lock_file(file)?;
        file.lock().map_err(|error| StoreError::Unusable(path, error))?;
        Ok(Lock(file))
    }

    /// Locks a file, and waits asynchronously until no other process holds the lock.
    pub(crate) async fn lock_async(&self, file: &str) -> Result<Lock, StoreError> {
        loop {
            match self.try_lock(file) {
                Err(StoreError::Busy(_)) => tokio::time::sleep(Duration::from_millis(100)).await,
                result => return result,
            }
        }
    }

    /// Locks a file, or fails with [`StoreError::Busy`] if another process holds the lock.
    pub(crate) fn try_lock(&self, file: &str) -> Result<Lock, StoreError> {
        let (file, path) = self.lock_file(file)?;
        match file.try_lock() {
            Ok(()) => Ok(Lock(file)),
            Err(TryLockError::WouldBlock) => Err(StoreError::Busy(self.0.clone())),
            Err(TryLockError::Error(error)) => Err(StoreError::Unusable(path, error)),
        }
    }

    fn lock_file(&self, file: &str) -> Result<(File, PathBuf), StoreError> {
        let path = self.0.join(file).with_extension("lock");
        let opened = File::options().create(true).append(true).mode(0o600).open(&path);
        opened
            .map(|opened| (opened, path.clone()))
            .map_err(|error| StoreError::Unusable(path, error))
    }

    /// Removes a file if it exists.
    pub(crate) fn remove(&self, file: &str) -> Result<(), StoreError> {
        let path = self.0.join(file);
        let removed = match std::fs::remove_file(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            removed => removed.and_then(|()| File::open(&self.0)?.sync_all()),
        };
        removed.map_err(|error| StoreError::Unusable(path, error))
    }

    /// Removes the temporary files of processes that were killed.
    pub(crate) fn sweep(&self) -> Result<(), StoreError> {
        sweep(&self.0).map_err(|error| StoreError::Unusable(self.0.clone(), error))
    }
}

/// Removes the temporary files of processes that were killed: they hold secrets. Files in use are
/// locked and stay.
pub(crate) fn sweep(folder: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let (name, is_file) = (entry.file_name(), entry.file_type()?.is_file());
        if is_file
            && [MANIFEST, NEW].iter().any(|prefix| name.to_string_lossy().starts_with(prefix))
        {
            match remove_unused(&entry.path()) {
                // Its process has renamed or removed the file in the meantime.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                removed => removed?,
            }
        }
    }
    Ok(())
}

fn remove_unused(path: &Path) -> std::io::Result<()> {
    let file = File::open(path)?;
    match file.try_lock() {
        Ok(()) => std::fs::remove_file(path),
        Err(TryLockError::WouldBlock) => Ok(()),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sweep_removes_only_unused_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in [".manifest-abc", ".new-abc", "install.json", ".newer"] {
            std::fs::write(path(name), "secret").unwrap();
        }
        std::fs::create_dir(path(".new-folder")).unwrap();
        let used = manifest_file(folder.path(), b"{}").unwrap();
        for _ in 0..2 {
            sweep(folder.path()).unwrap();
        }
        let mut left: Vec<_> =
            std::fs::read_dir(folder.path()).unwrap().map(|it| it.unwrap().file_name()).collect();
        left.sort();
        let mut expected = [".new-folder", ".newer", "install.json"].map(Into::into).to_vec();
        expected.insert(0, used.path().file_name().unwrap().to_owned());
        assert_eq!(left, expected);
        write_atomically(folder.path(), &path("install.json"), b"new").unwrap();
        assert_eq!(std::fs::read_to_string(path("install.json")).unwrap(), "new");
        let files = std::fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(files, 4, "writing leaves no temporary file");
    }

    #[test]
    fn write_survives_a_concurrent_sweep() {
        let folder = tempfile::tempdir().unwrap();
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    sweep(folder.path()).unwrap();
                }
            });
            for number in 0..500 {
                let path = folder.path().join("state.json");
                write_atomically(folder.path(), &path, number.to_string().as_bytes()).unwrap();
                assert_eq!(std::fs::read_to_string(path).unwrap(), number.to_string());
            }
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
        });
    }
}
