//! What the product may do: the effective tier (wire contract, R-bootstrap-5).

use appliance_license::{LicenseState, Verifier};
use chrono::{DateTime, NaiveDateTime, TimeDelta};

use crate::environment::EditionChoice;

/// The row of `license_state`. It holds secrets: no `Debug` of them.
#[derive(Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the contract's")]
pub struct LicenseRow {
    pub edition_choice: EditionChoice,
    pub license_token: Option<String>,
    pub appliance_id: Option<String>,
    pub check_in_url: Option<String>,
    pub appliance_credential: Option<String>,
    /// In UTC.
    pub trial_started_at: Option<NaiveDateTime>,
}

impl std::fmt::Debug for LicenseRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LicenseRow")
            .field("edition_choice", &self.edition_choice)
            .finish_non_exhaustive()
    }
}

/// A tier, and why it is that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tier {
    /// Its name.
    pub name: String,
    /// Why.
    pub because: Because,
}

/// Why a tier is what it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Because {
    /// A license holds.
    #[error("a license holds until {until}")]
    License {
        /// Its end.
        until: NaiveDateTime,
    },
    /// The operator chose the community edition.
    #[error("the community edition was chosen")]
    CommunityEdition,
    /// The trial goes on.
    #[error("the trial goes on until {until}")]
    Trial {
        /// Its end.
        until: NaiveDateTime,
    },
    /// There is no license, or not a good one.
    #[error("{0}")]
    NoLicense(String),
}

const ESSENTIALS: &str = "essentials";
const PRO: &str = "pro";

/// How long a trial goes on.
const TRIAL: TimeDelta = TimeDelta::days(15);

/// The tier at `now` (in UTC): that of a license that holds here, else essentials for the community
/// edition, else pro while the trial goes on, else essentials. `verifier` is for the tenant of this
/// database; without one no license is believed.
#[must_use]
pub fn effective_tier(row: &LicenseRow, verifier: Option<&Verifier>, now: NaiveDateTime) -> Tier {
    let why_not = match (&row.license_token, verifier) {
        (None, _) => "there is no license".to_owned(),
        (Some(_), None) => "there are no keys to verify the license with".to_owned(),
        (Some(token), Some(verifier)) => {
            let seconds = now.and_utc().timestamp().try_into().unwrap_or_default();
            match verifier.state(token, seconds) {
                LicenseState::Licensed(license) | LicenseState::Expiring { license, .. } => {
                    let until = moment(license.expires_at);
                    return Tier { name: license.tier, because: Because::License { until } };
                }
                LicenseState::Expired { since, .. } => {
                    format!("the license ended at {}", moment(since))
                }
                LicenseState::WrongTenant { tenant_id } => {
                    format!("the license is tenant {tenant_id}'s")
                }
                LicenseState::Invalid(reason) => format!("the license is not good: {reason}"),
            }
        }
    };
    let tier = |name: &str, because| Tier { name: name.to_owned(), because };
    if row.edition_choice == EditionChoice::Ce {
        return tier(ESSENTIALS, Because::CommunityEdition);
    }
    match row.trial_started_at.map(|start| start + TRIAL) {
        Some(until) if now < until => tier(PRO, Because::Trial { until }),
        _ => tier(ESSENTIALS, Because::NoLicense(why_not)),
    }
}

fn moment(seconds: u64) -> NaiveDateTime {
    let at = seconds.try_into().ok().and_then(|seconds| DateTime::from_timestamp(seconds, 0));
    at.unwrap_or(DateTime::<chrono::Utc>::MAX_UTC).naive_utc()
}
