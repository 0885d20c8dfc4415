//! `cargo xtask bench`: measures a release build against limits that are measured in the same run.
//!
//! Benches and not tests: machines are shared and noisy. Everything is run several times, medians
//! are printed, and what counts is the ratio to the limit. How to read the tables is in
//! `docs/performance.md`.

mod driver;
mod fleet;
mod machine;
mod pages;
mod pgbench;
mod seed;
mod service;
mod start;

use anyhow::Result;
use clap::Args;

use crate::run;

/// What to measure.
#[derive(Args)]
pub(crate) struct Options {
    /// Only how long registryd takes to start
    #[arg(long, group = "only")]
    only_start: bool,
    /// Only how long the pages take
    #[arg(long, group = "only")]
    only_pages: bool,
    /// Only what PostgreSQL carries
    #[arg(long, group = "only")]
    only_postgres: bool,
    /// How many tenants there are when the measuring begins; given twice, the two are compared
    #[arg(long, value_name = "N", default_values_t = [10_000, 1_000_000])]
    tenants: Vec<u64>,
    /// How often everything is measured
    #[arg(long, value_name = "N", default_value_t = 3)]
    rounds: usize,
}

/// Builds a release, measures, prints the tables.
///
/// # Errors
/// Where something does not start or answers what it should not.
pub(crate) fn run(options: &Options) -> Result<()> {
    let packages = ["--package", "registryd", "--package", "registryctl"];
    let build = [&["build", "--quiet", "--release"][..], &packages].concat();
    run::run(&mut run::command("cargo", &build))?;
    let is_all = !(options.only_start || options.only_pages || options.only_postgres);
    if is_all || options.only_start {
        start::run()?;
    }
    if is_all || options.only_pages {
        pages::run()?;
    }
    if is_all || options.only_postgres {
        fleet::run(&options.tenants, options.rounds)?;
    }
    Ok(())
}
