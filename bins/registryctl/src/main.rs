//! `registryctl`: the registry's admin command line. It works on the same data and the same
//! configuration as `registryd`, whether that is running or not.
//!
//! Exit codes: 0 done; 1 failed; 2 wrong usage; 3 refused; 4 not found; 5 busy or unavailable, try
//! again; 130 interrupted.

#![expect(clippy::print_stderr, reason = "a command line says there what went wrong")]

mod appliance;
mod code;
mod confirm;
mod entitlement;
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

use anyhow::{Context as _, anyhow};
use clap::{Args, Parser, Subcommand};
use registry_core::audit::Actor;
use registry_core::license::{JwkMaterial, PublicKey};
use registry_core::store::StoreError;
use registry_core::{Error, Refusal};
use registry_wiring::{Config, DataFolder};
use serde_json::json;

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
    group: Group,
}

#[derive(Args)]
struct Options {
    /// The data folder.
    #[arg(long, env = "REGISTRY_DATA", value_name = "DIR", global = true)]
    data: Option<PathBuf>,
    /// The configuration file.
    #[arg(long, env = "REGISTRY_CONFIG", value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Prints JSON.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Group {
    #[command(flatten)]
    RegistryCommand(RegistryCommand),
    #[command(flatten)]
    Maintenance(maintenance::Task),
    /// Lists and changes the keys that licenses are signed with.
    #[command(subcommand)]
    Keys(keys::Task),
    /// Makes, lists and revokes the tokens that services and operators call with.
    #[command(subcommand)]
    Token(token::Task),
}

/// What is done with the registry.
#[derive(Subcommand)]
enum RegistryCommand {
    /// Registers, lists and shows tenants.
    #[command(subcommand)]
    Tenant(tenant::Task),
    /// Re-issues install codes.
    #[command(subcommand)]
    Code(code::Task),
    /// Answers appliances without a network.
    #[command(subcommand)]
    Offline(offline::Task),
    /// Publishes images, withdraws them, goes back to earlier ones.
    #[command(subcommand)]
    Release(release::Task),
    /// Looks after the outbox, and shows what mails look like.
    #[command(subcommand)]
    Mail(Mail),
    /// Deletes what ended long ago, as registryd does by itself (`retention`).
    Sweep(sweep::Sweep),
    /// Lists and revokes appliances.
    #[command(subcommand)]
    Appliance(appliance::Task),
    /// Shows and changes what customers have paid for.
    #[command(subcommand)]
    Entitlement(entitlement::Task),
    /// Signs and inspects licenses.
    #[command(subcommand)]
    License(License),
}

#[derive(Subcommand)]
enum License {
    #[command(flatten)]
    Task(license::Task),
    /// Says what a license says, and whether it holds: that is `state`; the exit code says only
    /// whether it could be read.
    Inspect(license::Inspect),
}

#[derive(Subcommand)]
enum Mail {
    #[command(flatten)]
    Task(mail::Task),
    /// Writes a mail with made-up contents, to look at in a browser.
    Preview(mail::Preview),
}

/// Ctrl-C.
#[derive(Debug, thiserror::Error)]
#[error("interrupted: {0}")]
pub(crate) struct Interrupted(&'static str);

fn main() -> ExitCode {
    let cli = Cli::parse();
    let json = cli.options.json;
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error, json);
            ExitCode::from(exit_code(&error))
        }
    }
}

/// Says what went wrong, unless nobody reads: whoever closed the pipe knows.
fn complain(error: &anyhow::Error, json: bool) {
    let is_pipe = |cause: &std::io::Error| cause.kind() == std::io::ErrorKind::BrokenPipe;
    if error.downcast_ref().is_some_and(is_pipe) {
        return;
    }
    let next_step = match error.downcast_ref() {
        Some(Error::Refused(refusal)) => refusal.next_step(None),
        _ => None,
    };
    if json {
        eprintln!("{}", json!({ "error": format!("{error:#}"), "next_step": next_step }));
    } else {
        let next_step = next_step.map(|step| format!(" {step}")).unwrap_or_default();
        eprintln!("registryctl: {error:#}{next_step}");
    }
}

fn run(cli: Cli) -> anyhow::Result<()> {
    let Options { data, config, json } = cli.options;
    let config = Config::load_over(config.as_deref(), data, None)?;
    let output = Output { json };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no runtime")?;
    match cli.group {
        Group::Keys(_) | Group::Token(_) if is_new(&config) => Err(no_registry(&config)),
        Group::Keys(task) => keys::perform(&config, task, output),
        Group::Token(task) => token::perform(&config, task, output),
        Group::Maintenance(task) => runtime.block_on(maintenance::perform(&config, task, output)),
        Group::RegistryCommand(RegistryCommand::License(License::Inspect(asked)))
            if asked.keys.is_some() =>
        {
            license::inspect(&asked, "", output)
        }
        Group::RegistryCommand(RegistryCommand::Mail(Mail::Preview(asked))) => {
            mail::preview(&config, &asked, output)
        }
        Group::RegistryCommand(task) => runtime.block_on(with_registry(&config, task, output)),
    }
}

fn is_new(config: &Config) -> bool {
    !config.database.is_postgres() && !config.data.join("registry.db").exists()
}

fn no_registry(config: &Config) -> anyhow::Error {
    anyhow!("there is no registry in {}: name its data folder with --data", config.data.display())
}

async fn with_registry(
    config: &Config,
    task: RegistryCommand,
    output: Output,
) -> anyhow::Result<()> {
    let may_make_one = matches!(
        task,
        RegistryCommand::Tenant(tenant::Task::Register(_))
            | RegistryCommand::Release(release::Task::Publish(_))
    );
    if is_new(config) && !may_make_one {
        return Err(no_registry(config));
    }
    if is_new(config) {
        eprintln!("registryctl: a new registry is made in {}", config.data.display());
    }
    let noted = DataFolder::open(&config.data)?.noted_public_url();
    let public_url =
        config.public_url.clone().or(noted).unwrap_or_else(|| format!("http://{}", config.listen));
    let registry = registry_wiring::build(config, &public_url).await?.registry;
    match task {
        RegistryCommand::Tenant(task) => tenant::perform(&registry, task, output).await,
        RegistryCommand::Code(task) => code::perform(&registry, task, output).await,
        RegistryCommand::Offline(task) => offline::perform(&registry, task, output).await,
        RegistryCommand::Release(task) => release::perform(&registry, task, output).await,
        RegistryCommand::Mail(Mail::Task(task)) => mail::perform(&registry, task, output).await,
        RegistryCommand::Mail(Mail::Preview(asked)) => mail::preview(config, &asked, output),
        RegistryCommand::Sweep(asked) => sweep::perform(&registry, &asked, output).await,
        RegistryCommand::Appliance(task) => appliance::perform(&registry, task, output).await,
        RegistryCommand::Entitlement(task) => entitlement::perform(&registry, task, output).await,
        RegistryCommand::License(License::Task(task)) => {
            license::perform(&registry, task, output).await
        }
        RegistryCommand::License(License::Inspect(asked)) => {
            license::inspect(&asked, &jwks(&registry.public_keys()), output)
        }
    }
}

/// The keys as a JSON Web Key Set (RFC 7517).
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

/// Whom the audit names: the operating system's user.
fn operator() -> Actor {
    let user =
        ["SUDO_USER", "USER", "LOGNAME"].into_iter().find_map(|name| std::env::var(name).ok());
    Actor {
        name: format!("operator:{}", user.as_deref().unwrap_or("unknown")),
        source: "registryctl".to_owned(),
    }
}

fn exit_code(error: &anyhow::Error) -> u8 {
    let store = |error: &StoreError| match error {
        StoreError::Contended(_) | StoreError::Unavailable(_) => 5,
        StoreError::Corrupt(_) => 1,
    };
    let refusal = |refusal: &Refusal| {
        let missing = matches!(
            refusal,
            Refusal::TenantNotFound
                | Refusal::EntitlementNotFound
                | Refusal::ApplianceNotFound
                | Refusal::ReleaseNotFound
                | Refusal::MailNotFound
        );
        if missing { 4 } else { 3 }
    };
    if error.is::<Interrupted>() {
        return 130;
    }
    match error.downcast_ref::<Error>() {
        Some(Error::Refused(refused)) => refusal(refused),
        Some(Error::Store(error)) => store(error),
        Some(Error::Blob(_)) => 5,
        Some(Error::Decide(_)) => 1,
        None => match (error.downcast_ref::<Refusal>(), error.downcast_ref::<StoreError>()) {
            (Some(refused), _) => refusal(refused),
            (None, Some(error)) => store(error),
            (None, None) => 1,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn exit_codes_tell_refused_not_found_and_busy_apart() {
        let busy = || StoreError::Contended("x".to_owned());
        for (error, code) in [
            (anyhow::Error::from(Error::Refused(Refusal::TenantSuspended)), 3),
            (Error::Refused(Refusal::TenantNotFound).into(), 4),
            (Refusal::TenantNotFound.into(), 4),
            (Error::Store(busy()).into(), 5),
            (anyhow::Error::from(busy()).context("opening"), 5),
            (Error::Store(StoreError::Corrupt("x".to_owned())).into(), 1),
            (anyhow::anyhow!("x"), 1),
        ] {
            assert_eq!(exit_code(&error), code, "{error:?}");
        }
    }
}
