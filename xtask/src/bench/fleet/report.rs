//! Tables of the bench on PostgreSQL.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::bench::machine::Cpu;
use crate::bench::pgbench::Limit;

/// Share of CPU time of other programs above which a row is marked as noisy.
const NOISE: f64 = 0.10;

/// A change that the bench measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Change {
    Register,
    Redeem,
    CheckIn,
    CheckInSigned,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Register => "register-tenant",
            Self::Redeem => "redeem, signed",
            Self::CheckIn => "check-in",
            Self::CheckInSigned => "check-in, signed",
        })
    }
}

/// One measurement of registryd, and the limit that was measured just before.
pub(super) struct Row {
    pub(super) limit: Limit,
    pub(super) rate: f64,
    pub(super) p50: Duration,
    pub(super) p99: Duration,
    pub(super) cpu: Cpu,
    pub(super) count: usize,
}

pub(super) fn print_changes(tenants: u64, rows: &BTreeMap<(Change, usize), Vec<Row>>) {
    println!("\nChanges on {tenants} tenants (medians; CPU in ms for each change):");
    println!(
        "{:17}{:>5}{:>10}{:>10}{:>7}{:>10}{:>10}{:>10}{:>10}{:>6}{:>9}{:>9}{:>9}{:>8}",
        "",
        "conn",
        "limit/s",
        "ours/s",
        "ratio",
        "limit p50",
        "ours p50",
        "limit p99",
        "ours p99",
        "×",
        "postgres",
        "registryd",
        "driver",
        "others"
    );
    for ((change, connections), rows) in rows {
        let median_of = |value: fn(&Row) -> f64| median(rows.iter().map(value).collect());
        let cpu_of = |value: fn(&Cpu) -> f64| {
            median(rows.iter().map(|row| value(&row.cpu) * 1000.0 / count(row.count)).collect())
        };
        let others = median_of(|row| row.cpu.others() / row.cpu.all.max(f64::MIN_POSITIVE));
        println!(
            "{change:17}{connections:>5}{:>10.0}{:>10.0}{:>7.2}{:>10}{:>10}{:>10}{:>10}{:>6.1}\
             {:>9.3}{:>9.3}{:>9.3}{:>7.0}%{}",
            median_of(|row| row.limit.rate),
            median_of(|row| row.rate),
            median_of(|row| row.rate / row.limit.rate),
            format_time(median_of(|row| row.limit.p50.as_secs_f64())),
            format_time(median_of(|row| row.p50.as_secs_f64())),
            format_time(median_of(|row| row.limit.p99.as_secs_f64())),
            format_time(median_of(|row| row.p99.as_secs_f64())),
            median_of(|row| row.p99.as_secs_f64() / row.limit.p99.as_secs_f64()),
            cpu_of(|cpu| cpu.postgres),
            cpu_of(|cpu| cpu.registryd),
            cpu_of(|cpu| cpu.driver),
            others * 100.0,
            if others > NOISE { "  (noisy)" } else { "" },
        );
    }
}

pub(super) fn print_directory(sizes: &[(u64, Vec<(&str, Duration)>)]) {
    println!("\nThe directory, one request after the other (p50):");
    let headings =
        sizes.iter().map(|(tenants, _)| format!("{tenants:>12}")).collect::<Vec<_>>().concat();
    println!("{:40}{headings}{:>8}", "tenants", "ratio");
    let Some((_, first)) = sizes.first() else { return };
    for (index, (name, base)) in first.iter().enumerate() {
        let times: Vec<Duration> =
            sizes.iter().filter_map(|(_, rows)| Some(rows.get(index)?.1)).collect();
        let cells = times
            .iter()
            .map(|time| format!("{:>12}", format_time(time.as_secs_f64())))
            .collect::<Vec<_>>()
            .concat();
        let last = times.last().copied().unwrap_or_default();
        println!("{name:40}{cells}{:>8.2}", last.as_secs_f64() / base.as_secs_f64());
    }
}

#[expect(clippy::cast_precision_loss, reason = "a count of requests")]
fn count(requests: usize) -> f64 {
    requests as f64
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

fn format_time(seconds: f64) -> String {
    format!("{:.2} ms", seconds * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_is_the_middle_value() {
        assert!((median(vec![3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!(median(vec![]).abs() < f64::EPSILON);
    }
}
