//! `registryctl migrate`, `backup`, `restore`: commands that open no registry.

use std::path::PathBuf;

use anyhow::bail;
use clap::Subcommand;
use registry_wiring::{Config, Manifest, Migrated};
use serde_json::json;

use crate::output::Output;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Runs the pending migrations of a PostgreSQL database (SQLite is migrated when it is opened).
    Migrate,
    /// Backs up the data folder (database, keys, tokens and images), also while registryd runs.
    Backup {
        /// Folder for the backup, which must be empty or not exist yet.
        folder: PathBuf,
    },
    /// Restores a backup into a data folder without a registry.
    Restore {
        /// Folder of the backup.
        folder: PathBuf,
    },
}

pub(crate) async fn run(config: &Config, command: Command, output: Output) -> anyhow::Result<()> {
    match command {
        Command::Migrate => migrate(config, output).await,
        Command::Backup { folder } => {
            print(&registry_wiring::backup(config, &folder).await?, output)
        }
        Command::Restore { folder } => print(&registry_wiring::restore(config, &folder)?, output),
    }
}

async fn migrate(config: &Config, output: Output) -> anyhow::Result<()> {
    let Some(Migrated { names, search }) = registry_wiring::migrate(config).await? else {
        bail!("the database is SQLite, which is migrated whenever it is opened")
    };
    if let Some(problem) = search {
        eprintln!(
            "registryctl: searches match only the beginning of a name or an address \
             (`database.search_by_part`): {problem}"
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
