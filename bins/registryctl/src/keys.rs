//! `registryctl keys list|generate|import|activate|retire|revoke|export`

use std::path::PathBuf;

use anyhow::Result;
use clap::{Subcommand, ValueEnum};
use registry_wiring::{Algorithm, Config, KeyEntry, LicenseKeys};
use serde_json::json;

use crate::confirm::Confirmation;
use crate::output::Output;
use crate::tenant::time;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Lists the license keys with their states.
    List,
    /// Creates and publishes a license key: it signs nothing until `keys activate`.
    Generate {
        /// Algorithm that the key signs with. Default: `license.algorithm`.
        #[arg(long, value_enum)]
        algorithm: Option<KeyAlgorithm>,
    },
    /// Adds and publishes an existing key: it signs nothing until `keys activate`, unless it is the
    /// first key of the ring.
    Import {
        /// PKCS#8 PEM file with the key, mode 0600.
        file: PathBuf,
        /// Key ID (`kid`) that the key's licenses have had so far. Default: the key's thumbprint
        /// (RFC 7638). Appliances refuse the key's licenses under another kid.
        #[arg(long)]
        kid: Option<String>,
    },
    /// Makes a key that was published for 48 hours sign licenses, and retires the current one.
    Activate {
        /// Key ID (`kid`), as `registryctl keys list` shows it.
        #[arg(allow_hyphen_values = true)]
        kid: String,
        /// Activates the key before the 48 hours are over: appliances that have not fetched it
        /// yet refuse the licenses it signs. Default: the command fails before then.
        #[arg(long)]
        force: bool,
    },
    /// Retires a key that is not the active one: it stays published until its licenses have
    /// expired.
    Retire {
        /// Key ID (`kid`), as `registryctl keys list` shows it.
        #[arg(allow_hyphen_values = true)]
        kid: String,
        #[command(flatten)]
        confirm: Confirmation,
    },
    /// Removes a stolen key from the ring at once: appliances refuse its licenses once they have
    /// fetched the new key set.
    Revoke {
        /// Key ID (`kid`), as `registryctl keys list` shows it.
        #[arg(allow_hyphen_values = true)]
        kid: String,
        #[command(flatten)]
        confirm: Confirmation,
    },
    /// Prints the public keys as a key set (JWKS), for appliances that cannot fetch it.
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

pub(crate) fn run(config: &Config, command: Command, output: Output) -> Result<()> {
    if let Command::Retire { kid, confirm } = &command {
        confirm.ask(&format!(
            "Retire license key {kid}? It cannot sign again, \
             and is unpublished when its licenses have expired."
        ))?;
    }
    if let Command::Revoke { kid, confirm } = &command {
        confirm.ask(&format!(
            "Revoke license key {kid}? It is unpublished at once. Appliances refuse its licenses \
             once they have taken the new key set. An appliance that knows no other published key \
             cannot take that set: it needs a new key file (--keys) or a reinstallation."
        ))?;
    }
    if let Command::Import { file, kid } = command {
        let kid = LicenseKeys::open_for_import(config)?.import(&file, kid)?;
        return output.fields(&[("kid", json!(kid))]);
    }
    let mut keys = LicenseKeys::open(config)?;
    match command {
        Command::List | Command::Import { .. } => {}
        Command::Export => return crate::output::print_json(&crate::jwks(&keys.public_keys()?)),
        Command::Generate { algorithm } => {
            let kid = keys.generate(algorithm.map_or(config.license.algorithm, Algorithm::from))?;
            return output.fields(&[("kid", json!(kid)), ("state", json!("standby"))]);
        }
        Command::Activate { kid, force } => keys.activate(&kid, force)?,
        Command::Retire { kid, .. } => keys.retire(&kid)?,
        Command::Revoke { kid, .. } => keys.revoke(&kid)?,
    }
    let row = |key: &KeyEntry| {
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
