//! `cargo xtask bench`: compares a release build with limits that are measured in the same run.
//!
//! These are benches and not tests, since machines are shared and noisy. Each measurement runs
//! several times, and the bench prints medians. What counts is the ratio to the limit.
//! `docs/performance.md` explains the tables.

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

/// Options of the bench.
#[derive(Args)]
pub(crate) struct Options {
    /// Measure only the time that registryd takes to start
    #[arg(long, group = "only")]
    only_start: bool,
    /// Measure only the response times of the web pages
    #[arg(long, group = "only")]
    only_pages: bool,
    /// Measure only the throughput on PostgreSQL
    #[arg(long, group = "only")]
    only_postgres: bool,
    /// Number of tenants in the database; give it twice to compare two fleets
    #[arg(long, value_name = "N", default_values_t = [10_000, 1_000_000])]
    tenants: Vec<u64>,
    /// Number of measurements of each change
    #[arg(long, value_name = "N", default_value_t = 3)]
    rounds: usize,
}

/// Builds a release, measures it, and prints the tables.
///
/// # Errors
/// If a program does not start, a response is not the expected one, or a page or a start takes too
/// long.
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
