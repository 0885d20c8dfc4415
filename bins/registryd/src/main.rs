//! `registryd`: the registry as a service.
//!
//! Standard output carries one line, when it listens; everything else goes to the log on standard
//! error.

mod logging;
mod serve;

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

/// The Appliance Registry's HTTP service. Without a configuration it listens on 127.0.0.1:8080 and
/// keeps everything in ./registry-data.
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
    /// Serves (the default).
    Serve(Options),
}

#[derive(Args, Clone)]
struct Options {
    /// The data folder.
    #[arg(long, env = "REGISTRY_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
    /// The address to listen on.
    #[arg(long, env = "REGISTRY_LISTEN", value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// The configuration file.
    #[arg(long, env = "REGISTRY_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Requests make many small allocations on several threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let Cli { task, options } = Cli::parse();
    let options = match task {
        Some(Task::Serve(options)) => options,
        None => options,
    };
    match serve::run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Not through the log: that may be what is set wrong.
            drop(writeln!(std::io::stderr(), "registryd: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
