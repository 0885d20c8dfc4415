//! A limit of log lines: a flood of requests must not fill the disk of the log.

use std::sync::Mutex;
use std::sync::PoisonError;

use tokio::time::{Duration, Instant};

/// Maximum number of lines about requests in a second.
const LINES: u32 = 1_000;

/// Counts the log lines of the present second.
pub(crate) struct LogBudget(Mutex<State>);

struct State {
    since: Instant,
    lines: u32,
    left_out: u64,
}

impl LogBudget {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(State { since: Instant::now(), lines: 0, left_out: 0 }))
    }

    /// Returns whether a line may be written. The first one of a second says how many were left out.
    pub(crate) fn admit(&self) -> bool {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.since.elapsed() >= Duration::from_secs(1) {
            if state.left_out > 0 {
                let left_out = state.left_out;
                tracing::warn!(left_out, "lines about requests were left out of the log");
            }
            *state = State { since: Instant::now(), lines: 0, left_out: 0 };
        }
        if state.lines < LINES {
            state.lines += 1;
            true
        } else {
            state.left_out += 1;
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn second_has_a_thousand_lines() {
        let budget = LogBudget::new();
        let admitted = || (0..5_000).filter(|_| budget.admit()).count();
        assert_eq!(admitted(), 1_000);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(admitted(), 1_000);
    }
}
