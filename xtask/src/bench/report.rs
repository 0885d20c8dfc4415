//! Tables of the throughput, and the check that each limit limits something.

use anyhow::{Result, ensure};

use super::aims::{Aims, MEMORY};
use super::machine::Cpu;
use super::measure::{Change, Row, Rows};

/// Share of CPU time of other programs above which a row is marked as noisy.
const NOISE: f64 = 0.10;

/// Prints the medians of all rounds. An aim that was reached has a tick, a missed one a cross.
pub(super) fn print_changes(title: &str, rows: &Rows, aims: &Aims) {
    println!("\n{title} (medians; CPU in ms for each change):");
    println!(
        "{:17}{:>5}{:>10}{:>10}{:>7}{:>8}{:>11}{:>11}{:>11}{:>11}{:>6}{:>7}{:>10}{:>10}{:>9}{:>8}",
        "",
        "conn",
        "limit/s",
        "ours/s",
        "ratio",
        "aim",
        "limit p50",
        "ours p50",
        "limit p99",
        "ours p99",
        "×",
        "aim",
        "postgres",
        "registryd",
        "driver",
        "others"
    );
    for ((change, connections), rows) in rows {
        print_row(*change, *connections, rows, aims);
    }
}

fn print_row(change: Change, connections: usize, rows: &[Row], aims: &Aims) {
    let cpu_of = |value: fn(&Cpu) -> f64| {
        median(rows.iter().map(|row| value(&row.cpu) * 1000.0 / count(row.count)).collect())
    };
    let ratio = median_of(rows, |row| row.ours.rate / row.limit.rate);
    let tail = median_of(rows, |row| row.ours.p99.as_secs_f64() / row.limit.p99.as_secs_f64());
    let others = median_of(rows, |row| row.cpu.others() / row.cpu.all.max(f64::MIN_POSITIVE));
    let postgres = cpu_of(|cpu| cpu.postgres);
    println!(
        "{change:17}{connections:>5}{:>10.0}{:>10.0}{ratio:>7.2}{:>8}{:>11}{:>11}{:>11}{:>11}\
         {tail:>6.1}{:>7}{:>10}{:>10.3}{:>9.3}{:>7.0}%{}",
        median_of(rows, |row| row.limit.rate),
        median_of(rows, |row| row.ours.rate),
        aim_cell(aims.ratio(change, connections), |aim| ratio >= aim),
        format_time(median_of(rows, |row| row.limit.p50.as_secs_f64())),
        format_time(median_of(rows, |row| row.ours.p50.as_secs_f64())),
        format_time(median_of(rows, |row| row.limit.p99.as_secs_f64())),
        format_time(median_of(rows, |row| row.ours.p99.as_secs_f64())),
        aim_cell(aims.tail(connections), |aim| tail <= aim),
        if postgres > 0.0 { format!("{postgres:.3}") } else { "–".to_owned() },
        cpu_of(|cpu| cpu.registryd),
        cpu_of(|cpu| cpu.driver),
        others * 100.0,
        if others > NOISE { "  (noisy)" } else { "" },
    );
}

/// Prints the resident memory of registryd, in MB.
pub(super) fn print_memory(connections: usize, memory: f64) {
    let aim = aim_cell(Some(MEMORY), |aim| memory <= aim);
    println!(
        "Resident memory of registryd after {connections} connections: {memory:.1} MB (aim: {aim})"
    );
}

/// Checks that no limit is slower than registryd. At one connection, registryd does what the limit
/// does, and HTTP, JSON and a signature in addition.
///
/// # Errors
/// If the median time of a limit is above that of registryd, by the medians of all rounds. Then it
/// limits nothing, and the ratios of its change mean nothing.
pub(super) fn check_limits(rows: &Rows) -> Result<()> {
    let mut slow = Vec::new();
    for ((change, connections), rows) in rows {
        let limit = median_of(rows, |row| row.limit.p50.as_secs_f64());
        let ours = median_of(rows, |row| row.ours.p50.as_secs_f64());
        if *connections == 1 && limit > ours {
            slow.push(format!("{change}: {} > {}", format_time(limit), format_time(ours)));
        }
    }
    ensure!(
        slow.is_empty(),
        "a limit is slower than registryd at one connection, so its ratios mean nothing (p50): {}",
        slow.join("; ")
    );
    Ok(())
}

/// Returns an aim, and a tick or a cross.
fn aim_cell(aim: Option<f64>, is_reached: impl FnOnce(f64) -> bool) -> String {
    let mark = |aim| if is_reached(aim) { '✓' } else { '✗' };
    aim.map(|aim| format!("{aim} {}", mark(aim))).unwrap_or_default()
}

#[expect(clippy::cast_precision_loss, reason = "a count of requests")]
fn count(requests: usize) -> f64 {
    requests as f64
}

fn median_of(rows: &[Row], value: fn(&Row) -> f64) -> f64 {
    median(rows.iter().map(value).collect())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// Formats seconds as milliseconds.
pub(super) fn format_time(seconds: f64) -> String {
    format!("{:.2} ms", seconds * 1000.0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::bench::measure::Figures;

    #[test]
    fn median_is_the_middle_value() {
        assert!((median(vec![3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!(median(vec![]).abs() < f64::EPSILON);
    }

    #[test]
    fn aim_is_marked() {
        assert_eq!(aim_cell(Some(1.2), |aim| 1.25 >= aim), "1.2 ✓");
        assert_eq!(aim_cell(Some(1.2), |aim| 1.15 >= aim), "1.2 ✗");
        assert_eq!(aim_cell(None, |_| true), "");
    }

    fn row(limit: u64, ours: u64) -> Row {
        let [limit, ours] =
            [limit, ours].map(|time| Figures::new(1000.0, &[Duration::from_micros(time)]));
        Row { limit, ours, cpu: Cpu::default(), count: 1 }
    }

    #[test]
    fn slow_limit_is_an_error() {
        let quick = |connections| ((Change::Redeem, connections), vec![row(300, 500)]);
        assert!(check_limits(&Rows::from([quick(1), quick(8)])).is_ok());
        // One slow round of three does not count, and neither does a group commit.
        let rows = vec![row(900, 500), row(300, 500), row(300, 500)];
        let with_others = vec![row(900, 500)];
        let rows = Rows::from([((Change::Redeem, 1), rows), ((Change::Redeem, 8), with_others)]);
        assert!(check_limits(&rows).is_ok());
        let error = check_limits(&Rows::from([((Change::CheckIn, 1), vec![row(900, 500)])]));
        let error = error.unwrap_err().to_string();
        assert!(error.ends_with("(p50): check-in: 0.90 ms > 0.50 ms"), "{error}");
    }
}
