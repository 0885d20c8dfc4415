//! Backup and restore of the embedded default: the database, the keys and the files, in one folder.
//!
//! The database is copied as it is in one moment, while registryd goes on. The manifest is written
//! last and names every file with its SHA-256: a folder without one is no backup, and what does not
//! fit it is not restored. Mails that were delivered into the mailbox are left out: they hold codes
//! in clear, and those not yet sent are in the database.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
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

/// What is copied as it is, where it is there.
const COPIED: [&str; 5] = ["keys", "service-token", "tokens.json", "public-url", "files"];

/// What a backup holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// When it was made, ISO 8601 in UTC.
    pub made_at: String,
    /// Its files.
    pub files: Vec<BackedUp>,
}

/// A file of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackedUp {
    /// Where it is, from the folder on.
    pub path: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its SHA-256, 64 hex digits.
    pub sha256: String,
}

/// Backs the data folder up into `target`, which must not exist or be empty.
pub async fn backup(config: &Config, target: &Path) -> anyhow::Result<Manifest> {
    if config.database.is_postgres() {
        bail!(
            "the database is PostgreSQL: back it up with its own tools, and the keys beside it (docs/operations.md)"
        );
    }
    let data = DataFolder::existing(&config.data)?;
    make_empty(target)?;
    let database = target.join(DATABASE);
    let store = SqliteStore::open(&data.database()).context("the database cannot be opened")?;
    store.copy_to(&database).await.context("the database cannot be copied")?;
    fs::set_permissions(&database, Permissions::from_mode(0o600))
        .context("the copy is open to others")?;
    let mut files = vec![described(target, &database)?];
    for name in COPIED {
        let from = data.path().join(name);
        if from.exists() {
            copy_all(&from, &target.join(name), &mut |path| {
                files.push(described(target, path)?);
                Ok(())
            })?;
        }
    }
    let manifest = Manifest { made_at: OsClock.now().to_rfc3339(), files };
    let text = serde_json::to_string_pretty(&manifest).context("the manifest cannot be written")?;
    write_durably(&target.join(MANIFEST), &mut text.as_bytes())?;
    Ok(manifest)
}

/// Restores a backup into the data folder, where no database must be.
pub fn restore(config: &Config, source: &Path) -> anyhow::Result<Manifest> {
    if config.database.is_postgres() {
        bail!(
            "the database is PostgreSQL: restore it with its own tools, and the keys beside it (docs/operations.md)"
        );
    }
    let shown = source.display();
    let manifest = fs::read_to_string(source.join(MANIFEST));
    let manifest = manifest
        .with_context(|| format!("{shown} holds no finished backup: {MANIFEST} cannot be read"))?;
    let manifest: Manifest = serde_json::from_str(&manifest)
        .with_context(|| format!("{shown}: {MANIFEST} is damaged"))?;
    for file in &manifest.files {
        let plain = Path::new(&file.path)
            .components()
            .all(|part| matches!(part, std::path::Component::Normal(_)));
        ensure!(plain, "{MANIFEST} names a file outside of its folder");
        let found = described(source, &source.join(&file.path))?;
        ensure!(found == *file, "{} is not as it was backed up", file.path);
    }
    ensure!(
        manifest.files.iter().any(|file| file.path == DATABASE),
        "{MANIFEST} names no {DATABASE}"
    );
    // Whatever of a registry is left there: its keys must not be lost, and its write-ahead log
    // would be replayed.
    if let Some(left) = left_of_a_registry(&config.data) {
        bail!("{} holds a registry ({left}): restore into a new folder", config.data.display());
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&config.data)
        .context("the data folder cannot be made")?;
    // The database last: without it nothing starts on half of a backup.
    let (database, others): (Vec<_>, Vec<_>) =
        manifest.files.iter().partition(|file| file.path == DATABASE);
    for file in others.into_iter().chain(database) {
        let to = config.data.join(&file.path);
        make_parent(&to)?;
        copy_durably(&source.join(&file.path), &to)?;
    }
    Ok(manifest)
}

/// The first thing in a data folder that a registry made.
fn left_of_a_registry(data: &Path) -> Option<String> {
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

fn make_empty(folder: &Path) -> anyhow::Result<()> {
    let shown = folder.display();
    match fs::read_dir(folder) {
        Ok(mut entries) => {
            ensure!(entries.next().is_none(), "{shown} is not empty: name a new folder")
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)
                .with_context(|| format!("{shown} cannot be made"))?;
        }
        Err(error) => return Err(error).with_context(|| format!("{shown} cannot be read")),
    }
    Ok(fs::set_permissions(folder, Permissions::from_mode(0o700))?)
}

fn make_parent(path: &Path) -> anyhow::Result<()> {
    let parent = path.parent().unwrap_or(Path::new("."));
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(parent)
        .with_context(|| format!("{} cannot be made", parent.display()))
}

/// Copies a file, or a folder with all that is in it, uploads that are not finished aside.
fn copy_all(
    from: &Path,
    to: &Path,
    done: &mut impl FnMut(&Path) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    if from.is_file() {
        make_parent(to)?;
        copy_durably(from, to)?;
        return done(to);
    }
    let mut entries: Vec<PathBuf> = fs::read_dir(from)
        .with_context(|| format!("{} cannot be read", from.display()))?
        .map(|it| Ok(it?.path()))
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
    let shown = path.display();
    let write = |content: &mut dyn Read| {
        use std::os::unix::fs::OpenOptionsExt as _;
        let mut file =
            File::options().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        std::io::copy(content, &mut file)?;
        file.flush()?;
        file.sync_all()
    };
    write(content).with_context(|| format!("{shown} cannot be written"))
}

fn described(folder: &Path, path: &Path) -> anyhow::Result<BackedUp> {
    let mut file =
        File::open(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let (mut hash, mut size, mut part) = (Sha256::new(), 0, vec![0; 1 << 20]);
    loop {
        let read =
            file.read(&mut part).with_context(|| format!("{} cannot be read", path.display()))?;
        if read == 0 {
            break;
        }
        hash.update(&part[..read]);
        size += read as u64;
    }
    let path = path.strip_prefix(folder).unwrap_or(path).to_string_lossy().into_owned();
    Ok(BackedUp { path, size, sha256: hex(&hash.finalize()) })
}
