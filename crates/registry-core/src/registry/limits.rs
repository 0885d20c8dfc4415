//! The counts of the rate limiters, for operators.

use crate::rate_limit::{CountedNetwork, Figures, RateLimiter};
use crate::registry::Registry;

/// Maximum number of networks that are listed for a limit.
const LISTED: usize = 100;

/// A rate limit, and what it has counted in this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitState {
    /// Name of the limit: `code_guesses`, `registrations`, `sign_in_links` or `operator_logins`.
    pub name: &'static str,
    /// Numbers since the process started.
    pub figures: Figures,
    /// The networks with the most events in their windows.
    pub networks: Vec<CountedNetwork>,
}

impl Registry {
    /// Returns the rate limits by source, and what they have counted.
    #[must_use]
    pub fn rate_limits(&self) -> Vec<LimitState> {
        let now = self.now();
        let state = |name, limiter: &RateLimiter| LimitState {
            name,
            figures: limiter.figures(),
            networks: limiter.counted(now, LISTED),
        };
        self.limiters().map(|(name, limiter)| state(name, limiter)).collect()
    }

    /// Returns what the rate limits have counted since the process started.
    #[must_use]
    pub fn rate_limit_figures(&self) -> Vec<(&'static str, Figures)> {
        self.limiters().map(|(name, limiter)| (name, limiter.figures())).collect()
    }

    /// Forgets the events of a network, such as `203.0.113.7/32`, or of all. Returns the number of
    /// counters that had any.
    pub fn rate_limits_clear(&self, network: Option<&str>) -> usize {
        self.limiters().map(|(_, limiter)| limiter.clear(network)).sum()
    }

    fn limiters(&self) -> impl Iterator<Item = (&'static str, &RateLimiter)> {
        [
            ("code_guesses", &self.code_guesses),
            ("registrations", &self.mail_by_source),
            ("sign_in_links", &self.link_by_source),
            ("operator_logins", &self.operator_login),
        ]
        .into_iter()
    }
}
