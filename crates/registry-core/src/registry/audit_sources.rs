//! The sources in counted audit entries: a flood from many addresses writes one row for all that come
//! after the first few hundred of a minute.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use crate::clock::{Timestamp, minute};
use crate::rate_limit::Source;

/// Number of sources of a minute that are named.
const NAMED: usize = 500;

/// The name of all others.
const OTHERS: &str = "many addresses";

/// The sources of the present minute.
#[derive(Default)]
pub(super) struct AuditSources(Mutex<(Timestamp, HashSet<Source>)>);

impl AuditSources {
    /// Returns the source of a counted entry.
    pub(super) fn name(&self, source: Source, now: Timestamp) -> String {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.0 != minute(now) {
            *state = (minute(now), HashSet::new());
        }
        let is_named = state.1.contains(&source) || state.1.len() < NAMED;
        if is_named { source.to_string() } else { OTHERS.to_owned() }
    }

    /// Notes that an entry of this source was made. Requests that succeed take no name.
    pub(super) fn note(&self, source: Source) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.1.len() < NAMED {
            state.1.insert(source);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flood_has_one_source_more() {
        let sources = AuditSources::default();
        let now = Timestamp::from_timestamp(1_800_000_000, 0).unwrap();
        let source = |number: u32| Source::of(std::net::Ipv4Addr::from_bits(number).into());
        let refused = |it: u32| {
            let name = sources.name(source(it), now);
            sources.note(source(it));
            name
        };
        let names: HashSet<_> = (0..10_000).map(refused).collect();
        assert_eq!(names.len(), NAMED + 1);
        assert_eq!(sources.name(source(3), now), "0.0.0.3", "a source keeps its name");
        let later = now + chrono::TimeDelta::minutes(1);
        assert_eq!(sources.name(source(9_999), later), "0.0.39.15");
    }
}
