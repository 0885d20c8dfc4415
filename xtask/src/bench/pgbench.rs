//! The limit: what the database alone does with one prepared statement for the whole change,
//! writing the same rows as registryd does. No client could have it do more.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use throwaway_postgres::Cluster;

use super::driver::quantile;

/// A registration of a paid edition: tenant, entitlement, code, mail and three lines of audit.
pub(super) const REGISTER: &str = include_str!("register.sql");

/// A redemption of a paid edition: tenant and code changed, appliance, credential and a line of
/// audit.
pub(super) const REDEEM: &str = include_str!("redeem.sql");

/// A check-in that changes nothing but when the appliance called.
pub(super) const CHECK_IN: &str = include_str!("check_in.sql");

/// A check-in that renews: appliance and tenant changed, and a line of audit.
pub(super) const CHECK_IN_SIGNED: &str = include_str!("check_in_signed.sql");

/// What the database reached.
pub(super) struct Limit {
    /// Changes a second.
    pub(super) rate: f64,
    /// The median time of one.
    pub(super) p50: Duration,
    /// The time that 99 of 100 did not exceed.
    pub(super) p99: Duration,
}

/// Runs a script `count` times over so many connections; the scripts' numbers begin at `first`.
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
    let output = command.stdin(Stdio::null()).output().context("pgbench cannot be started")?;
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success() && !complained.contains("aborted"),
        "pgbench failed: {complained}{said}"
    );
    let rate = said
        .lines()
        .find_map(|line| line.strip_prefix("tps = ")?.split_whitespace().next()?.parse().ok());
    let times = times(folder.path())?;
    Ok(Limit {
        rate: rate.with_context(|| format!("pgbench names no rate: {said}"))?,
        p50: quantile(&times, 0.5),
        p99: quantile(&times, 0.99),
    })
}

/// The times in pgbench's logs, in order of length: the third field of each line, in microseconds.
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
