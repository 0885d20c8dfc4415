//! How long registryd takes from the start of its process until it listens; the floor, measured in
//! the same run, is the start of a process that does nothing.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::run;

/// How often each is started.
const RUNS: usize = 21;

/// What a start may take, by the promise of the README.
const LIMIT: Duration = Duration::from_millis(100);

/// Prints the table.
pub(crate) fn run() -> Result<()> {
    let binary = run::target().join("release").join("registryd");
    let folder = tempfile::tempdir().context("no temporary folder")?;
    let old = folder.path().join("old");
    start(&binary, &old)?;
    let (mut floor, mut on_new, mut on_old) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..RUNS {
        floor.push(nothing()?);
        on_new.push(start(&binary, &folder.path().join(number.to_string()))?);
        on_old.push(start(&binary, &old)?);
    }
    println!("from process start to the line `listening on`, {RUNS} runs each, release build");
    println!("{:28}{:>10}{:>10}{:>10}", "", "min", "median", "max");
    for (name, times) in [
        ("a process that does nothing", floor),
        ("a new data folder", on_new),
        ("an old data folder", on_old),
    ] {
        let [min, median, max] = spread(times);
        println!("{name:28}{:>10}{:>10}{:>10}", shown(min), shown(median), shown(max));
        ensure!(median <= LIMIT, "{name}: the median is over {}", shown(LIMIT));
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a bench measures the time that passes")]
fn start(binary: &Path, data: &Path) -> Result<Duration> {
    let begun = Instant::now();
    let mut command = Command::new(binary);
    command
        .arg("--data")
        .arg(data)
        .args(["--listen", "127.0.0.1:0"])
        .stderr(Stdio::null())
        .stdout(Stdio::piped());
    let mut child = command.spawn().context("registryd cannot be started")?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().context("no output")?).read_line(&mut line)?;
    let taken = begun.elapsed();
    child.kill()?;
    child.wait()?;
    ensure!(line.starts_with("listening on "), "registryd did not start: {line}");
    Ok(taken)
}

#[expect(clippy::disallowed_methods, reason = "a bench measures the time that passes")]
fn nothing() -> Result<Duration> {
    let begun = Instant::now();
    Command::new("true").status().context("`true` cannot be started")?;
    Ok(begun.elapsed())
}

fn spread(mut times: Vec<Duration>) -> [Duration; 3] {
    times.sort();
    [times[0], times[times.len() / 2], times[times.len() - 1]]
}

fn shown(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spread_is_minimum_median_and_maximum() {
        let times = [5, 1, 3].map(Duration::from_millis).to_vec();
        assert_eq!(spread(times).map(shown), ["1.0 ms", "3.0 ms", "5.0 ms"]);
    }
}
