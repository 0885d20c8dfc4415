//! Two machines that use the identity of one appliance: a copied state folder, or one image that
//! was installed twice. Neither is refused; the operator sees it.

use chrono::TimeDelta;

use crate::appliance::{Appliance, Credential};
use crate::clock::Timestamp;

/// The signs by which a check-in shows the machine that it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sighting {
    /// Number of the check-in, as the machine counts them. Not every client sends it.
    pub(super) sequence: Option<u32>,
    /// Source of the request.
    pub(super) source: String,
    /// Time of the check-in.
    pub(super) at: Timestamp,
}

/// Evidence that two machines use one identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Evidence {
    /// The number of the check-in was used before: the state was copied, or set back.
    SequenceRepeated,
    /// A credential is in use although a later installation replaced it.
    ReplacedCredential,
    /// Two sources take turns, more often than one machine checks in. Only a hint, for clients that
    /// do not count their check-ins.
    SourcesAlternate,
}

impl Evidence {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::SequenceRepeated => "sequence_repeated",
            Self::ReplacedCredential => "replaced_credential",
            Self::SourcesAlternate => "sources_alternate",
        }
    }
}

/// True if a credential no longer works: a newer one replaced it, and the client does not count its
/// check-ins (R-check-in-10). Of clients that do, each machine keeps its credential.
pub(super) fn is_retired(credential: &Credential, sighting: &Sighting) -> bool {
    credential.replaced_at.is_some() && sighting.sequence.is_none()
}

/// Returns the credential after a check-in with it.
pub(super) fn sighted(credential: &Credential, sighting: &Sighting) -> Credential {
    let mut seen = Credential {
        first_used_at: credential.first_used_at.or(Some(sighting.at)),
        ..credential.clone()
    };
    seen.replaced_at = None;
    // After a snapshot was restored, the numbers go on from there.
    seen.sequence = sighting.sequence.or(credential.sequence);
    if seen.source.as_ref() != Some(&sighting.source) {
        seen.previous_source = seen.source.replace(sighting.source.clone());
        seen.source_since = Some(sighting.at);
    }
    seen
}

/// Returns what a check-in shows, where appliances check in once in `interval`.
pub(super) fn evidence(
    credential: &Credential,
    sighting: &Sighting,
    interval: TimeDelta,
) -> Option<Evidence> {
    if credential.replaced_at.is_some() {
        return Some(Evidence::ReplacedCredential);
    }
    if let Some(sequence) = sighting.sequence {
        let is_repeated = credential.sequence.is_some_and(|last| sequence <= last);
        return is_repeated.then_some(Evidence::SequenceRepeated);
    }
    let is_back = credential.previous_source.as_ref() == Some(&sighting.source)
        && credential.source.as_ref() != Some(&sighting.source);
    let is_soon = credential.source_since.is_some_and(|since| sighting.at - since < interval / 2);
    (is_back && is_soon).then_some(Evidence::SourcesAlternate)
}

/// Shortest time between two reports about one appliance.
const REPORT_INTERVAL: TimeDelta = TimeDelta::hours(1);

/// True if the operator is told now.
pub(super) fn is_reported(appliance: &Appliance, now: Timestamp) -> bool {
    appliance.duplicate_seen_at.is_none_or(|last| (now - last).abs() >= REPORT_INTERVAL)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::TenantId;
    use crate::secret::CredentialDigest;
    use crate::text::ApplianceId;

    fn at(hours: i64) -> Timestamp {
        Timestamp::from_timestamp(1_800_000_000, 0).unwrap() + TimeDelta::hours(hours)
    }

    fn credential() -> Credential {
        let appliance = ApplianceId::from_stored("appliance-1".to_owned());
        let owner = (TenantId(uuid::Uuid::nil()), appliance);
        Credential::unused(CredentialDigest([0; 32]), owner, 1, at(0))
    }

    /// Each row is the check-ins with one credential: hour, number, source, and what they show.
    #[test]
    fn two_machines_are_told_from_one() {
        let (repeated, alternate) =
            (Some(Evidence::SequenceRepeated), Some(Evidence::SourcesAlternate));
        for (name, check_ins) in [
            ("one machine", vec![(0, Some(1), "a", None), (24, Some(2), "a", None)]),
            ("retries", vec![(0, Some(1), "a", None), (0, Some(2), "a", None)]),
            (
                "a machine that moves",
                vec![(0, Some(1), "a", None), (1, Some(2), "b", None), (2, Some(3), "a", None)],
            ),
            (
                "copied state",
                vec![
                    (0, Some(1), "a", None),
                    (24, Some(2), "a", None),
                    (24, Some(2), "a", repeated),
                ],
            ),
            (
                "state set back",
                vec![
                    (0, Some(7), "a", None),
                    (24, Some(5), "a", repeated),
                    (48, Some(8), "a", None),
                ],
            ),
            ("an update that counts", vec![(0, None, "a", None), (24, Some(1), "a", None)]),
            ("no numbers", vec![(0, None, "a", None), (0, None, "a", None), (24, None, "a", None)]),
            (
                "another line for a day",
                vec![(0, None, "a", None), (24, None, "b", None), (42, None, "a", None)],
            ),
            (
                "two machines in turn",
                vec![(0, None, "a", None), (5, None, "b", None), (16, None, "a", alternate)],
            ),
            (
                "three sources",
                vec![(0, None, "a", None), (1, None, "b", None), (2, None, "c", None)],
            ),
        ] {
            let mut stored = credential();
            for (hour, sequence, source, expected) in check_ins {
                let sighting = Sighting { sequence, source: source.to_owned(), at: at(hour) };
                let found = evidence(&stored, &sighting, TimeDelta::hours(24));
                assert_eq!(found, expected, "{name}, hour {hour}");
                assert!(!is_retired(&stored, &sighting));
                stored = sighted(&stored, &sighting);
            }
        }
    }

    #[test]
    fn replaced_credential_works_only_for_a_machine_that_counts() {
        let replaced = Credential { replaced_at: Some(at(1)), sequence: Some(3), ..credential() };
        let counted = Sighting { sequence: Some(4), source: "a".to_owned(), at: at(2) };
        assert!(!is_retired(&replaced, &counted));
        let found = evidence(&replaced, &counted, TimeDelta::hours(24));
        assert_eq!(found, Some(Evidence::ReplacedCredential));
        let seen = sighted(&replaced, &counted);
        assert_eq!((seen.replaced_at, seen.sequence), (None, Some(4)));
        assert!(is_retired(&replaced, &Sighting { sequence: None, ..counted }));
    }
}
