//! `cargo xtask bench`: compares a release build with limits that are measured in the same run.
//!
//! These are benches and not tests, since machines are shared and noisy. Each measurement runs
//! several times, and the bench prints medians. What counts is the ratio to the limit.
//! `docs/performance.md` explains the tables.

mod aims;
mod driver;
mod fleet;
mod herd;
mod machine;
mod measure;
mod pages;
mod pgbench;
mod progress;
mod report;
mod requests;
mod seed;
mod service;
mod sqlite;
mod start;
mod strangers;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, value_parser};

use self::progress::{Phase, Progress};
use self::service::Programs;

/// Options of the bench.
#[derive(Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
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
    /// Measure only the throughput on the embedded store, SQLite
    #[arg(long, group = "only")]
    only_sqlite: bool,
    /// Measure only a herd: 10,000 appliances that check in at once
    #[arg(long, group = "only")]
    only_herd: bool,
    /// Measure only customers beside strangers who guess codes
    #[arg(long, group = "only")]
    only_strangers: bool,
    /// Number of tenants in the PostgreSQL database; give it twice to compare two fleets
    #[arg(long, value_name = "N", default_values_t = [10_000, 1_000_000])]
    tenants: Vec<u64>,
    /// Number of measurements of each change
    #[arg(long, value_name = "N", default_value_t = 3)]
    #[arg(value_parser = value_parser!(u64).range(1..))]
    rounds: u64,
    /// Measure this registryd instead of building a release. The pages also need the registryctl
    /// in the same folder
    #[arg(long, value_name = "PATH")]
    registryd: Option<PathBuf>,
}

/// Parts of the bench, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Start,
    Pages,
    Postgres,
    Sqlite,
    Herd,
    Strangers,
}

impl Options {
    /// Returns the parts to run: all of them, or the only one.
    fn parts(&self) -> Vec<Part> {
        let only = [
            (self.only_start, Part::Start),
            (self.only_pages, Part::Pages),
            (self.only_postgres, Part::Postgres),
            (self.only_sqlite, Part::Sqlite),
            (self.only_herd, Part::Herd),
            (self.only_strangers, Part::Strangers),
        ];
        let is_all = only.iter().all(|(is_only, _)| !is_only);
        only.into_iter().filter(|(is_only, _)| is_all || *is_only).map(|(_, part)| part).collect()
    }

    /// Returns the phases of a part, with their expected durations.
    fn phases(&self, part: Part) -> Vec<Phase> {
        match part {
            Part::Start => vec![start::phase()],
            Part::Pages => vec![pages::phase()],
            Part::Postgres => {
                self.tenants.iter().map(|&tenants| fleet::phase(tenants, self.rounds)).collect()
            }
            Part::Sqlite => vec![sqlite::phase(self.rounds)],
            Part::Herd => vec![herd::phase()],
            Part::Strangers => vec![strangers::phase()],
        }
    }
}

/// Builds a release, measures it, and prints the tables.
///
/// # Errors
/// If a program does not start, a response is not the expected one, a page or a start takes too
/// long, or a limit is slower than registryd.
pub(crate) fn run(options: &Options) -> Result<()> {
    let programs = match &options.registryd {
        Some(registryd) => Programs::at(registryd)?,
        None => Programs::build()?,
    };
    let parts = options.parts();
    let phases: Vec<_> = parts.iter().flat_map(|&part| options.phases(part)).collect();
    let progress = Progress::start(&phases);
    for part in parts {
        match part {
            Part::Start => start::run(&programs, &progress)?,
            Part::Pages => pages::run(&programs, &progress)?,
            Part::Postgres => {
                fleet::run(&programs, &progress, &options.tenants, options.rounds)?;
            }
            Part::Sqlite => sqlite::run(&programs, &progress, options.rounds)?,
            Part::Herd => herd::run(&programs, &progress)?,
            Part::Strangers => strangers::run(&programs, &progress)?,
        }
    }
    progress.report("finished");
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::{Command, FromArgMatches as _};

    use super::*;

    fn options(arguments: &[&str]) -> Options {
        let command = Options::augment_args(Command::new("bench").no_binary_name(true));
        Options::from_arg_matches(&command.get_matches_from(arguments)).unwrap()
    }

    #[test]
    fn one_part_or_all_run() {
        assert_eq!(options(&["--only-sqlite"]).parts(), [Part::Sqlite]);
        assert_eq!(options(&[]).parts().len(), 6);
    }

    #[test]
    fn default_run_is_expected_to_take_less_than_16_minutes() {
        let options = options(&[]);
        let phases = options.parts().into_iter().flat_map(|part| options.phases(part));
        let seconds: u64 = phases.map(|phase| phase.expected.as_secs()).sum();
        assert!(seconds < 16 * 60, "{seconds} seconds");
    }
}
