//! Expected duration of a run, and the lines on standard error that show how far the run is.

use std::time::{Duration, Instant};

/// A phase of the bench.
pub(super) struct Phase {
    /// Name, as the list of phases shows it.
    pub(super) name: String,
    /// Expected duration on two cores.
    pub(super) expected: Duration,
}

/// Progress of a run.
pub(super) struct Progress {
    start: Instant,
    expected: Duration,
}

impl Progress {
    /// Starts the clock, and prints the phases with their expected durations.
    #[expect(clippy::disallowed_methods, reason = "a bench measures the time that passes")]
    pub(super) fn start(phases: &[Phase]) -> Self {
        let expected = phases.iter().map(|phase| phase.expected).sum();
        eprintln!("Expected duration on two cores: {} minutes", clock(expected));
        for phase in phases {
            eprintln!("{:>7}  {}", clock(phase.expected), phase.name);
        }
        Self { start: Instant::now(), expected }
    }

    /// Prints what the bench does next, with the time that has passed.
    pub(super) fn report(&self, next: &str) {
        eprintln!("{}", line(self.start.elapsed(), self.expected, next));
    }
}

fn line(elapsed: Duration, expected: Duration, next: &str) -> String {
    format!("[{:>5} of about {}] {next}", clock(elapsed), clock(expected))
}

/// Formats a duration as minutes and seconds.
fn clock(duration: Duration) -> String {
    let seconds = duration.as_secs();
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

/// Formats a number with a comma after each group of three digits.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups = digits.as_bytes().rchunks(3).rev();
    groups.map(String::from_utf8_lossy).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_shows_elapsed_and_expected_time() {
        let [elapsed, expected] = [192, 840].map(Duration::from_secs);
        assert_eq!(line(elapsed, expected, "pages"), "[ 3:12 of about 14:00] pages");
    }

    #[test]
    fn digits_are_grouped_by_three() {
        assert_eq!([7, 512, 1_000, 1_234_567].map(grouped), ["7", "512", "1,000", "1,234,567"]);
    }
}
