//! Backup and restore of the embedded default: the database, the keys and the images, in one
//! folder.
//!
//! The copy of the database is consistent, and registryd keeps running meanwhile. The manifest is
//! written last and names every file with its SHA-256: a folder without a manifest is not a backup,
//! and a file that differs from the manifest is not restored. The backup leaves out the mails that
//! were delivered into the mailbox, because they contain codes in plain text. Unsent mails are in
//! the database.

use std::fs::{self, File, Permissions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use private_files::create_folder;
use registry_core::clock::Clock as _;
use registry_core::entropy::hex;
use registry_store_sqlite::SqliteStore;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::config::Config;
use crate::data::DataFolder;
use crate::os::OsClock;

const MANIFEST: &str = "backup.json";
const DATABASE: &str = "registry.db";

/// Files and folders that are copied unchanged if they exist.
const COPIED: [&str; 5] = ["keys", "service-token", "tokens.json", "public-url", "files"];

/// The manifest of a backup.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// Time of the backup, ISO 8601 in UTC.
    pub made_at: String,
    /// The files of the backup.
    pub files: Vec<BackedUp>,
}

/// A file of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackedUp {
    /// Path of the file, relative to the folder of the backup.
    pub path: String,
    /// Size of the file in bytes.
    pub size: u64,
    /// SHA-256 of the file, 64 hex digits.
    pub sha256: String,
}

/// Backs the data folder up into `target`, which must not exist or be empty.
pub async fn backup(config: &Config, target: &Path) -> anyhow::Result<Manifest> {
    if config.database.is_postgres() {
        bail!(
            "the database is PostgreSQL: back it up with `pg_dump`, and copy the keys separately \
             (docs/operations.md)"
        );
    }
    let data = DataFolder::existing(&config.data)?;
    create_empty(target)?;
    let database = target.join(DATABASE);
    let store = SqliteStore::open(&data.database()).context("the database cannot be opened")?;
    store.copy_to(&database).await.context("the database cannot be copied")?;
    fs::set_permissions(&database, Permissions::from_mode(0o600))
        .context("the copy of the database cannot be made private")?;
    let mut files = vec![describe(target, &database)?];
    for name in COPIED {
        let from = data.path().join(name);
        if from.exists() {
            copy_all(&from, &target.join(name), &mut |path| {
                files.push(describe(target, path)?);
                Ok(())
            })?;
        }
    }
    let manifest = Manifest { made_at: OsClock.now().to_rfc3339(), files };
    let text = serde_json::to_string_pretty(&manifest).context("the manifest cannot be written")?;
    write_durably(&target.join(MANIFEST), &mut text.as_bytes())?;
    Ok(manifest)
}

/// Restores a backup into the data folder, which must not contain a registry.
pub fn restore(config: &Config, source: &Path) -> anyhow::Result<Manifest> {
    if config.database.is_postgres() {
        bail!(
            "the database is PostgreSQL: restore it with `pg_restore`, and copy the keys back \
             separately (docs/operations.md)"
        );
    }
    let backup = source.display();
    let manifest = fs::read_to_string(source.join(MANIFEST));
    let manifest = manifest.with_context(|| {
        format!("{backup} contains no finished backup: {MANIFEST} cannot be read")
    })?;
    let manifest: Manifest = serde_json::from_str(&manifest)
        .with_context(|| format!("{backup}: {MANIFEST} is damaged"))?;
    for file in &manifest.files {
        let is_inside = Path::new(&file.path)
            .components()
            .all(|part| matches!(part, std::path::Component::Normal(_)));
        ensure!(is_inside, "{MANIFEST} names a file outside of the backup's folder");
        let found = describe(source, &source.join(&file.path))?;
        ensure!(found == *file, "{} differs from the one that was backed up", file.path);
    }
    ensure!(
        manifest.files.iter().any(|file| file.path == DATABASE),
        "{MANIFEST} names no {DATABASE}"
    );
    // Keys that are left in the folder must not be lost, and a write-ahead log that is left there
    // would be replayed.
    if let Some(leftover) = leftover_of_registry(&config.data) {
        bail!(
            "{} contains a registry ({leftover}): restore into a new folder",
            config.data.display()
        );
    }
    create_folder(&config.data)
        .with_context(|| format!("{} cannot be created", config.data.display()))?;
    // The database comes last: without it, nothing starts on a half-restored backup.
    let (database, others): (Vec<_>, Vec<_>) =
        manifest.files.iter().partition(|file| file.path == DATABASE);
    for file in others.into_iter().chain(database) {
        let to = config.data.join(&file.path);
        create_parent(&to)?;
        copy_durably(&source.join(&file.path), &to)?;
    }
    Ok(manifest)
}

/// Returns the first file of a registry that the data folder contains.
fn leftover_of_registry(data: &Path) -> Option<String> {
    let names = [
        "registry.db",
        "registry.db-wal",
        "registry.db-shm",
        "service-token",
        "keys/master.key",
        "keys/license.pem",
    ];
    names.into_iter().find(|name| data.join(name).exists()).map(str::to_owned)
}

/// Creates the folder of a backup. The folder may exist if it is empty.
fn create_empty(folder: &Path) -> anyhow::Result<()> {
    let path = folder.display();
    match fs::read_dir(folder) {
        Ok(mut entries) => {
            ensure!(entries.next().is_none(), "{path} is not empty: name a new folder");
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            create_folder(folder).with_context(|| format!("{path} cannot be created"))?;
        }
        Err(error) => return Err(error).with_context(|| format!("{path} cannot be read")),
    }
    Ok(fs::set_permissions(folder, Permissions::from_mode(0o700))?)
}

fn create_parent(path: &Path) -> anyhow::Result<()> {
    let parent = path.parent().unwrap_or(Path::new("."));
    create_folder(parent).with_context(|| format!("{} cannot be created", parent.display()))
}

/// Copies a file, or a folder with its contents, and calls `done` with each copy. Skips names that
/// begin with a dot: those are unfinished uploads.
fn copy_all(
    from: &Path,
    to: &Path,
    done: &mut impl FnMut(&Path) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    if from.is_file() {
        create_parent(to)?;
        copy_durably(from, to)?;
        return done(to);
    }
    let mut entries: Vec<PathBuf> = fs::read_dir(from)
        .with_context(|| format!("{} cannot be read", from.display()))?
        .map(|entry| Ok(entry?.path()))
        .collect::<std::io::Result<_>>()?;
    entries.sort();
    for entry in entries {
        let name = entry.file_name().unwrap_or_default();
        if !name.to_string_lossy().starts_with('.') {
            copy_all(&entry, &to.join(name), done)?;
        }
    }
    Ok(())
}

fn copy_durably(from: &Path, to: &Path) -> anyhow::Result<()> {
    let mut source =
        File::open(from).with_context(|| format!("{} cannot be read", from.display()))?;
    write_durably(to, &mut source)
}

fn write_durably(path: &Path, content: &mut impl Read) -> anyhow::Result<()> {
    let write = |content: &mut dyn Read| {
        use std::os::unix::fs::OpenOptionsExt as _;
        let mut file =
            File::options().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        std::io::copy(content, &mut file)?;
        file.flush()?;
        file.sync_all()
    };
    write(content).with_context(|| format!("{} cannot be written", path.display()))
}

/// Returns the size and the SHA-256 of a file in `folder`.
fn describe(folder: &Path, path: &Path) -> anyhow::Result<BackedUp> {
    let mut file =
        File::open(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let (mut hash, mut size, mut chunk) = (Sha256::new(), 0, vec![0; 1 << 20]);
    loop {
        let read =
            file.read(&mut chunk).with_context(|| format!("{} cannot be read", path.display()))?;
        if read == 0 {
            break;
        }
        hash.update(&chunk[..read]);
        size += read as u64;
    }
    let path = path.strip_prefix(folder).unwrap_or(path).to_string_lossy().into_owned();
    Ok(BackedUp { path, size, sha256: hex(&hash.finalize()) })
}
