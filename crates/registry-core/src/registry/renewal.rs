//! The rule that decides if an appliance that checks in gets a new license.

use chrono::TimeDelta;

use crate::appliance::IssuedLicense;
use crate::clock::Timestamp;
use crate::license::{LicensePolicy, LicenseTerms};

/// The reason why a license is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// No license was issued yet.
    First,
    /// The license's terms differ from those of the entitlement.
    Changed,
    /// Too little of the license's lifetime is left.
    Aged,
    /// The appliance does not show that it has the license: the response may have been lost.
    Missing,
    /// The same, soon after the license was issued at this time: it gets the same claims again.
    Repeated { issued_at: Timestamp },
}

impl Due {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Changed => "changed",
            Self::Aged => "renewed",
            Self::Missing | Self::Repeated { .. } => "missing",
        }
    }
}

/// Time in which an appliance that does not show its license gets the same claims again. So a loop
/// of such check-ins writes one audit entry in this time.
const REPEAT_WINDOW: TimeDelta = TimeDelta::hours(1);

/// The renewal rule (wire contract, R-check-in-6 and R-check-in-12). A new license is due if less
/// than (license days − 1) of the lifetime is left, or if tier, seats, customer or tenant differ
/// from the entitlement. A license valid for less than two days is renewed after half of its
/// lifetime: by the first rule it would never be. An appliance that does not show that it has the
/// license gets one in any case.
pub(super) fn due(
    policy: &LicensePolicy,
    issued: Option<&IssuedLicense>,
    terms: &LicenseTerms,
    current_license_sub: Option<&str>,
    now: Timestamp,
) -> Option<Due> {
    let Some(issued) = issued else { return Some(Due::First) };
    if issued.terms != *terms {
        return Some(Due::Changed);
    }
    let lifetime = policy.lifetime;
    let minimum_left = (lifetime - TimeDelta::days(1)).max(lifetime / 2);
    if issued.expires_at - now < minimum_left {
        return Some(Due::Aged);
    }
    if current_license_sub == Some(terms.sub.as_str()) {
        return None;
    }
    let issued_at = issued.expires_at - lifetime;
    let is_recent = (TimeDelta::zero()..=REPEAT_WINDOW).contains(&(now - issued_at));
    Some(if is_recent { Due::Repeated { issued_at } } else { Due::Missing })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::TenantId;

    fn terms(change: impl FnOnce(&mut LicenseTerms)) -> LicenseTerms {
        let mut terms = LicenseTerms {
            sub: "lic_1".into(),
            customer: "Acme".into(),
            tier: "pro".into(),
            seats: Some(5),
            tenant_id: Some(TenantId(uuid::Uuid::from_u128(1))),
        };
        change(&mut terms);
        terms
    }

    fn at(hours: i64) -> Timestamp {
        Timestamp::from_timestamp(1_800_000_000, 0).unwrap() + TimeDelta::hours(hours)
    }

    /// R-check-in-6, R-check-in-12.
    #[test]
    fn license_is_due_by_age_or_difference() {
        let policy = LicensePolicy::default();
        let issued = IssuedLicense { terms: terms(|_| {}), expires_at: at(31 * 24) };
        let shown = Some("lic_1");
        let repeated = Some(Due::Repeated { issued_at: at(0) });
        for (name, now, terms, current_sub, expected) in [
            ("just issued", at(0), terms(|_| {}), shown, None),
            ("a day old to the second", at(24), terms(|_| {}), shown, None),
            ("more than a day old", at(25), terms(|_| {}), shown, Some(Due::Aged)),
            ("expired", at(32 * 24), terms(|_| {}), None, Some(Due::Aged)),
            ("other seats", at(1), terms(|it| it.seats = Some(6)), shown, Some(Due::Changed)),
            ("unlimited seats", at(1), terms(|it| it.seats = None), shown, Some(Due::Changed)),
            ("other tier", at(1), terms(|it| it.tier = "max".into()), None, Some(Due::Changed)),
            (
                "other customer",
                at(1),
                terms(|it| it.customer = "B".into()),
                shown,
                Some(Due::Changed),
            ),
            ("other tenant", at(1), terms(|it| it.tenant_id = None), shown, Some(Due::Changed)),
            ("nothing shown, within an hour", at(1), terms(|_| {}), None, repeated),
            ("another shown, within an hour", at(1), terms(|_| {}), Some("lic_2"), repeated),
            ("nothing shown, later", at(2), terms(|_| {}), None, Some(Due::Missing)),
            ("another shown, later", at(2), terms(|_| {}), Some("lic_2"), Some(Due::Missing)),
        ] {
            assert_eq!(due(&policy, Some(&issued), &terms, current_sub, now), expected, "{name}");
        }
        assert_eq!(due(&policy, None, &terms(|_| {}), None, at(0)), Some(Due::First));
    }

    #[test]
    fn short_license_is_renewed_at_half_time() {
        let policy = LicensePolicy { lifetime: TimeDelta::hours(2), ..LicensePolicy::default() };
        let issued = IssuedLicense { terms: terms(|_| {}), expires_at: at(2) };
        assert_eq!(due(&policy, Some(&issued), &terms(|_| {}), Some("lic_1"), at(1)), None);
        assert_eq!(
            due(&policy, Some(&issued), &terms(|_| {}), None, at(1) + TimeDelta::seconds(1)),
            Some(Due::Aged)
        );
    }
}
