//! The blob store in a local folder.
//!
//! A file is written under a temporary name, flushed to the disk, and renamed: it exists completely
//! or not at all. Links are `{base}/{key}?expires=…&key_id=…&signature=…`, signed with HMAC-SHA256
//! under a sub-key of the master key. registryd serves the files, and verifies the links through
//! [`LinkedFiles`].

use std::fs::{DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use hmac::{Hmac, KeyInit as _, Mac as _};
use registry_core::blob::{
    BlobError, BlobKey, BlobStore, BlobUpload, LinkError, LinkedFile, LinkedFiles,
};
use registry_core::clock::Timestamp;
use registry_core::entropy::hex;
use registry_core::id::CodeId;
use registry_core::secret::{DownloadLink, KeyId};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use tempfile::{Builder, TempPath};
use tokio::io::AsyncWriteExt as _;
use zeroize::Zeroizing;

/// Folder of the files that are being written. No key begins with a dot.
const PARTIAL: &str = ".partial";

/// Age since the last change at which a partial file is deleted, because its upload was killed.
const PARTIAL_LIFETIME: Duration = Duration::from_hours(24);

/// A key that signs links.
pub struct LinkKey {
    /// ID of the key, which the link carries.
    pub id: KeyId,
    /// The key, 32 bytes.
    pub secret: Zeroizing<[u8; 32]>,
}

/// A blob store in a local folder.
pub struct LocalBlobs {
    root: PathBuf,
    base_url: String,
    keys: Vec<LinkKey>,
}

impl LocalBlobs {
    /// Opens a folder, and creates it if it does not exist. Links begin with `base_url` and are
    /// signed with the first of `keys`; links under any of `keys` are accepted.
    pub fn open(
        root: impl Into<PathBuf>,
        base_url: impl Into<String>,
        keys: Vec<LinkKey>,
    ) -> io::Result<Self> {
        let root = root.into();
        std::fs::create_dir_all(root.join(PARTIAL))?;
        delete_abandoned(&root.join(PARTIAL))?;
        Ok(Self { root, base_url: base_url.into(), keys })
    }

    fn path(&self, key: &BlobKey) -> PathBuf {
        self.root.join(key.as_str())
    }

    fn temporary(&self) -> io::Result<(File, TempPath)> {
        Ok(Builder::new().tempfile_in(self.root.join(PARTIAL))?.into_parts())
    }
}

/// Deletes the partial files of uploads that were killed more than a day ago, by the clock of the
/// file system.
fn delete_abandoned(partial: &Path) -> io::Result<()> {
    let now = Builder::new().tempfile_in(partial)?.as_file().metadata()?.modified()?;
    for entry in std::fs::read_dir(partial)? {
        let entry = entry?;
        let age = entry
            .metadata()
            .and_then(|metadata| metadata.modified())
            .map(|then| now.duration_since(then));
        if matches!(age, Ok(Ok(age)) if age > PARTIAL_LIFETIME) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Creates a folder with its missing parents, and flushes the parent of each new folder.
fn create_folders(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let parent = folder.parent().unwrap_or(Path::new("."));
    create_folders(parent)?;
    match DirBuilder::new().mode(0o755).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    File::open(parent)?.sync_all()
}

fn unavailable(error: &dyn std::fmt::Display) -> BlobError {
    BlobError::Unavailable(error.to_string())
}

/// Runs file operations on a thread for blocking work.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, BlobError> {
    let result = tokio::task::spawn_blocking(work).await.map_err(|error| unavailable(&error))?;
    result.map_err(|error| unavailable(&error))
}

struct LocalUpload {
    file: tokio::fs::File,
    temporary: TempPath,
    target: PathBuf,
}

#[async_trait]
impl BlobUpload for LocalUpload {
    async fn write(&mut self, part: &[u8]) -> Result<(), BlobError> {
        self.file.write_all(part).await.map_err(|error| unavailable(&error))
    }

    async fn finish(mut self: Box<Self>) -> Result<(), BlobError> {
        self.file.flush().await.map_err(|error| unavailable(&error))?;
        self.file.sync_all().await.map_err(|error| unavailable(&error))?;
        let Self { temporary, target, .. } = *self;
        blocking(move || {
            let folder = target.parent().unwrap_or(Path::new("."));
            create_folders(folder)?;
            // The admin command line may run as another user than the service, so both need to read
            // the file. The data folder is closed to all other users.
            std::fs::set_permissions(&temporary, Permissions::from_mode(0o644))?;
            temporary.persist(&target).map_err(|error| error.error)?;
            File::open(folder)?.sync_all()
        })
        .await
    }

    async fn abort(self: Box<Self>) -> Result<(), BlobError> {
        let temporary = self.temporary;
        blocking(move || temporary.close()).await
    }
}

#[async_trait]
impl BlobStore for LocalBlobs {
    async fn upload(
        &self,
        key: &BlobKey,
        _size: Option<u64>,
    ) -> Result<Box<dyn BlobUpload>, BlobError> {
        let (file, temporary) = self.temporary().map_err(|error| unavailable(&error))?;
        Ok(Box::new(LocalUpload { file: file.into(), temporary, target: self.path(key) }))
    }

    async fn size(&self, key: &BlobKey) -> Result<u64, BlobError> {
        // The file is opened, because its metadata would not tell whether registryd can read it.
        let opened = match tokio::fs::File::open(self.path(key)).await {
            Ok(file) => file.metadata().await,
            Err(error) => Err(error),
        };
        match opened {
            Ok(metadata) if metadata.is_file() => Ok(metadata.len()),
            Ok(_) => Err(BlobError::NotFound(key.clone())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(BlobError::NotFound(key.clone()))
            }
            Err(error) => Err(unavailable(&error)),
        }
    }

    async fn delete(&self, key: &BlobKey) -> Result<(), BlobError> {
        let path = self.path(key);
        match tokio::fs::remove_file(&path).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(unavailable(&error));
            }
            _ => {}
        }
        // Removes the folder of the upload if it is empty now. An error is ignored: the folder may
        // contain other files.
        if let Some(folder) = path.parent().filter(|folder| *folder != self.root) {
            drop(tokio::fs::remove_dir(folder).await);
        }
        Ok(())
    }

    async fn link(
        &self,
        key: &BlobKey,
        holder: Option<CodeId>,
        _now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<DownloadLink, BlobError> {
        let signer =
            self.keys.first().ok_or_else(|| unavailable(&"there is no key to sign links with"))?;
        let expires = expires_at.timestamp();
        let holder = holder.map(|code| code.to_string());
        let signature = hex(&sign(signer, key.as_str(), expires, holder.as_deref()));
        let (base, id) = (&self.base_url, &signer.id.0);
        let code = holder.map(|code| format!("&code={code}")).unwrap_or_default();
        Ok(DownloadLink::new(format!(
            "{base}/{key}?expires={expires}{code}&key_id={id}&signature={signature}"
        )))
    }

    async fn probe(&self) -> Result<(), BlobError> {
        let root = self.root.join(PARTIAL);
        blocking(move || {
            // Writes some bytes and flushes them, because a full disk accepts an empty file.
            let mut file = Builder::new().tempfile_in(root)?;
            io::Write::write_all(&mut file, &[0; 4096])?;
            file.as_file().sync_all()?;
            file.close()
        })
        .await
    }
}

#[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
fn sign(key: &LinkKey, path: &str, expires: i64, code: Option<&str>) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.secret.as_slice()).expect("any length");
    mac.update(format!("{path}\n{expires}").as_bytes());
    if let Some(code) = code {
        mac.update(format!("\n{code}").as_bytes());
    }
    mac.finalize().into_bytes().into()
}

impl LinkedFiles for LocalBlobs {
    fn open(&self, key: &str, query: &str, now: Timestamp) -> Result<LinkedFile, LinkError> {
        let value = |name: &str| {
            query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
        };
        let values = (value("expires"), value("key_id"), value("signature"));
        let (Some(expires), Some(key_id), Some(signature)) = values else {
            return Err(LinkError::Invalid);
        };
        let signer = self.keys.iter().find(|key| key.id.0 == key_id).ok_or(LinkError::Invalid)?;
        let expires: i64 = expires
            .parse()
            .ok()
            .filter(|seconds: &i64| seconds.to_string() == expires)
            .ok_or(LinkError::Invalid)?;
        let code = value("code");
        let expected = hex(&sign(signer, key, expires, code));
        if !bool::from(expected.as_bytes().ct_eq(signature.as_bytes())) {
            return Err(LinkError::Invalid);
        }
        let expires_at = Timestamp::from_timestamp(expires, 0).ok_or(LinkError::Invalid)?;
        if expires_at <= now {
            return Err(LinkError::Expired(expires_at));
        }
        let key = BlobKey::parse(key).ok_or(LinkError::Invalid)?;
        let holder = code.map(str::parse).transpose().map_err(|_| LinkError::Invalid)?;
        let path = self.path(&key);
        match path.metadata() {
            Ok(metadata) if metadata.is_file() => Ok(LinkedFile { path, key, holder }),
            Ok(_) => Err(LinkError::Gone),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(LinkError::Gone),
            Err(error) => Err(LinkError::Unavailable(error.to_string())),
        }
    }
}
