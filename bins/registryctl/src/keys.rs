//! `registryctl keys list|generate|activate|retire|export`

use anyhow::Result;
use clap::{Subcommand, ValueEnum};
use registry_wiring::{Algorithm, Config, LicenseKeys};
use serde_json::json;

use crate::confirm::Confirmation;
use crate::output::Output;
use crate::tenant::time;

#[derive(Subcommand)]
pub(crate) enum Task {
    /// Lists the license keys.
    List,
    /// Makes a key and publishes it; it signs once it is activated.
    Generate {
        /// What it signs with; `license.algorithm` where it is left out.
        #[arg(long, value_enum)]
        algorithm: Option<KeyAlgorithm>,
    },
    /// Has a key sign from now on, once it was published for 48 hours; the one that did is retired.
    Activate {
        /// The key.
        #[arg(allow_hyphen_values = true)]
        kid: String,
        /// Does not wait for the 48 hours: appliances that have not seen the key refuse what it
        /// signs.
        #[arg(long)]
        force: bool,
    },
    /// Takes a key away that does not sign. What it signed is verified until it ends.
    Retire {
        /// The key.
        #[arg(allow_hyphen_values = true)]
        kid: String,
        #[command(flatten)]
        confirm: Confirmation,
    },
    /// Prints the key set (JWKS) for appliances that cannot fetch it.
    Export,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum KeyAlgorithm {
    #[value(name = "EdDSA")]
    EdDsa,
    #[value(name = "ES256")]
    Es256,
}

impl From<KeyAlgorithm> for Algorithm {
    fn from(algorithm: KeyAlgorithm) -> Self {
        match algorithm {
            KeyAlgorithm::EdDsa => Self::EdDsa,
            KeyAlgorithm::Es256 => Self::Es256,
        }
    }
}

pub(crate) fn perform(config: &Config, task: Task, output: Output) -> Result<()> {
    if let Task::Retire { kid, confirm } = &task {
        confirm.ask(&format!("Retire the license key {kid}?"))?;
    }
    let mut keys = LicenseKeys::open(config)?;
    match task {
        Task::List => {}
        Task::Export => return crate::output::print(&crate::jwks(&keys.public_keys()?)),
        Task::Generate { algorithm } => {
            let kid = keys.generate(algorithm.map_or(config.license.algorithm, Algorithm::from))?;
            return output.fields(&[("kid", json!(kid)), ("state", json!("standby"))]);
        }
        Task::Activate { kid, force } => keys.activate(&kid, force)?,
        Task::Retire { kid, .. } => keys.retire(&kid)?,
    }
    let row = |key: &registry_wiring::KeyEntry| {
        vec![
            json!(key.kid),
            json!(key.state),
            time(key.published_at),
            json!(key.retired_at.map(time)),
            json!(key.file),
        ]
    };
    let rows: Vec<_> = keys.plan().keys.iter().map(row).collect();
    output.table(&["kid", "state", "published_at", "retired_at", "file"], &rows, &[])
}
