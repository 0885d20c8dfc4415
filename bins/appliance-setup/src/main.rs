//! `appliance-setup`: the first boot of an appliance, and its daily check-in.
//!
//! Exit codes: 0 done; 1 failed; 2 wrong usage; 3 the code was refused; 5 the service was not
//! reached in as many tries as were allowed; 130 interrupted.

#![expect(clippy::print_stderr, reason = "a command line talks to the terminal")]

mod bootstrap;
mod check_in;
mod offline;
mod options;
mod page;
mod rules;
mod run;
mod status;
mod support_bundle;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use appliance_install::{Install, appliance_id, license_state};
use clap::{Args, Parser, Subcommand};

use crate::status::Status;

/// First boot of an appliance: redeems an install code and hands the identity to the product.
///
/// Exit codes: 0 done; 1 failed; 2 wrong usage; 3 the code was refused; 5 the service was not
/// reached; 130 interrupted.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(flatten)]
    place: StateArgs,
    #[command(subcommand)]
    task: Task,
}

#[derive(Args)]
struct StateArgs {
    /// Where the installation is written down; it holds secrets until all is done.
    #[arg(
        long,
        env = "APPLIANCE_STATE",
        default_value = "/var/lib/appliance-setup",
        value_name = "DIR",
        global = true
    )]
    state: PathBuf,
    /// The file with this machine's id.
    #[arg(long, default_value = "/etc/machine-id", value_name = "FILE", global = true)]
    machine_id: PathBuf,
}

#[derive(Subcommand)]
enum Task {
    #[command(flatten)]
    Here(Box<Here>),
    /// Brings the tenant, its administrator and the license into the product's database: the Job
    /// that reads the Secrets.
    Bootstrap(bootstrap::Bootstrap),
}

/// What is done with the installation in the state folder.
#[derive(Subcommand)]
enum Here {
    /// Serves the first-boot page, and installs what is entered there.
    Serve(page::Serve),
    /// Installs unattended, or goes on where an installation was broken off.
    Run(run::Run),
    /// Writes a request, for an appliance without a network.
    Request(offline::Request),
    /// Takes the answer to the request, and installs.
    Apply(offline::Apply),
    /// Checks in once, now, and takes a new license where one is due.
    CheckIn(check_in::CheckIn),
    /// Checks in whenever the registry asks for it, until it is told to end.
    Agent(check_in::CheckIn),
    /// Says where the installation is, and how the license stands.
    Status {
        /// Prints JSON.
        #[arg(long)]
        json: bool,
    },
    /// Writes down what a vendor needs to help, without secrets.
    SupportBundle(support_bundle::Bundle),
    /// Forgets the installation, and the code that was entered. What was handed to the product
    /// stays there.
    Reset {
        /// Does not ask.
        #[arg(long)]
        yes: bool,
    },
}

fn main() -> ExitCode {
    let Cli { place, task } = Cli::parse();
    let done = match task {
        Task::Here(task) => perform(&place, *task),
        // It runs in the product's cluster, where there is no installation.
        Task::Bootstrap(asked) => bootstrap::perform(&asked),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("appliance-setup: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn perform(place: &StateArgs, task: Here) -> anyhow::Result<ExitCode> {
    let state = place.state.as_path();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    let open = || {
        Install::open(state, id(&place.machine_id))
            .context("the installation cannot be gone on with")
    };
    let lock = || Install::lock(state);
    match task {
        Here::Serve(asked) => {
            let _lock = lock()?;
            runtime.block_on(page::serve(open()?, &asked, state))
        }
        Here::Run(asked) => {
            let _lock = lock()?;
            runtime.block_on(run::perform(open()?, &asked, state))
        }
        Here::Request(asked) => {
            let _lock = lock()?;
            offline::ask(&open()?, &asked, state)
        }
        Here::Apply(asked) => {
            let _lock = lock()?;
            runtime.block_on(offline::apply(open()?, &asked, state))
        }
        Here::Reset { yes: false } => {
            bail!("nothing was forgotten: say --yes to start over, with a re-issued code")
        }
        Here::Reset { yes: true } => {
            let _lock = lock()?;
            Install::reset(state)?;
            Ok(ExitCode::SUCCESS)
        }
        // These change nothing of the installation, and go on beside it.
        Here::CheckIn(asked) => runtime.block_on(check_in::once(&asked, state)),
        Here::Agent(asked) => runtime.block_on(check_in::agent(&asked, state)),
        Here::Status { json } => {
            let status = Status::of(open()?.step(), license_state(state)?);
            say(&if json { status.json().to_string() } else { status.text() })
        }
        Here::SupportBundle(asked) => {
            runtime.block_on(support_bundle::perform(open(), &asked, state))
        }
    }
}

/// A line on standard output; a pipe that nobody reads any more, or a full disk, is an error and no
/// panic.
pub(crate) fn say(text: &str) -> anyhow::Result<ExitCode> {
    let mut output = std::io::stdout().lock();
    writeln!(output, "{text}")
        .and_then(|()| output.flush())
        .context("standard output cannot be written")?;
    Ok(ExitCode::SUCCESS)
}

/// What this appliance calls itself.
fn id(machine_id: &Path) -> String {
    let read = |path: &Path| std::fs::read_to_string(path).ok();
    let host_name = read(Path::new("/proc/sys/kernel/hostname")).unwrap_or_default();
    appliance_id(read(machine_id).as_deref(), host_name.trim())
}

/// Reads a secret out of a file, or, where that is `-`, from standard input: never from an
/// argument, which others can see.
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

#[expect(
    clippy::disallowed_methods,
    reason = "the appliance's own program: there is no port to ask"
)]
pub(crate) fn random<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).context("this machine has no randomness")?;
    Ok(bytes)
}
