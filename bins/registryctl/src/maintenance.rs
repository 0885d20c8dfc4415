//! `registryctl migrate`, `backup`, `restore`: what keeps a registry, and needs none that is open.

use std::path::PathBuf;

use anyhow::bail;
use clap::Subcommand;
use registry_wiring::{Config, Manifest, Migrated};
use serde_json::json;

use crate::output::Output;

#[derive(Subcommand)]
pub(crate) enum Task {
    /// Brings PostgreSQL's tables up to date (SQLite's are whenever it is opened).
    Migrate,
    /// Backs the data folder up (database, keys, files), while registryd runs or not.
    Backup {
        /// A folder that does not exist yet, or is empty.
        folder: PathBuf,
    },
    /// Restores a backup into a data folder that holds no registry.
    Restore {
        /// The folder of the backup.
        folder: PathBuf,
    },
}

pub(crate) async fn perform(config: &Config, task: Task, output: Output) -> anyhow::Result<()> {
    match task {
        Task::Migrate => migrate(config, output).await,
        Task::Backup { folder } => print(&registry_wiring::backup(config, &folder).await?, output),
        Task::Restore { folder } => print(&registry_wiring::restore(config, &folder)?, output),
    }
}

async fn migrate(config: &Config, output: Output) -> anyhow::Result<()> {
    let Some(Migrated { names, search }) = registry_wiring::migrate(config).await? else {
        bail!("the database is SQLite, which is migrated whenever it is opened")
    };
    if let Some(problem) = search {
        eprintln!(
            "registryctl: searches find beginnings only (`database.search_by_part`): {problem}"
        );
    }
    let rows: Vec<_> = names.into_iter().map(|name| vec![name.into()]).collect();
    output.table(&["migration"], &rows, &[])
}

fn print(manifest: &Manifest, output: Output) -> anyhow::Result<()> {
    let rows: Vec<_> = manifest
        .files
        .iter()
        .map(|file| vec![json!(file.path), json!(file.size), json!(file.sha256)])
        .collect();
    output.table(&["path", "size", "sha256"], &rows, &[("made_at", json!(manifest.made_at))])
}
