//! The limit: the throughput of the database alone, with one prepared statement for the whole
//! change, which writes the same rows as registryd. No client could get more out of this database.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use throwaway_postgres::Cluster;

use super::driver::quantile;

/// Registration with a paid edition: inserts tenant, entitlement, code, mail and three audit
/// entries.
pub(super) const REGISTER: &str = include_str!("register.sql");

/// Redemption with a paid edition: updates tenant and code, and inserts appliance, credential and
/// an audit entry.
pub(super) const REDEEM: &str = include_str!("redeem.sql");

/// Check-in that updates only the time of the last check-in.
pub(super) const CHECK_IN: &str = include_str!("check_in.sql");

/// Check-in that renews the license: updates appliance and tenant, and inserts an audit entry.
pub(super) const CHECK_IN_SIGNED: &str = include_str!("check_in_signed.sql");

/// Measurements of the database alone.
pub(super) struct Limit {
    /// Changes a second.
    pub(super) rate: f64,
    /// Median time of a change.
    pub(super) p50: Duration,
    /// Time that 99 of 100 changes do not exceed.
    pub(super) p99: Duration,
}

/// Runs a script `count` times over this number of connections, with the numbers from `first` on.
pub(super) fn run(
    cluster: &Cluster,
    database: &str,
    script: &str,
    (first, count): (u64, u64),
    connections: u64,
) -> Result<Limit> {
    let folder = tempfile::tempdir().context("no temporary folder")?;
    let file = folder.path().join("script.sql");
    std::fs::write(&file, script)?;
    let each = count / connections;
    let mut command = Command::new(cluster.programs().join("pgbench"));
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
    let times = times(folder.path())?;
    Ok(Limit {
        rate: rate.with_context(|| format!("pgbench printed no rate: {report}"))?,
        p50: quantile(&times, 0.5),
        p99: quantile(&times, 0.99),
    })
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
