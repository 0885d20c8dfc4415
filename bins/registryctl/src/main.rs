//! `registryctl`: the registry's admin command line. It uses the same data and the same
//! configuration as `registryd`, whether `registryd` is running or not.
//!
//! Exit codes: 0 done; 1 failed; 2 wrong usage; 3 refused; 4 not found; 5 busy or unavailable, try
//! again; 130 interrupted.

#![expect(clippy::print_stderr, reason = "a command line reports errors on standard error")]

mod appliance;
mod audit;
mod code;
mod confirm;
mod doctor;
mod entitlement;
mod errors;
mod keys;
mod license;
mod mail;
mod maintenance;
mod offline;
mod output;
mod release;
mod sweep;
mod tenant;
mod token;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use clap::{Args, Parser, Subcommand};
use registry_core::Registry;
use registry_core::audit::Actor;
use registry_core::license::{JwkMaterial, PublicKey};
use registry_wiring::{Config, DataFolder};
use serde_json::json;
use terminal_text::printable;

use crate::output::Output;

/// The Appliance Registry's admin command line.
///
/// Exit codes: 0 done; 1 failed; 2 wrong usage; 3 refused; 4 not found; 5 busy or unavailable, try
/// again; 130 interrupted.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    command: Command,
}

#[derive(Args)]
struct Options {
    /// Data folder. Default: `REGISTRY_DATA`, `data` in the configuration, or `registry-data`.
    #[arg(long, value_name = "DIR", global = true)]
    data: Option<PathBuf>,
    /// Configuration file (TOML). Default: `REGISTRY_CONFIG`, or none.
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Prints results and errors as JSON. Default: readable text.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Command {
    #[command(flatten)]
    Registry(RegistryCommand),
    #[command(flatten)]
    Maintenance(maintenance::Command),
    /// Checks the configuration, the database, mail, images, the public URL and the machine, and
    /// says what is wrong and what to do. Changes nothing.
    Doctor(doctor::DoctorArgs),
    /// Manages the keys that sign licenses.
    #[command(subcommand)]
    Keys(keys::Command),
    /// Manages the API tokens of services and operators.
    #[command(subcommand)]
    Token(token::Command),
}

// Commands that open a registry, except `license inspect --keys` and `mail preview`.
#[derive(Subcommand)]
enum RegistryCommand {
    /// Registers, lists and changes tenants.
    #[command(subcommand)]
    Tenant(tenant::Command),
    /// Re-issues install codes.
    #[command(subcommand)]
    Code(code::Command),
    /// Answers the requests of appliances without a network.
    #[command(subcommand)]
    Offline(offline::Command),
    /// Publishes, lists and withdraws images.
    #[command(subcommand)]
    Release(release::Command),
    /// Manages the outbox and previews mails.
    #[command(subcommand)]
    Mail(MailCommand),
    /// Deletes mails, codes, audit entries and other rows whose `retention` is over, as registryd
    /// does.
    Sweep(sweep::SweepArgs),
    /// Lists and revokes appliances.
    #[command(subcommand)]
    Appliance(appliance::Command),
    /// Lists the audit: what was changed or refused, by whom and from where.
    #[command(subcommand)]
    Audit(audit::Command),
    /// Shows and changes entitlements.
    #[command(subcommand)]
    Entitlement(entitlement::Command),
    /// Signs and inspects licenses.
    #[command(subcommand)]
    License(LicenseCommand),
}

#[derive(Subcommand)]
enum LicenseCommand {
    #[command(flatten)]
    Registry(license::Command),
    /// Shows a license's claims, and in `state` whether it is valid.
    ///
    /// The exit code is 0 for every license that can be read, valid or not.
    Inspect(license::InspectArgs),
}

#[derive(Subcommand)]
enum MailCommand {
    #[command(flatten)]
    Registry(mail::Command),
    /// Writes a mail with made-up contents as HTML and text, to view in a browser.
    Preview(mail::PreviewArgs),
}

/// An interruption by Ctrl-C or SIGTERM, with the state that it left.
#[derive(Debug, thiserror::Error)]
#[error("interrupted: {0}")]
pub(crate) struct Interrupted(&'static str);

fn main() -> ExitCode {
    let cli = Cli::parse();
    let json = cli.options.json;
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            errors::print(&error, json);
            ExitCode::from(errors::exit_code(&error))
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<()> {
    let Options { data, config, json } = cli.options;
    let config = Config::load_over(config.as_deref(), data, None);
    let output = Output { json };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the async runtime cannot be started")?;
    if let Command::Doctor(args) = cli.command {
        return runtime.block_on(doctor::run(config, &args, output));
    }
    let config = config?;
    match cli.command {
        Command::Doctor(_) => Ok(()),
        Command::Keys(_) | Command::Token(_) if is_new(&config) => Err(no_registry(&config)),
        Command::Keys(command) => keys::run(&config, command, output),
        Command::Token(command) => token::run(&config, command, output),
        Command::Maintenance(command) => {
            runtime.block_on(maintenance::run(&config, command, output))
        }
        Command::Registry(RegistryCommand::License(LicenseCommand::Inspect(args)))
            if args.keys.is_some() =>
        {
            license::inspect(&args, "", output)
        }
        Command::Registry(RegistryCommand::Mail(MailCommand::Preview(args))) => {
            mail::preview(&config, &args, output)
        }
        Command::Registry(command) => runtime.block_on(with_registry(&config, command, output)),
    }
}

fn is_new(config: &Config) -> bool {
    !config.database.is_postgres() && !config.data.join("registry.db").exists()
}

fn no_registry(config: &Config) -> anyhow::Error {
    anyhow!("there is no registry in {}: set its data folder with --data", config.data.display())
}

/// Opens the registry.
async fn open(config: &Config) -> anyhow::Result<Arc<Registry>> {
    Ok(registry_wiring::build(config, &DataFolder::public_url(config)).await?.registry)
}

async fn with_registry(
    config: &Config,
    command: RegistryCommand,
    output: Output,
) -> anyhow::Result<()> {
    let may_create_registry = matches!(
        command,
        RegistryCommand::Tenant(tenant::Command::Register(_))
            | RegistryCommand::Release(release::Command::Publish(_))
    );
    if is_new(config) && !may_create_registry {
        return Err(no_registry(config));
    }
    if is_new(config) {
        let folder = config.data.display().to_string();
        eprintln!("registryctl: creating a new registry in {}", printable(&folder));
    }
    let registry = open(config).await?;
    match command {
        RegistryCommand::Tenant(command) => tenant::run(&registry, command, output).await,
        RegistryCommand::Code(command) => code::run(&registry, command, output).await,
        RegistryCommand::Offline(command) => offline::run(&registry, command, output).await,
        RegistryCommand::Release(command) => release::run(&registry, command, output).await,
        RegistryCommand::Mail(MailCommand::Registry(command)) => {
            mail::run(&registry, command, output).await
        }
        RegistryCommand::Mail(MailCommand::Preview(args)) => mail::preview(config, &args, output),
        RegistryCommand::Sweep(args) => sweep::run(&registry, &args, output).await,
        RegistryCommand::Appliance(command) => appliance::run(&registry, command, output).await,
        RegistryCommand::Audit(command) => audit::run(&registry, command, output).await,
        RegistryCommand::Entitlement(command) => entitlement::run(&registry, command, output).await,
        RegistryCommand::License(LicenseCommand::Registry(command)) => {
            license::run(&registry, command, output).await
        }
        RegistryCommand::License(LicenseCommand::Inspect(args)) => {
            license::inspect(&args, &jwks(&registry.public_keys()), output)
        }
    }
}

/// Returns the keys as a JSON Web Key Set (RFC 7517).
fn jwks(keys: &[PublicKey]) -> String {
    let jwk = |key: &PublicKey| {
        let JwkMaterial { kty, crv, alg, x, y } = key.material.jwk();
        let mut jwk =
            json!({ "kty": kty, "crv": crv, "alg": alg, "use": "sig", "kid": key.kid, "x": x });
        if let Some(y) = y {
            jwk["y"] = json!(y);
        }
        jwk
    };
    json!({ "keys": keys.iter().map(jwk).collect::<Vec<_>>() }).to_string()
}

/// Returns the actor of audit entries: the operating system's user.
fn operator() -> Actor {
    let user =
        ["SUDO_USER", "USER", "LOGNAME"].into_iter().find_map(|name| std::env::var(name).ok());
    Actor {
        name: format!("operator:{}", user.as_deref().unwrap_or("unknown")),
        source: "registryctl".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
