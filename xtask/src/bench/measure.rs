//! Measurements of registryd and of its limit.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use anyhow::Result;

use super::driver::{self, LoadResult, quantile};
use super::machine::Cpu;
use super::service::Service;

/// A change that the bench measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Change {
    /// Registration with a paid edition.
    Register,
    /// Redemption with a paid edition. The response contains a signed license.
    Redeem,
    /// Check-in of an appliance whose license is not due for renewal.
    CheckIn,
    /// Check-in of an appliance whose license is due for renewal.
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

/// Rate and times of one measurement.
#[derive(Clone, Copy, Debug)]
pub(super) struct Figures {
    /// Changes a second.
    pub(super) rate: f64,
    /// Median time of a change.
    pub(super) p50: Duration,
    /// Time that 99 of 100 changes do not exceed.
    pub(super) p99: Duration,
}

impl Figures {
    /// Returns the figures of changes with these times, sorted, at this rate.
    pub(super) fn new(rate: f64, times: &[Duration]) -> Self {
        Self { rate, p50: quantile(times, 0.5), p99: quantile(times, 0.99) }
    }
}

/// One measurement of registryd, and the limit that was measured just before.
pub(super) struct Row {
    pub(super) limit: Figures,
    pub(super) ours: Figures,
    /// CPU time during the measurement of registryd.
    pub(super) cpu: Cpu,
    /// Number of changes.
    pub(super) count: usize,
}

/// Measurements of each change with each number of connections.
pub(super) type Rows = BTreeMap<(Change, usize), Vec<Row>>;

/// Sends the requests to registryd. Returns the row, and the responses' bodies if they are kept.
/// `postmaster` is the process of the database server, if there is one.
pub(super) fn registryd(
    service: &Service,
    postmaster: Option<u32>,
    limit: Figures,
    requests: &[Vec<u8>],
    (connections, keep_bodies): (usize, bool),
) -> Result<(Row, LoadResult)> {
    let before = Cpu::now(postmaster, service.pid())?;
    let load = driver::send(service.address(), requests, connections, keep_bodies)?;
    let cpu = Cpu::now(postmaster, service.pid())?.since(before);
    let ours = Figures::new(load.rate, &load.times);
    Ok((Row { limit, ours, cpu, count: requests.len() }, load))
}
