//! `cargo xtask …`: the commands that developers and CI run on this workspace.
//!
//! This is a Rust program and not a folder of scripts, so it is linted and tested like the rest.
//! Each module is one command. Its decisions (steps, arguments, findings) are pure functions,
//! separate from the code that starts other programs.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command prints its results")]

mod bench;
mod ci;
mod configuration;
mod demo;
mod deps;
mod guards;
mod run;
mod test;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Commands for developers of this workspace.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

/// The commands.
#[derive(Subcommand)]
enum Task {
    /// Run all tests, including those in the documentation
    Test {
        /// Arguments for the test runner, for example a filter. With arguments, the documentation's
        /// tests are skipped
        #[arg(last = true)]
        extra: Vec<String>,
    },
    /// Run all checks that CI runs
    Ci {
        /// Skip the tests
        #[arg(long)]
        skip_test: bool,
    },
    /// Check that dependencies between our crates point down, and print them
    Deps,
    /// Write docs/configuration.md from the configuration's types
    Configuration,
    /// Measure a release build: time to start, response times of the web pages, throughput
    /// compared to PostgreSQL and SQLite alone, and a herd of appliances that check in at once
    Bench(bench::Options),
    /// Play the whole story of two customers on a new registryd, using only public interfaces:
    /// register, mail, download, install, reinstall
    Demo {
        /// The image that customers download; without it, the demo generates one
        #[arg(long, value_name = "FILE")]
        iso: Option<PathBuf>,
        /// Use a temporary PostgreSQL instead of SQLite
        #[arg(long)]
        postgres: bool,
        /// Store the image in a temporary object store instead of the data folder
        #[arg(long)]
        s3: bool,
        /// Send mails through a temporary mail server instead of writing them to a folder
        #[arg(long)]
        smtp: bool,
    },
    /// Run the tests that measure load and memory, at full size, with a release build
    Soak,
}

fn main() -> ExitCode {
    match run_task(&Cli::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run_task(task: &Task) -> Result<()> {
    match task {
        Task::Test { extra } => test::run(extra),
        Task::Ci { skip_test } => ci::run(*skip_test),
        Task::Deps => deps::run(),
        Task::Configuration => configuration::run(),
        Task::Bench(options) => bench::run(options),
        Task::Demo { iso, postgres, s3, smtp } => {
            let servers = demo::ServerOptions { postgres: *postgres, s3: *s3, smtp: *smtp };
            demo::run(iso.as_deref(), servers)
        }
        Task::Soak => test::soak(),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn command_line_is_valid() {
        Cli::command().debug_assert();
    }

    #[test]
    fn arguments_after_dashes_reach_test_runner() {
        let cli = Cli::parse_from(["cargo xtask", "test", "--", "--no-capture", "redeem"]);
        assert!(matches!(cli.task, Task::Test { extra } if extra == ["--no-capture", "redeem"]));
    }
}
