//! `registryctl migrate`, `backup`, `restore`: commands that open no registry.

use std::path::PathBuf;

use anyhow::bail;
use clap::Subcommand;
use registry_wiring::{Config, Manifest, Migrated};
use serde_json::{Value, json};
use terminal_text::printable_lines;

use crate::output::Output;
use crate::{code, operator};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Runs the pending migrations of a PostgreSQL database (SQLite is migrated when it is opened).
    Migrate,
    /// Backs up the data folder (database, keys, tokens and images), also while registryd runs.
    Backup {
        /// Folder for the backup, which must be empty or not exist yet.
        folder: PathBuf,
    },
    /// Restores a backup into a data folder without a registry, and supersedes the codes that were
    /// unused in it.
    Restore {
        /// Folder of the backup.
        folder: PathBuf,
        /// Keeps unused codes live. Codes that were redeemed since the backup can then be redeemed
        /// again, on a second machine. Only for a backup after which no code was redeemed.
        #[arg(long)]
        keep_codes: bool,
    },
}

pub(crate) async fn run(config: &Config, command: Command, output: Output) -> anyhow::Result<()> {
    match command {
        Command::Migrate => migrate(config, output).await,
        Command::Backup { folder } => {
            print(&registry_wiring::backup(config, &folder).await?, output)
        }
        Command::Restore { folder, keep_codes } => {
            let manifest = registry_wiring::restore(config, &folder)?;
            if keep_codes {
                eprintln!(
                    "registryctl: unused codes are still live. A code that was redeemed since the \
                     backup can be redeemed again, on a second machine."
                );
                return print(&manifest, output);
            }
            let registry = crate::open(config).await?;
            let superseded = code::rows(&registry.codes_supersede_unused(operator()).await?);
            if output.json {
                let superseded = Output::items(&code::SUPERSEDED, &superseded);
                return print_with(&manifest, &[("superseded_codes", superseded)], output);
            }
            print(&manifest, output)?;
            if superseded.is_empty() {
                return Ok(());
            }
            eprintln!(
                "registryctl: {} unused codes were superseded, since they may have been redeemed \
                 after the backup. Re-issue those of these tenants:",
                superseded.len()
            );
            output.table(&code::SUPERSEDED, &superseded, &[])
        }
    }
}

async fn migrate(config: &Config, output: Output) -> anyhow::Result<()> {
    let Some(Migrated { names, search }) = registry_wiring::migrate(config).await? else {
        bail!("the database is SQLite, which is migrated whenever it is opened")
    };
    if let Some(problem) = search {
        eprintln!(
            "registryctl: searches match only the beginning of a name or an address \
             (`database.search_by_part`): {}",
            printable_lines(&problem)
        );
    }
    let rows: Vec<_> = names.into_iter().map(|name| vec![name.into()]).collect();
    output.table(&["migration"], &rows, &[])
}

fn print(manifest: &Manifest, output: Output) -> anyhow::Result<()> {
    print_with(manifest, &[], output)
}

fn print_with(manifest: &Manifest, extra: &[(&str, Value)], output: Output) -> anyhow::Result<()> {
    let rows: Vec<_> = manifest
        .files
        .iter()
        .map(|file| vec![json!(file.path), json!(file.size), json!(file.sha256)])
        .collect();
    let extra = [&[("made_at", json!(manifest.made_at))], extra].concat();
    output.table(&["path", "size", "sha256"], &rows, &extra)
}
