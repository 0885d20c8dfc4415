//! `cargo xtask …`: everything that a developer or the CI runs on this workspace.
//!
//! It is a program and no folder of scripts, so that it is read, linted and tested like the rest.
//! Each module is one command; what it decides (which steps, which arguments, what is wrong) is a
//! pure function beside the part that starts other programs.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command talks to the terminal")]

mod bench;
mod ci;
mod demo;
mod deps;
mod guards;
mod run;
mod test;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Runs what a developer needs on this workspace.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

/// One variant a command.
#[derive(Subcommand)]
enum Task {
    /// Run all tests, the documentation's among them
    Test {
        /// Given to the test runner as they are, a filter for example; documentation tests are left
        /// out then
        #[arg(last = true)]
        extra: Vec<String>,
    },
    /// Check all that the CI checks
    Ci {
        /// Leave out the tests
        #[arg(long)]
        skip_test: bool,
    },
    /// Check that the arrows between our crates point down, and print them
    Deps,
    /// Measure a release build: how long it takes to start, and what it reaches of what the
    /// database alone could
    Bench(bench::Options),
    /// Tell a customer's whole story to a fresh registryd, from outside: register, mail, download,
    /// install, reinstall
    Demo {
        /// The image that customers download; one is made up unless given
        #[arg(long, value_name = "FILE")]
        iso: Option<PathBuf>,
        /// On a throwaway PostgreSQL, instead of SQLite
        #[arg(long)]
        postgres: bool,
        /// With the image in a throwaway object store, instead of the data folder
        #[arg(long)]
        s3: bool,
        /// With mails through a throwaway mail server, instead of the mailbox folder
        #[arg(long)]
        smtp: bool,
    },
    /// Run the tests that can be large as large as they get, built for release, and print what they
    /// measured
    Soak,
}

fn main() -> ExitCode {
    match perform(&Cli::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn perform(task: &Task) -> Result<()> {
    match task {
        Task::Test { extra } => test::run(extra),
        Task::Ci { skip_test } => ci::run(*skip_test),
        Task::Deps => deps::run(),
        Task::Bench(options) => bench::run(options),
        Task::Demo { iso, postgres, s3, smtp } => {
            demo::run(iso.as_deref(), demo::Chosen { postgres: *postgres, s3: *s3, smtp: *smtp })
        }
        Task::Soak => test::soak(),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_stands_after_two_dashes_goes_to_the_test_runner() {
        let cli = Cli::parse_from(["cargo xtask", "test", "--", "--no-capture", "redeem"]);
        assert!(matches!(cli.task, Task::Test { extra } if extra == ["--no-capture", "redeem"]));
    }
}
