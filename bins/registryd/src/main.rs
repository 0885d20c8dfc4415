//! `registryd`: the registry as a service.
//!
//! Standard output gets one line, with the address on which the service listens. Everything else
//! goes to the log on standard error.

mod attack;
mod check;
mod limits;
mod logging;
mod serve;

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use terminal_text::printable_lines;

/// The Appliance Registry's HTTP service. Without a configuration it listens on 127.0.0.1:8080 and
/// stores its data in ./registry-data.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    task: Option<Task>,
    #[command(flatten)]
    options: Options,
}

#[derive(Subcommand)]
enum Task {
    /// Runs the service (the default).
    Serve(Options),
    /// Checks the configuration: prints every setting with its origin, and everything that is
    /// wrong. Changes nothing, and connects to nothing.
    Check(Options),
}

#[derive(Args, Clone)]
struct Options {
    /// Path of the data folder; also as `REGISTRY_DATA`.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Address to listen on; also as `REGISTRY_LISTEN`.
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Path of the configuration file; also as `REGISTRY_CONFIG`.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Requests make many small allocations on several threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let Cli { task, options } = Cli::parse();
    let ended = match task {
        Some(Task::Serve(options)) => serve::run(options),
        Some(Task::Check(options)) => check::run(options),
        None => serve::run(options),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Not through the log, whose configuration may be the error.
            let error = format!("{error:#}");
            drop(writeln!(std::io::stderr(), "registryd: {}", printable_lines(&error)));
            ExitCode::FAILURE
        }
    }
}
