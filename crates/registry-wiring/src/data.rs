//! The data folder: where everything is, and the secrets that are made on first start.
//!
//! A secret's file is written whole, flushed, and then linked into its place, which fails where one
//! is there already: two processes starting at once end up with the same secret, and one that is
//! killed leaves none half-written.

use std::fs::{DirBuilder, File, Permissions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use registry_core::entropy::{self, Entropy};
use registry_core::secret::ServiceToken;
use tempfile::NamedTempFile;
use zeroize::Zeroizing;

use crate::config::{Algorithm, SecretText};

/// A registry's data folder.
#[derive(Clone, Debug)]
pub struct DataFolder(PathBuf);

impl DataFolder {
    /// Opens the folder, and makes it where there is none, for its owner only.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        make_own(path).with_context(|| format!("the data folder {shown} cannot be made"))?;
        let path = path
            .canonicalize()
            .with_context(|| format!("the data folder {shown} cannot be read"))?;
        let folder = Self(path);
        made(folder.keys())?;
        Ok(folder)
    }

    /// Opens a folder that holds a registry, and makes nothing.
    pub fn existing(path: &Path) -> anyhow::Result<Self> {
        let folder = Self(path.to_owned());
        if !folder.database().exists() {
            bail!("there is no registry in {}: name its data folder with --data", path.display());
        }
        Ok(folder)
    }

    /// The folder itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The database.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.0.join("registry.db")
    }

    /// The keys.
    #[must_use]
    pub fn keys(&self) -> PathBuf {
        self.0.join("keys")
    }

    /// The images.
    #[must_use]
    pub fn files(&self) -> PathBuf {
        self.0.join("files")
    }

    /// The mails.
    #[must_use]
    pub fn mailbox(&self) -> PathBuf {
        self.0.join("mailbox")
    }

    /// Waits until nobody else changes the keys or the tokens; the next one waits until what this
    /// returns is dropped.
    pub(crate) fn turn(&self) -> anyhow::Result<File> {
        let shown = self.0.display();
        let folder = File::open(&self.0).with_context(|| format!("{shown} cannot be read"))?;
        folder.lock().with_context(|| format!("{shown} cannot be locked"))?;
        Ok(folder)
    }

    /// The token of the first service.
    #[must_use]
    pub fn service_token(&self) -> PathBuf {
        self.0.join("service-token")
    }

    /// Notes how the registry is reached, so that the admin command line mints the same links.
    pub fn note_public_url(&self, url: &str) -> anyhow::Result<()> {
        let path = self.0.join("public-url");
        let write = || {
            let mut file = NamedTempFile::new_in(&self.0)?;
            writeln!(file, "{url}")?;
            file.as_file().sync_all()?;
            file.persist(&path).map_err(|error| error.error)
        };
        write().map(drop).with_context(|| format!("{} cannot be written", path.display()))
    }

    /// How the registry was reached when it last started.
    #[must_use]
    pub fn noted_public_url(&self) -> Option<String> {
        let noted = std::fs::read_to_string(self.0.join("public-url")).ok()?;
        Some(noted.trim().to_owned()).filter(|url| !url.is_empty())
    }

    /// The master key.
    pub(crate) fn master_key(&self, entropy: &dyn Entropy) -> anyhow::Result<Zeroizing<String>> {
        let make = || registry_vault::KeyRing::render(&Zeroizing::new(entropy::bytes(entropy)));
        self.key("master.key", "every live code is lost", make)
    }

    /// A key that is made with the folder. One that is missing later is not silently replaced:
    /// `lost` says what would be.
    fn key(
        &self,
        name: &str,
        lost: &str,
        make: impl FnOnce() -> Zeroizing<String>,
    ) -> anyhow::Result<Zeroizing<String>> {
        let path = self.keys().join(name);
        // Keys are made before the database: asked in the other order, a process that starts beside
        // this one and makes both in between would look like a lost key.
        let has_database = self.database().exists();
        if has_database && !path.exists() {
            let (path, database) = (path.display(), self.database());
            bail!(
                "{path} is missing, and {} was made with it: restore it from a backup, or {lost}",
                database.display()
            );
        }
        read_or_make(&path, make)
    }

    /// The database's file, made for the owner only where there is none; what SQLite puts beside it
    /// inherits that.
    pub(crate) fn own_database(&self) -> anyhow::Result<PathBuf> {
        let path = self.database();
        let opened =
            File::options().write(true).create(true).truncate(false).mode(0o600).open(&path);
        let opened = opened.with_context(|| format!("{} cannot be opened", path.display()))?;
        if opened.metadata().is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0) {
            let tightened = opened.set_permissions(Permissions::from_mode(0o600));
            tightened.with_context(|| format!("{} is open to others", path.display()))?;
        }
        Ok(path)
    }

    /// The first license key, of this kind where it has to be made.
    pub(crate) fn license_key(
        &self,
        entropy: &dyn Entropy,
        algorithm: Algorithm,
    ) -> anyhow::Result<Zeroizing<String>> {
        let lost = "no license in the field can be verified any more";
        self.key("license.pem", lost, || new_license_key(entropy, algorithm))
    }

    /// The key that release manifests are signed with. A folder of an earlier version has none yet.
    pub(crate) fn manifest_key(&self, entropy: &dyn Entropy) -> anyhow::Result<Zeroizing<String>> {
        read_or_make(&self.keys().join("release.pem"), || {
            registry_license::ed25519_pem(&entropy::bytes(entropy))
        })
    }

    /// The token of the first service.
    pub(crate) fn default_service_token(
        &self,
        entropy: &dyn Entropy,
    ) -> anyhow::Result<Zeroizing<String>> {
        let make = || Zeroizing::new(format!("{}\n", ServiceToken::draw(entropy).expose()));
        read_or_make(&self.service_token(), make)
    }
}

/// Makes a part of the data folder where there is none. Who does not need a part does not fail for
/// it: tokens are revoked also where no mailbox can be made.
pub(crate) fn made(path: PathBuf) -> anyhow::Result<PathBuf> {
    make_own(&path).with_context(|| format!("{} cannot be made", path.display()))?;
    Ok(path)
}

/// Makes a folder for its owner only, and those above it.
fn make_own(path: &Path) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

pub(crate) fn new_license_key(entropy: &dyn Entropy, algorithm: Algorithm) -> Zeroizing<String> {
    match algorithm {
        Algorithm::EdDsa => registry_license::ed25519_pem(&entropy::bytes(entropy)),
        // One value in 2^32 is no key: then the next one is.
        Algorithm::Es256 => {
            std::iter::repeat_with(|| registry_license::p256_pem(&entropy::bytes(entropy)))
                .find_map(std::convert::identity)
                .unwrap_or_default()
        }
    }
}

/// A secret of the configuration, as itself or in a file; `key` is its name.
pub(crate) fn secret(
    key: &str,
    text: Option<&SecretText>,
    file: Option<&Path>,
) -> anyhow::Result<Option<Zeroizing<String>>> {
    match (text, file) {
        (Some(text), _) => Ok(Some(text.expose().clone())),
        (None, Some(path)) => {
            let read = read_secret(path).with_context(|| format!("`{key}_file` cannot be used"))?;
            Ok(Some(Zeroizing::new(read.trim().to_owned())))
        }
        (None, None) => Ok(None),
    }
}

/// Reads a file that is no secret; `key` names it.
pub(crate) fn read_public(key: &str, path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("`{key}`: {} cannot be read", path.display()))
}

/// Reads a secret's file. One that others may read or write is refused.
pub(crate) fn read_secret(path: &Path) -> anyhow::Result<Zeroizing<String>> {
    let shown = path.display();
    let mut file = File::open(path).with_context(|| format!("{shown} cannot be read"))?;
    let mode =
        file.metadata().with_context(|| format!("{shown} cannot be read"))?.permissions().mode()
            & 0o777;
    if mode & 0o077 != 0 {
        bail!(
            "{shown} holds a secret and has mode {mode:o}: others may read it. Say `chmod 600 {shown}`"
        );
    }
    let mut text = Zeroizing::new(String::new());
    file.read_to_string(&mut text).with_context(|| format!("{shown} cannot be read"))?;
    if text.trim().is_empty() {
        bail!("{shown} is empty");
    }
    Ok(text)
}

fn read_or_make(
    path: &Path,
    make: impl FnOnce() -> Zeroizing<String>,
) -> anyhow::Result<Zeroizing<String>> {
    if !path.exists() {
        write_new(path, &make())
            .with_context(|| format!("{} cannot be written", path.display()))?;
    }
    read_secret(path)
}

/// Writes a file with mode 0600, unless there is one by then.
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

/// Replaces a file, whole or not at all, with mode 0600.
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
    fn secrets_are_made_once_for_the_owner_only() {
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
    fn a_secret_that_others_may_read_is_refused() {
        let (folder, _root) = folder();
        folder.default_service_token(&OsEntropy).unwrap();
        let permissions = std::fs::Permissions::from_mode(0o640);
        std::fs::set_permissions(folder.service_token(), permissions).unwrap();
        let refused = folder.default_service_token(&OsEntropy).unwrap_err().to_string();
        assert!(refused.contains("mode 640") && refused.contains("chmod 600"), "{refused}");
    }

    #[test]
    fn a_lost_key_is_not_silently_replaced() {
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
