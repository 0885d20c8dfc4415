//! Time from the start of the registryd process until it listens. The lower bound, measured in the
//! same run, is the start of a process that does nothing.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::progress::{Phase, Progress};
use super::service::Programs;

/// Number of starts of each program.
const RUNS: usize = 21;

/// Highest median of the start times: the aim in docs/performance.md.
const LIMIT: Duration = Duration::from_millis(100);

/// Returns the phase of this part.
pub(super) fn phase() -> Phase {
    Phase { name: "starts of registryd".to_owned(), expected: Duration::from_secs(5) }
}

/// Measures the starts and prints the table.
///
/// # Errors
/// If a median is above the limit.
pub(super) fn run(programs: &Programs, progress: &Progress) -> Result<()> {
    progress.report("starts of registryd");
    let binary = &programs.registryd;
    let folder = tempfile::tempdir().context("no temporary folder")?;
    let existing = folder.path().join("existing");
    start(binary, &existing)?;
    let (mut floor, mut on_new, mut on_existing) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..RUNS {
        floor.push(start_nothing()?);
        on_new.push(start(binary, &folder.path().join(number.to_string()))?);
        on_existing.push(start(binary, &existing)?);
    }
    println!("Time from process start to the line `listening on` ({RUNS} runs, release build):");
    println!("{:28}{:>10}{:>10}{:>10}", "", "min", "median", "max");
    for (name, times) in [
        ("a process that does nothing", floor),
        ("a new data folder", on_new),
        ("an existing data folder", on_existing),
    ] {
        let [min, median, max] = spread(times);
        let [min_text, median_text, max_text] = [min, median, max].map(format_time);
        println!("{name:28}{min_text:>10}{median_text:>10}{max_text:>10}");
        ensure!(median <= LIMIT, "{name}: the median is above {}", format_time(LIMIT));
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a bench measures the time that passes")]
fn start(binary: &Path, data: &Path) -> Result<Duration> {
    let start = Instant::now();
    let mut command = Command::new(binary);
    command
        .arg("--data")
        .arg(data)
        .args(["--listen", "127.0.0.1:0"])
        .stderr(Stdio::null())
        .stdout(Stdio::piped());
    let mut child = command.spawn().context("cannot start registryd")?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().context("no output")?).read_line(&mut line)?;
    let elapsed = start.elapsed();
    child.kill()?;
    child.wait()?;
    ensure!(line.starts_with("listening on "), "registryd did not start: {line}");
    Ok(elapsed)
}

#[expect(clippy::disallowed_methods, reason = "a bench measures the time that passes")]
fn start_nothing() -> Result<Duration> {
    let start = Instant::now();
    Command::new("true").status().context("cannot start `true`")?;
    Ok(start.elapsed())
}

fn spread(mut times: Vec<Duration>) -> [Duration; 3] {
    times.sort();
    [times[0], times[times.len() / 2], times[times.len() - 1]]
}

fn format_time(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spread_is_minimum_median_and_maximum() {
        let times = [5, 1, 3].map(Duration::from_millis).to_vec();
        assert_eq!(spread(times).map(format_time), ["1.0 ms", "3.0 ms", "5.0 ms"]);
    }
}
