//! The data folder: its layout, and the secrets that are created at the first start.
//!
//! A secret's file is written under a temporary name, flushed, and then linked under its own name,
//! which fails if that exists. So two processes that start at once use the same secret, and a
//! process that is killed leaves no half-written secret.

use std::fs::{File, Permissions, TryLockError};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use private_files::{create_folder, is_exposed};
use registry_core::entropy::{self, Entropy};
use registry_core::secret::ServiceToken;
use tempfile::NamedTempFile;
use zeroize::Zeroizing;

use crate::config::{Algorithm, Config, SecretText};
use crate::file_system;

/// The disk of a data folder.
#[derive(Clone, Copy, Debug)]
pub struct Disk {
    /// Free space, in bytes.
    pub free: u64,
}

/// A registry's data folder.
#[derive(Clone, Debug)]
pub struct DataFolder(PathBuf);

impl DataFolder {
    /// Opens the folder. Creates it with mode 0700 if it does not exist.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        create_folder(path)
            .with_context(|| format!("the data folder {} cannot be created", path.display()))?;
        let path = path
            .canonicalize()
            .with_context(|| format!("the data folder {} cannot be read", path.display()))?;
        let folder = Self(path);
        ensure_folder(folder.keys())?;
        Ok(folder)
    }

    /// Opens a folder that contains a registry. Creates nothing.
    pub fn existing(path: &Path) -> anyhow::Result<Self> {
        let folder = Self(path.to_owned());
        if !folder.database().exists() {
            bail!("there is no registry in {}: set its data folder with --data", path.display());
        }
        Ok(folder)
    }

    /// Path of the folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Path of the SQLite database.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.0.join("registry.db")
    }

    /// Path of the folder with the keys.
    #[must_use]
    pub fn keys(&self) -> PathBuf {
        self.0.join("keys")
    }

    /// Path of the folder with the images.
    #[must_use]
    pub fn files(&self) -> PathBuf {
        self.0.join("files")
    }

    /// Path of the folder that mails are delivered into without a mail server.
    #[must_use]
    pub fn mailbox(&self) -> PathBuf {
        self.0.join("mailbox")
    }

    /// Locks the folder for a change of the keys or the tokens. Waits for other processes that have
    /// the lock. The lock ends when the returned file is dropped.
    pub(crate) fn lock(&self) -> anyhow::Result<File> {
        let path = self.0.display();
        let folder = File::open(&self.0).with_context(|| format!("{path} cannot be read"))?;
        folder.lock().with_context(|| format!("{path} cannot be locked"))?;
        Ok(folder)
    }

    /// Examines the disk of a data folder. Fails if SQLite cannot use it.
    pub fn disk(path: &Path, is_postgres: bool) -> anyhow::Result<Disk> {
        let folder = path.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
        if !is_postgres {
            file_system::check(folder)?;
        }
        let space = rustix::fs::statvfs(folder);
        let space = space.with_context(|| format!("{} cannot be read", folder.display()))?;
        Ok(Disk { free: space.f_bavail.saturating_mul(space.f_frsize) })
    }

    /// Marks the folder as used by this process, until the returned file is dropped. Returns `None`
    /// if another process has done so.
    pub fn claim(&self) -> anyhow::Result<Option<File>> {
        let path = self.0.join("registryd.lock");
        let opened =
            File::options().write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = opened.with_context(|| format!("{} cannot be opened", path.display()))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("{} cannot be locked", path.display()))
            }
        }
    }

    /// Path of the file with the first service token.
    #[must_use]
    pub fn service_token(&self) -> PathBuf {
        self.0.join("service-token")
    }

    /// Stores the registry's public URL, because the admin command line makes the same links.
    pub fn store_public_url(&self, url: &str) -> anyhow::Result<()> {
        let path = self.0.join("public-url");
        let write = || {
            let mut file = NamedTempFile::new_in(&self.0)?;
            writeln!(file, "{url}")?;
            file.as_file().sync_all()?;
            file.persist(&path).map_err(|error| error.error)
        };
        write().map(drop).with_context(|| format!("{} cannot be written", path.display()))
    }

    /// Returns `public_url`, or else the one with which the registry last started, or else the
    /// address on which it listens.
    #[must_use]
    pub fn public_url(config: &Config) -> String {
        let stored = || std::fs::read_to_string(config.data.join("public-url")).ok();
        let stored = || stored().map(|url| url.trim().to_owned()).filter(|url| !url.is_empty());
        let url = config.public_url.clone().or_else(stored);
        url.unwrap_or_else(|| format!("http://{}", config.listen))
    }

    /// Returns the master key. Creates it in a new folder.
    pub(crate) fn master_key(&self, entropy: &dyn Entropy) -> anyhow::Result<Zeroizing<String>> {
        let create = || registry_vault::KeyRing::render(&Zeroizing::new(entropy::bytes(entropy)));
        self.key("master.key", "every live code is lost", create)
    }

    /// Returns a key that is created with the folder. A key that is missing later is an error,
    /// which names the `loss`: the key is not silently replaced.
    fn key(
        &self,
        name: &str,
        loss: &str,
        create: impl FnOnce() -> Zeroizing<String>,
    ) -> anyhow::Result<Zeroizing<String>> {
        let path = self.keys().join(name);
        // Keys are created before the database, so the database is checked first. In the other
        // order, a second process that creates both in between would look like a lost key.
        let has_database = self.database().exists();
        if has_database && !path.exists() {
            let (path, database) = (path.display(), self.database());
            bail!(
                "{path} is missing, but {} was created with it: restore {path} from a backup; \
                 without it, {loss}",
                database.display()
            );
        }
        read_or_create(&path, create)
    }

    /// Returns the path of the SQLite database, with mode 0600. Creates the file if it does not
    /// exist. The files that SQLite creates beside it inherit the mode.
    pub(crate) fn private_database(&self) -> anyhow::Result<PathBuf> {
        let path = self.database();
        let opened =
            File::options().write(true).create(true).truncate(false).mode(0o600).open(&path);
        let opened = opened.with_context(|| format!("{} cannot be opened", path.display()))?;
        if opened.metadata().is_ok_and(|metadata| is_exposed(&metadata)) {
            let private = opened.set_permissions(Permissions::from_mode(0o600));
            private.with_context(|| format!("{} cannot be made private", path.display()))?;
        }
        Ok(path)
    }

    /// Returns the first license key. Creates it in a new folder, with this algorithm.
    pub(crate) fn license_key(
        &self,
        entropy: &dyn Entropy,
        algorithm: Algorithm,
    ) -> anyhow::Result<Zeroizing<String>> {
        let loss = "licenses in the field can no longer be verified";
        self.key("license.pem", loss, || new_license_key(entropy, algorithm))
    }

    /// Returns the key that signs release manifests. Creates it if it is missing, since a folder of
    /// an earlier version has no such key.
    pub(crate) fn manifest_key(&self, entropy: &dyn Entropy) -> anyhow::Result<Zeroizing<String>> {
        read_or_create(&self.keys().join("release.pem"), || {
            registry_license::ed25519_pem(&entropy::bytes(entropy))
        })
    }

    /// Returns the first service token. Creates it if it is missing.
    pub(crate) fn default_service_token(
        &self,
        entropy: &dyn Entropy,
    ) -> anyhow::Result<Zeroizing<String>> {
        let create = || Zeroizing::new(format!("{}\n", ServiceToken::draw(entropy).expose()));
        read_or_create(&self.service_token(), create)
    }
}

/// Creates a part of the data folder if it does not exist. Each part is created only where it is
/// used, so a token can be revoked even if the mailbox cannot be created.
pub(crate) fn ensure_folder(path: PathBuf) -> anyhow::Result<PathBuf> {
    create_folder(&path).with_context(|| format!("{} cannot be created", path.display()))?;
    Ok(path)
}

/// Returns a new private key as PEM.
pub(crate) fn new_license_key(entropy: &dyn Entropy, algorithm: Algorithm) -> Zeroizing<String> {
    match algorithm {
        Algorithm::EdDsa => registry_license::ed25519_pem(&entropy::bytes(entropy)),
        // One value in 2^32 is not a valid key: then the next value is used.
        Algorithm::Es256 => {
            std::iter::repeat_with(|| registry_license::p256_pem(&entropy::bytes(entropy)))
                .find_map(std::convert::identity)
                .unwrap_or_default()
        }
    }
}

/// Returns a secret of the configuration, from its value or its file. `key` is the name of the
/// setting.
pub(crate) fn configured_secret(
    key: &str,
    text: Option<&SecretText>,
    file: Option<&Path>,
) -> anyhow::Result<Option<Zeroizing<String>>> {
    match (text, file) {
        (Some(text), _) => Ok(Some(text.expose().clone())),
        (None, Some(path)) => {
            let text = read_secret(path).with_context(|| format!("`{key}_file` cannot be used"))?;
            Ok(Some(Zeroizing::new(text.trim().to_owned())))
        }
        (None, None) => Ok(None),
    }
}

/// Reads a file that is not secret. `key` is the setting that names the file.
pub(crate) fn read_public(key: &str, path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("`{key}`: {} cannot be read", path.display()))
}

/// Reads the file of a secret. Refuses a file to which others have access.
pub(crate) fn read_secret(path: &Path) -> anyhow::Result<Zeroizing<String>> {
    let file_name = path.display();
    let mut file = File::open(path).with_context(|| format!("{file_name} cannot be read"))?;
    let metadata = file.metadata().with_context(|| format!("{file_name} cannot be read"))?;
    let mode = metadata.permissions().mode() & 0o777;
    if is_exposed(&metadata) {
        bail!(
            "{file_name} contains a secret and others have access to it (mode {mode:o}): \
             run `chmod 600 {file_name}`"
        );
    }
    let mut text = Zeroizing::new(String::new());
    file.read_to_string(&mut text).with_context(|| format!("{file_name} cannot be read"))?;
    if text.trim().is_empty() {
        bail!("{file_name} is empty: it must contain a secret");
    }
    Ok(text)
}

fn read_or_create(
    path: &Path,
    create: impl FnOnce() -> Zeroizing<String>,
) -> anyhow::Result<Zeroizing<String>> {
    if !path.exists() {
        write_new(path, &create())
            .with_context(|| format!("{} cannot be written", path.display()))?;
    }
    read_secret(path)
}

/// Writes a file with mode 0600. An existing file is left unchanged, which is not an error.
pub(crate) fn write_new(path: &Path, text: &str) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = NamedTempFile::new_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    match file.persist_noclobber(path) {
        Err(error) if error.error.kind() != ErrorKind::AlreadyExists => Err(error.error),
        _ => File::open(folder)?.sync_all(),
    }
}

/// Replaces a file atomically, with mode 0600.
pub(crate) fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = NamedTempFile::new_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::OsEntropy;

    fn folder() -> (DataFolder, tempfile::TempDir) {
        let root = tempfile::tempdir().unwrap();
        (DataFolder::open(&root.path().join("data")).unwrap(), root)
    }

    #[test]
    fn secret_is_created_once_and_private() {
        let (folder, _root) = folder();
        let token = folder.default_service_token(&OsEntropy).unwrap();
        assert_eq!(token.trim().len(), 64);
        assert_eq!(folder.default_service_token(&OsEntropy).unwrap(), token);
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&folder.service_token()), 0o600);
        assert_eq!(mode(folder.path()), 0o700);
        assert_eq!(mode(&folder.keys()), 0o700);
    }

    #[test]
    fn secret_readable_by_others_is_refused() {
        let (folder, _root) = folder();
        folder.default_service_token(&OsEntropy).unwrap();
        let set = |mode, group| {
            let path = folder.service_token();
            std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            std::os::unix::fs::chown(&path, None, Some(group)).unwrap();
        };
        let own = rustix::process::getegid().as_raw();
        set(0o440, own);
        folder.default_service_token(&OsEntropy).unwrap();
        set(0o604, own);
        let refused = folder.default_service_token(&OsEntropy).unwrap_err().to_string();
        assert!(refused.contains("mode 604") && refused.contains("chmod 600"), "{refused}");
        // Only root can give a file to a group of others.
        if rustix::process::geteuid().is_root() {
            set(0o640, 54_321);
            let refused = folder.default_service_token(&OsEntropy).unwrap_err().to_string();
            assert!(refused.contains("mode 640"), "{refused}");
        }
    }

    #[test]
    fn lost_key_is_not_replaced() {
        let (folder, _root) = folder();
        folder.master_key(&OsEntropy).unwrap();
        folder.license_key(&OsEntropy, Algorithm::EdDsa).unwrap();
        std::fs::write(folder.database(), "").unwrap();
        folder.master_key(&OsEntropy).unwrap();
        std::fs::remove_file(folder.keys().join("master.key")).unwrap();
        let refused = folder.master_key(&OsEntropy).unwrap_err().to_string();
        assert!(refused.contains("master.key is missing"), "{refused}");
        std::fs::remove_file(folder.keys().join("license.pem")).unwrap();
        let refused = folder.license_key(&OsEntropy, Algorithm::EdDsa).unwrap_err().to_string();
        assert!(refused.contains("license.pem is missing"), "{refused}");
    }
}
