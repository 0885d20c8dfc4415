//! The state of the rate limits of a process.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Response of `GET /v1/rate-limits`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct RateLimits {
    /// The limits: `code_guesses`, `registrations`, `sign_in_links` and `operator_logins`.
    pub items: Vec<RateLimitItem>,
}

/// One rate limit.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct RateLimitItem {
    /// Name of the limit.
    pub name: String,
    /// Events that were counted since the process started.
    pub counted: u64,
    /// Events that were refused because of their source or a network around it.
    pub refused: u64,
    /// Events that were refused because all sources together had too many.
    pub overloaded: u64,
    /// The networks with the most events in their windows, at most 100.
    pub networks: Vec<CountedNetworkItem>,
}

/// A network with counted events.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct CountedNetworkItem {
    /// The network, such as `203.0.113.7/32` or `2001:db8:1::/48`.
    pub network: String,
    /// Number of events in the window.
    pub count: u32,
    /// Number of events that the network may have.
    pub limit: u32,
    /// Seconds until the window ends.
    pub ends_in_seconds: i64,
}

/// Response of `DELETE /v1/rate-limits`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct RateLimitsCleared {
    /// Number of counters that had events. A source has one for each network around it.
    pub cleared: usize,
}
