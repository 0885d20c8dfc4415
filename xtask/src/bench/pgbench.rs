//! The limit on PostgreSQL: the throughput of the database alone, with one prepared statement for
//! the whole change, which writes the same rows as registryd. No client that commits each change by
//! itself could get more out of this database.
//!
//! The plan must not depend on statistics: for a redemption, the planner chose an index scan over
//! all unused codes, which is fifty times slower. So each lookup is a subselect with `LIMIT 1`,
//! which the planner does not merge with other conditions, and the settings below leave only index
//! scans and nested loops.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use throwaway_postgres::Cluster;

use super::measure::{Change, Figures};

/// Settings of the connections that measure the limit.
const PLANNER: &str = "-c plan_cache_mode=force_generic_plan -c jit=off -c enable_seqscan=off \
                       -c enable_bitmapscan=off -c enable_hashjoin=off -c enable_mergejoin=off";

/// Returns the statement that writes the same rows as registryd does for this change.
fn script(change: Change) -> &'static str {
    match change {
        // Inserts tenant, entitlement, code, mail and three audit entries.
        Change::Register => include_str!("register.sql"),
        // Updates tenant and code, and inserts appliance, credential and an audit entry.
        Change::Redeem => include_str!("redeem.sql"),
        // Updates the time of the last check-in.
        Change::CheckIn => include_str!("check_in.sql"),
        // Updates the appliance, and inserts an audit entry.
        Change::CheckInSigned => include_str!("check_in_signed.sql"),
    }
}

/// Makes a change `count` times over this number of connections, with the numbers from `first` on.
pub(super) fn run(
    cluster: &Cluster,
    database: &str,
    change: Change,
    (first, count): (u64, u64),
    connections: u64,
) -> Result<Figures> {
    let folder = tempfile::tempdir().context("no temporary folder")?;
    let file = folder.path().join("script.sql");
    std::fs::write(&file, script(change))?;
    let each = count / connections;
    let mut command = Command::new(cluster.programs().join("pgbench"));
    command.env("PGOPTIONS", PLANNER);
    command.args(["--no-vacuum", "--protocol", "prepared", "--log", "--jobs", "1"]);
    command.arg("--file").arg(&file).arg("--log-prefix").arg(folder.path().join("log"));
    command.args(["--client", &connections.to_string(), "--transactions", &each.to_string()]);
    command.args([
        "--define",
        &format!("first={first}"),
        "--define",
        &format!("each={each}"),
        "--define",
        "k=0",
    ]);
    command.arg("--host").arg(cluster.folder()).args([
        "--port",
        &cluster.port().to_string(),
        "--username",
        "postgres",
        database,
    ]);
    let output = command.stdin(Stdio::null()).output().context("cannot start pgbench")?;
    let report = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success() && !errors.contains("aborted"),
        "pgbench failed: {errors}{report}"
    );
    let rate = report
        .lines()
        .find_map(|line| line.strip_prefix("tps = ")?.split_whitespace().next()?.parse().ok());
    let rate = rate.with_context(|| format!("pgbench printed no rate: {report}"))?;
    Ok(Figures::new(rate, &times(folder.path())?))
}

/// Returns the times in pgbench's logs, sorted: the third field of each line, in microseconds.
fn times(folder: &Path) -> Result<Vec<Duration>> {
    let mut times = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("log")) {
            let text = std::fs::read_to_string(&path)?;
            times.extend(
                text.lines()
                    .filter_map(|line| line.split_whitespace().nth(2)?.parse().ok())
                    .map(Duration::from_micros),
            );
        }
    }
    times.sort();
    Ok(times)
}
