//! The effective tier: the tier that the product may offer (wire contract, R-bootstrap-5).

use appliance_license::{LicenseState, Verifier};
use chrono::{DateTime, NaiveDateTime, TimeDelta};

use crate::environment::EditionChoice;

/// The row of `license_state`. `Debug` prints no secrets.
#[derive(Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the contract's")]
pub struct LicenseRow {
    pub edition_choice: EditionChoice,
    pub license_token: Option<String>,
    pub appliance_id: Option<String>,
    pub check_in_url: Option<String>,
    pub appliance_credential: Option<String>,
    /// Start of the trial, in UTC.
    pub trial_started_at: Option<NaiveDateTime>,
}

impl std::fmt::Debug for LicenseRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LicenseRow")
            .field("edition_choice", &self.edition_choice)
            .finish_non_exhaustive()
    }
}

/// A tier and the reason for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tier {
    /// Name of the tier.
    pub name: String,
    /// Reason for the tier.
    pub reason: TierReason,
}

/// Reason for a tier.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TierReason {
    /// The license is valid.
    #[error("the license is valid until {until}")]
    License {
        /// Expiry time, in UTC.
        until: NaiveDateTime,
    },
    /// The installer chose the free edition.
    #[error("the free edition was chosen")]
    FreeEdition,
    /// The trial has not ended.
    #[error("the trial ends at {until}")]
    Trial {
        /// End of the trial, in UTC.
        until: NaiveDateTime,
    },
    /// The appliance has no valid license. The text says why.
    #[error("{0}")]
    NoLicense(String),
}

const ESSENTIALS: &str = "essentials";
const PRO: &str = "pro";

/// Length of a trial.
const TRIAL: TimeDelta = TimeDelta::days(15);

/// Returns the tier at `now` (in UTC): the tier of a valid license, else essentials for the
/// free edition, else pro during the trial, else essentials. `verifier` checks licenses for
/// the tenant of this database. Without one no license is trusted.
#[must_use]
pub fn effective_tier(row: &LicenseRow, verifier: Option<&Verifier>, now: NaiveDateTime) -> Tier {
    let problem = match (&row.license_token, verifier) {
        (None, _) => "there is no license".to_owned(),
        (Some(_), None) => "there are no keys to verify the license with".to_owned(),
        (Some(token), Some(verifier)) => {
            let seconds = now.and_utc().timestamp().try_into().unwrap_or_default();
            match verifier.state(token, seconds) {
                LicenseState::Licensed(license) | LicenseState::Expiring { license, .. } => {
                    let until = utc(license.expires_at);
                    return Tier { name: license.tier, reason: TierReason::License { until } };
                }
                LicenseState::Expired { since, .. } => {
                    format!("the license expired at {}", utc(since))
                }
                LicenseState::WrongTenant { tenant_id } => {
                    format!("the license belongs to tenant {tenant_id}")
                }
                LicenseState::Invalid(reason) => format!("the license is not valid: {reason}"),
            }
        }
    };
    let tier = |name: &str, reason| Tier { name: name.to_owned(), reason };
    if row.edition_choice == EditionChoice::Ce {
        return tier(ESSENTIALS, TierReason::FreeEdition);
    }
    match row.trial_started_at.map(|start| start + TRIAL) {
        Some(until) if now < until => tier(PRO, TierReason::Trial { until }),
        _ => tier(ESSENTIALS, TierReason::NoLicense(problem)),
    }
}

/// Converts Unix seconds. A time that is too far in the future becomes the latest possible one.
fn utc(seconds: u64) -> NaiveDateTime {
    let time = seconds.try_into().ok().and_then(|seconds| DateTime::from_timestamp(seconds, 0));
    time.unwrap_or(DateTime::<chrono::Utc>::MAX_UTC).naive_utc()
}
