//! Decides what a bootstrap writes, without access to the database.

use chrono::NaiveDateTime;
use uuid::Uuid;

use crate::environment::{EditionChoice, Environment};
use crate::tier::LicenseRow;

/// Contents of the database before the bootstrap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExistingData {
    /// Id of the tenant, as its row has it.
    pub tenant_id: Option<String>,
    /// True if `license_state` has its row.
    pub has_license_state: bool,
}

/// Values generated beforehand: a repeated transaction then writes the same.
#[derive(Clone, Debug)]
pub struct GeneratedValues {
    /// The current time, in UTC.
    pub now: NaiveDateTime,
    /// Id of the tenant, if the Secrets name none.
    pub tenant_id: Uuid,
    /// Id of the administrator.
    pub user_id: Uuid,
    /// Salt for the hash of the password.
    pub salt: [u8; 16],
}

/// The tenant and the administrator to create. The password is not part of it: [`bootstrap`] hashes
/// it.
///
/// [`bootstrap`]: crate::bootstrap
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are self-explanatory")]
pub struct NewTenant {
    pub tenant_id: Uuid,
    pub company_name: String,
    pub first_name: String,
    pub last_name: String,
    pub email: String,
}

/// Rows to write; empty if nothing is missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The tenant.
    pub tenant: Option<NewTenant>,
    /// The row of `license_state`.
    pub license_state: Option<LicenseRow>,
}

/// Reason why nothing is written.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The database belongs to another tenant.
    #[error(
        "This database belongs to tenant {existing}, but the Secrets name tenant {requested}. \
         Nothing was changed. Use a code that was re-issued for tenant {existing}, or an empty \
         database."
    )]
    AnotherTenant {
        /// The tenant in the database.
        existing: String,
        /// The tenant in the Secrets.
        requested: Uuid,
    },
    /// A code was redeemed, but the Secrets name no tenant.
    #[error(
        "An install code was redeemed, but INITIAL_TENANT_ID is missing. No tenant was created. \
         Check the Secret appliance-initial-tenant."
    )]
    NoTenant,
    /// A value is missing.
    #[error("{0} is missing. Check the Secret appliance-initial-tenant.")]
    Missing(&'static str),
}

/// Decides what to write.
pub fn plan(
    environment: &Environment,
    existing: &ExistingData,
    generated: &GeneratedValues,
) -> Result<Plan, Refusal> {
    let tenant = match (&existing.tenant_id, environment.tenant_id) {
        (Some(existing), Some(requested)) if Uuid::try_parse(existing) != Ok(requested) => {
            return Err(Refusal::AnotherTenant { existing: existing.clone(), requested });
        }
        (Some(_), _) => None,
        (None, None) if environment.comes_from_code() => return Err(Refusal::NoTenant),
        (None, None) if !environment.has_tenant_values() => None,
        (None, id) => Some(new_tenant(environment, id.unwrap_or(generated.tenant_id))?),
    };
    let license_state = environment.edition_choice.filter(|_| !existing.has_license_state);
    Ok(Plan {
        tenant,
        license_state: license_state.map(|choice| license_row(environment, choice, generated.now)),
    })
}

fn new_tenant(environment: &Environment, tenant_id: Uuid) -> Result<NewTenant, Refusal> {
    let required = |value: &Option<String>, name| value.clone().ok_or(Refusal::Missing(name));
    if environment.admin_password.is_none() {
        return Err(Refusal::Missing("INITIAL_ADMIN_PASSWORD"));
    }
    Ok(NewTenant {
        tenant_id,
        company_name: required(&environment.tenant_name, "INITIAL_TENANT_NAME")?,
        first_name: environment.admin_first_name.clone().unwrap_or_default(),
        last_name: environment.admin_last_name.clone().unwrap_or_default(),
        email: required(&environment.admin_email, "INITIAL_ADMIN_EMAIL")?,
    })
}

/// `INSTALL_EDITION` of an installation that never starts a trial.
const ESSENTIALS: &str = "essentials";

/// Creates the row. The trial starts only if the edition is `ee`, there is no token, and the
/// appliance was not installed as essentials (wire contract, R-bootstrap-4).
fn license_row(environment: &Environment, choice: EditionChoice, now: NaiveDateTime) -> LicenseRow {
    let is_essentials = environment.install_edition.as_deref() == Some(ESSENTIALS);
    let trial =
        choice == EditionChoice::Ee && environment.license_token.is_none() && !is_essentials;
    LicenseRow {
        edition_choice: choice,
        license_token: environment.license_token.clone(),
        appliance_id: environment.appliance_id.clone(),
        check_in_url: environment.check_in_url.clone(),
        appliance_credential: environment.appliance_credential.as_deref().cloned(),
        trial_started_at: trial.then_some(now),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENANT: Uuid = Uuid::from_u128(7);

    fn generated() -> GeneratedValues {
        let now = chrono::DateTime::from_timestamp(1_800_000_000, 0).unwrap().naive_utc();
        let (tenant_id, user_id) = (Uuid::from_u128(1), Uuid::from_u128(2));
        GeneratedValues { now, tenant_id, user_id, salt: [3; 16] }
    }

    fn environment(values: &[(&str, &str)]) -> Environment {
        let tenant = [
            ("INITIAL_TENANT_NAME", "Acme"),
            ("INITIAL_ADMIN_EMAIL", "ada@example.com"),
            ("INITIAL_ADMIN_PASSWORD", "correct horse"),
        ];
        let find = |name: &str| values.iter().chain(&tenant).find(|(key, _)| *key == name);
        Environment::read(|name| find(name).map(|(_, value)| (*value).into())).unwrap()
    }

    /// R-bootstrap-1, R-bootstrap-2.
    #[test]
    fn tenant_is_created_once() {
        let id = TENANT.to_string();
        let with_code = [
            ("INITIAL_TENANT_ID", id.as_str()),
            ("EDITION_CHOICE", "ee"),
            ("INSTALL_EDITION", "pro"),
        ];
        let bootstrapped =
            |id: Uuid| ExistingData { tenant_id: Some(id.to_string()), has_license_state: true };
        let created = |plan: Plan| plan.tenant.map(|tenant| tenant.tenant_id);
        let other = Uuid::from_u128(8);
        let another_tenant =
            Refusal::AnotherTenant { existing: other.to_string(), requested: TENANT };
        for (case, values, existing, expected) in [
            ("first boot", &with_code[..], ExistingData::default(), Ok(Some(TENANT))),
            ("second run", &with_code, bootstrapped(TENANT), Ok(None)),
            ("another tenant's database", &with_code, bootstrapped(other), Err(another_tenant)),
            (
                "without a code",
                &[("EDITION_CHOICE", "ce")],
                ExistingData::default(),
                Ok(Some(generated().tenant_id)),
            ),
            (
                "without a code, second run",
                &[("EDITION_CHOICE", "ce")],
                bootstrapped(TENANT),
                Ok(None),
            ),
            (
                "a code without a tenant",
                &with_code[1..],
                ExistingData::default(),
                Err(Refusal::NoTenant),
            ),
            (
                "a code without a tenant, second run",
                &with_code[1..],
                bootstrapped(TENANT),
                Ok(None),
            ),
            (
                "no company name",
                &[("INITIAL_TENANT_NAME", "")],
                ExistingData::default(),
                Err(Refusal::Missing("INITIAL_TENANT_NAME")),
            ),
        ] {
            let plan = plan(&environment(values), &existing, &generated());
            assert_eq!(plan.map(created), expected, "{case}");
        }
        let no_secrets = plan(&Environment::default(), &ExistingData::default(), &generated());
        assert_eq!(no_secrets, Ok(Plan::default()), "both Secrets are optional");
    }

    /// R-bootstrap-3, R-bootstrap-4.
    #[test]
    fn trial_starts_only_without_a_license() {
        let now = generated().now;
        for (values, expected) in [
            (&[("EDITION_CHOICE", "ee")][..], Some(now)),
            (&[("EDITION_CHOICE", "ce")], None),
            (&[("EDITION_CHOICE", "ee"), ("LICENSE_TOKEN", "a.b.c")], None),
            (&[("EDITION_CHOICE", "ee"), ("INSTALL_EDITION", "essentials")], None),
            (&[("EDITION_CHOICE", "ee"), ("INSTALL_EDITION", "pro")], Some(now)),
            (
                &[("EDITION_CHOICE", "ee"), ("INSTALL_EDITION", "pro"), ("LICENSE_TOKEN", "a.b.c")],
                None,
            ),
        ] {
            let before =
                ExistingData { tenant_id: Some(TENANT.to_string()), has_license_state: false };
            let first = plan(&environment(values), &before, &generated()).unwrap();
            let row = first.license_state.unwrap();
            assert_eq!(row.trial_started_at, expected, "{values:?}");
            let after = ExistingData { has_license_state: true, ..before };
            assert_eq!(
                plan(&environment(values), &after, &generated()).unwrap(),
                Plan::default(),
                "the row is never overwritten"
            );
        }
    }
}
