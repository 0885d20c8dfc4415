//! `appliance-setup`: installs an appliance at its first boot, and renews its license about once a
//! day.
//!
//! Exit codes: 0 done; 1 failed; 2 wrong usage; 3 refused (by the registry, or by `bootstrap`);
//! 5 the service could not be reached in the allowed attempts; 130 interrupted; 143 terminated
//! (`run`).

#![expect(clippy::print_stderr, reason = "a command line talks to the terminal")]

mod bootstrap;
mod check_in;
mod doctor;
mod offline;
mod options;
mod page;
mod rules;
mod run;
mod status;
mod stored_options;
mod support_bundle;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use appliance_install::{Install, appliance_id, license_state};
use clap::{Args, Parser, Subcommand};
use terminal_text::{printable_json, printable_lines};

use crate::status::Status;

/// Installs an appliance at its first boot, and renews its license.
///
/// Exit codes: 0 done; 1 failed; 2 wrong usage; 3 refused (by the registry, or by `bootstrap`);
/// 5 the service could not be reached in the allowed attempts; 130 interrupted; 143 terminated
/// (`run`).
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(flatten)]
    state_args: StateArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Args)]
struct StateArgs {
    /// Folder for the state of the installation, which contains secrets.
    #[arg(
        long,
        env = "APPLIANCE_STATE",
        default_value = "/var/lib/appliance-setup",
        value_name = "DIR",
        global = true
    )]
    state: PathBuf,
    /// File with this machine's id.
    #[arg(long, default_value = "/etc/machine-id", value_name = "FILE", global = true)]
    machine_id: PathBuf,
}

#[derive(Subcommand)]
enum Command {
    #[command(flatten)]
    Installation(Box<InstallationCommand>),
    /// Creates the tenant, its administrator and the license in the product's database. Runs as a
    /// Job that reads the Secrets as its environment.
    Bootstrap(bootstrap::JobArgs),
}

/// Commands that work on the installation in the state folder.
#[derive(Subcommand)]
enum InstallationCommand {
    /// Serves the first-boot page, and installs with the data entered there.
    Serve(page::ServeArgs),
    /// Installs unattended, or resumes an interrupted installation.
    Run(run::RunArgs),
    /// Writes a request file, for an appliance without a network.
    Request(offline::RequestArgs),
    /// Installs with the vendor's answer to the request file.
    Apply(offline::ApplyArgs),
    /// Checks in now, and stores a renewed license.
    CheckIn(check_in::CheckInArgs),
    /// Runs as a service, and checks in whenever a check-in is due, at the time that the registry
    /// set.
    Agent(check_in::CheckInArgs),
    /// Shows the state of the installation and of the license.
    Status {
        /// Prints JSON.
        #[arg(long)]
        json: bool,
    },
    /// Checks what an installation needs: the state folder, the service with its name, network,
    /// proxy, certificate and keys, the clock, and the product. Spends no code.
    Doctor(doctor::DoctorArgs),
    /// Writes diagnostics for the vendor's support, without secrets.
    SupportBundle(support_bundle::SupportBundleArgs),
    /// Deletes the state of the installation, including the entered code. The product and its
    /// Secrets are not touched.
    Reset {
        /// Confirms the deletion.
        #[arg(long)]
        yes: bool,
    },
}

fn main() -> ExitCode {
    let Cli { state_args, command } = Cli::parse();
    let result = match command {
        Command::Installation(command) => execute(&state_args, *command),
        // The Job runs in the product's cluster, where no installation state exists.
        Command::Bootstrap(args) => bootstrap::run(&args),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            report(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn execute(state_args: &StateArgs, command: InstallationCommand) -> anyhow::Result<ExitCode> {
    let state = state_args.state.as_path();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the asynchronous runtime cannot be started")?;
    let open = || {
        Install::open(state, read_appliance_id(&state_args.machine_id))
            .context("the state of the installation cannot be read")
    };
    let lock = || Install::lock(state);
    match command {
        InstallationCommand::Serve(args) => {
            let _lock = lock()?;
            runtime.block_on(page::serve(open()?, &args, state))
        }
        InstallationCommand::Run(args) => {
            let _lock = lock()?;
            runtime.block_on(run::run(open()?, &args, state))
        }
        InstallationCommand::Request(args) => {
            let _lock = lock()?;
            offline::write_request(&open()?, &args, state)
        }
        InstallationCommand::Apply(args) => {
            let _lock = lock()?;
            runtime.block_on(offline::apply(open()?, &args, state))
        }
        InstallationCommand::Reset { yes: false } => {
            bail!(
                "nothing was deleted. To start over, repeat the command with --yes; the next \
                 installation needs a re-issued code"
            )
        }
        InstallationCommand::Reset { yes: true } => {
            let _lock = lock()?;
            let namespace = stored_options::stored_namespace(state);
            Install::reset(state)?;
            let Some(namespace) = namespace else { return Ok(ExitCode::SUCCESS) };
            print_line(&format!(
                "The state is deleted. The product and its Secrets remain in the namespace \
                 `{namespace}`: name it with --namespace to install there again."
            ))
        }
        // The commands below do not change the installation, so they need no lock on it.
        InstallationCommand::CheckIn(args) => runtime.block_on(check_in::once(&args, state)),
        InstallationCommand::Agent(args) => runtime.block_on(check_in::agent(&args, state)),
        InstallationCommand::Status { json } => {
            let status = Status::new(open()?.step(), license_state(state)?);
            if json { print_json(&status.json()) } else { print_line(&status.text()) }
        }
        InstallationCommand::Doctor(args) => runtime.block_on(doctor::run(&args, state)),
        InstallationCommand::SupportBundle(args) => {
            runtime.block_on(support_bundle::run(open(), &args, state))
        }
    }
}

/// Reports on standard error. The service, the cluster and the product write some of the texts, so
/// control characters are escaped.
pub(crate) fn report(text: &str) {
    eprintln!("appliance-setup: {}", printable_lines(text));
}

/// Prints lines of text on standard output, with their control characters escaped.
pub(crate) fn print_line(text: &str) -> anyhow::Result<ExitCode> {
    write_line(&printable_lines(text))
}

/// Prints JSON on standard output, with its control characters escaped.
pub(crate) fn print_json(value: &serde_json::Value) -> anyhow::Result<ExitCode> {
    write_line(&printable_json(&value.to_string()))
}

/// Writes a line to standard output. A closed pipe or a full disk is an error, not a panic.
fn write_line(text: &str) -> anyhow::Result<ExitCode> {
    let mut output = std::io::stdout().lock();
    writeln!(output, "{text}")
        .and_then(|()| output.flush())
        .context("standard output cannot be written")?;
    Ok(ExitCode::SUCCESS)
}

/// Derives the appliance's id from the machine id and the host name.
fn read_appliance_id(machine_id: &Path) -> String {
    let read = |path: &Path| std::fs::read_to_string(path).ok();
    let host_name = read(Path::new("/proc/sys/kernel/hostname")).unwrap_or_default();
    appliance_id(read(machine_id).as_deref(), host_name.trim())
}

/// Reads a secret from a file, or from standard input if the path is `-`. Secrets are never
/// arguments, because other users of the machine can see those.
fn read_secret(path: &Path) -> anyhow::Result<appliance_install::SecretText> {
    let text = if path == Path::new("-") {
        std::io::read_to_string(std::io::stdin()).context("standard input cannot be read")?
    } else {
        std::fs::read_to_string(path)
            .with_context(|| format!("{} cannot be read", path.display()))?
    };
    let text = zeroize::Zeroizing::new(text);
    Ok(appliance_install::SecretText::new(text.trim().to_owned()))
}

/// Draws random bytes from the operating system.
#[expect(clippy::disallowed_methods, reason = "the appliance's own program has no `Entropy` port")]
pub(crate) fn random<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).context("the operating system provides no random bytes")?;
    Ok(bytes)
}
