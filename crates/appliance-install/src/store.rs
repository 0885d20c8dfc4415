//! The state file: written whole or not at all, for its owner only.

use std::fs::{DirBuilder, File, Permissions, TryLockError};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tempfile::NamedTempFile;

/// Why the state cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The folder or the file cannot be used.
    #[error("{path} cannot be used: {error}. Check its owner, and that the disk is not full.", path = .0.display(), error = .1)]
    Unusable(PathBuf, std::io::Error),
    /// Another program installs.
    #[error("another appliance-setup works in {path}: wait for it, or end it", path = .0.display())]
    Busy(PathBuf),
    /// Others may read it.
    #[error("{path} is open to others (mode {mode:o}): chmod it to 600", path = .0.display(), mode = .1)]
    Open(PathBuf, u32),
    /// It holds something else.
    #[error("{path} is damaged: {error}. Start over with a re-issued code, after `reset`.", path = .0.display(), error = .1)]
    Damaged(PathBuf, String),
}

/// What the names of manifests begin with, while they are applied.
const MANIFEST: &str = ".manifest-";
/// What the names of files begin with, until they are whole.
const NEW: &str = ".new-";

/// A manifest under a name of its own, mode 0600 from the first byte on. It is gone when it is
/// dropped.
pub(crate) fn manifest_file(folder: &Path, content: &[u8]) -> std::io::Result<NamedTempFile> {
    private_file(folder, MANIFEST, content)
}

fn private_file(folder: &Path, prefix: &str, content: &[u8]) -> std::io::Result<NamedTempFile> {
    let mut file = loop {
        let file = tempfile::Builder::new().prefix(prefix).tempfile_in(folder).map_err(plain)?;
        // Locked, it is in use; a sweep of another program may have been faster.
        file.as_file().lock()?;
        if file.path().exists() {
            break file;
        }
    };
    file.as_file_mut().write_all(content)?;
    file.as_file().sync_all()?;
    Ok(file)
}

/// Without the name of the temporary file, which nobody knows.
fn plain(error: std::io::Error) -> std::io::Error {
    if error.raw_os_error().is_some() { error } else { error.kind().into() }
}

/// Writes a file whole or not at all, for its owner only; when this returns, it lasts.
pub(crate) fn write_whole(folder: &Path, path: &Path, content: &[u8]) -> std::io::Result<()> {
    private_file(folder, NEW, content)?.persist(path).map_err(|error| error.error)?;
    File::open(folder)?.sync_all()
}

/// Keeps a value in the state folder, for its owner only.
pub fn keep<T: Serialize>(folder: &Path, file: &str, value: &T) -> Result<(), StoreError> {
    Folder::open(folder)?.write(file, value)
}

/// What is kept in the state folder under this name.
pub fn kept<T: DeserializeOwned>(folder: &Path, file: &str) -> Result<Option<T>, StoreError> {
    Folder::open(folder)?.read(file)
}

/// A folder with the state.
pub(crate) struct Folder(PathBuf);

/// The lock of a file. While a program has it, no other program reads or changes the file.
pub struct Lock(#[expect(dead_code, reason = "it is unlocked when it is dropped")] File);

impl Folder {
    /// Opens the folder, and makes it where there is none, for its owner only. An empty one that
    /// was there becomes so too.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let unusable = |error| StoreError::Unusable(path.to_owned(), error);
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(unusable)?;
        let is_empty = std::fs::read_dir(path).map_err(unusable)?.next().is_none();
        if is_empty && std::fs::metadata(path).map_err(unusable)?.permissions().mode() & 0o077 != 0
        {
            std::fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(unusable)?;
        }
        Ok(Self(path.to_owned()))
    }

    /// What was written last; `None` where nothing was.
    pub(crate) fn read<T: DeserializeOwned>(&self, file: &str) -> Result<Option<T>, StoreError> {
        let path = self.0.join(file);
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
    pub(crate) fn write<T: Serialize>(&self, file: &str, state: &T) -> Result<(), StoreError> {
        let path = self.0.join(file);
        let text = serde_json::to_string_pretty(state).map_err(std::io::Error::other);
        let written = text.and_then(|text| write_whole(&self.0, &path, text.as_bytes()));
        written.map_err(|error| StoreError::Unusable(path, error))
    }

    /// Waits until no other program has this file locked, and locks it.
    pub(crate) fn lock(&self, file: &str) -> Result<Lock, StoreError> {
        let (file, path) = self.lock_file(file)?;
        file.lock().map_err(|error| StoreError::Unusable(path, error))?;
        Ok(Lock(file))
    }

    /// The same, without holding up what else goes on.
    pub(crate) async fn lock_soon(&self, file: &str) -> Result<Lock, StoreError> {
        loop {
            match self.lock_now(file) {
                Err(StoreError::Busy(_)) => tokio::time::sleep(Duration::from_millis(100)).await,
                locked => return locked,
            }
        }
    }

    /// Locks this file, unless another program has.
    pub(crate) fn lock_now(&self, file: &str) -> Result<Lock, StoreError> {
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

    /// Forgets a file.
    pub(crate) fn clear(&self, file: &str) -> Result<(), StoreError> {
        let path = self.0.join(file);
        let removed = match std::fs::remove_file(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            removed => removed.and_then(|()| File::open(&self.0)?.sync_all()),
        };
        removed.map_err(|error| StoreError::Unusable(path, error))
    }

    /// Removes what a program that was killed left here.
    pub(crate) fn sweep(&self) -> Result<(), StoreError> {
        sweep(&self.0).map_err(|error| StoreError::Unusable(self.0.clone(), error))
    }
}

/// Removes the files that a program that was killed was writing or applying: they hold secrets.
/// Those in use are locked.
pub(crate) fn sweep(folder: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let (name, is_file) = (entry.file_name(), entry.file_type()?.is_file());
        if is_file
            && [MANIFEST, NEW].iter().any(|prefix| name.to_string_lossy().starts_with(prefix))
        {
            match remove_unused(&entry.path()) {
                // It has become whole, or is gone, meanwhile.
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
    fn what_a_killed_program_left_is_swept_and_what_another_one_uses_stays() {
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
        write_whole(folder.path(), &path("install.json"), b"new").unwrap();
        assert_eq!(std::fs::read_to_string(path("install.json")).unwrap(), "new");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 4, "nothing else is left");
    }

    #[test]
    fn a_file_that_a_sweep_took_while_it_was_made_is_made_again() {
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
                write_whole(folder.path(), &path, number.to_string().as_bytes()).unwrap();
                assert_eq!(std::fs::read_to_string(path).unwrap(), number.to_string());
            }
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
        });
    }
}
