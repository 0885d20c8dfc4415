//! Aims of the tables. A missed aim does not fail the bench, because machines are noisy.

use super::measure::Change;

/// Number of tenants from which on the aims for PostgreSQL apply.
const LARGE_FLEET: u64 = 1_000_000;

/// Maximum resident memory of registryd, in MB.
pub(super) const MEMORY: f64 = 30.0;

/// Aims of one table.
#[derive(Default)]
pub(super) struct Aims {
    /// Minimum ratio of registryd's rate to the limit's, by change and connections.
    ratios: &'static [(Change, usize, f64)],
    /// Maximum ratio of registryd's p99 to the limit's, by connections.
    tails: &'static [(usize, f64)],
}

impl Aims {
    /// Returns the aims for a fleet of this size on PostgreSQL: none for a small one.
    pub(super) fn postgres(tenants: u64) -> Self {
        if tenants < LARGE_FLEET {
            return Self::default();
        }
        Self {
            ratios: &[
                (Change::Register, 8, 0.8),
                (Change::Redeem, 8, 0.8),
                (Change::CheckIn, 8, 0.9),
                (Change::CheckInSigned, 8, 0.5),
                (Change::Register, 32, 1.2),
                (Change::Redeem, 32, 1.2),
                (Change::CheckIn, 32, 1.4),
                (Change::CheckInSigned, 32, 0.75),
            ],
            tails: &[(32, 1.5)],
        }
    }

    /// Returns the aims for the embedded store.
    pub(super) fn sqlite() -> Self {
        Self { ratios: &[(Change::Redeem, 32, 2.0)], tails: &[] }
    }

    /// Returns the minimum ratio of the rates, if there is an aim.
    pub(super) fn ratio(&self, change: Change, connections: usize) -> Option<f64> {
        let mut aims = self.ratios.iter();
        aims.find(|aim| (aim.0, aim.1) == (change, connections)).map(|aim| aim.2)
    }

    /// Returns the maximum ratio of the p99, if there is an aim.
    pub(super) fn tail(&self, connections: usize) -> Option<f64> {
        self.tails.iter().find(|aim| aim.0 == connections).map(|aim| aim.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aims_for_postgres_apply_to_large_fleet() {
        assert_eq!(Aims::postgres(1_000_000).ratio(Change::Redeem, 32), Some(1.2));
        assert_eq!(Aims::postgres(1_000_000).tail(32), Some(1.5));
        assert_eq!(Aims::postgres(1_000_000).ratio(Change::Redeem, 1), None);
        assert_eq!(Aims::postgres(10_000).ratio(Change::Redeem, 32), None);
    }
}
