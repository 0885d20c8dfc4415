//! What is missing, and what must not be: a pure decision.

use chrono::NaiveDateTime;
use uuid::Uuid;

use crate::environment::{EditionChoice, Environment};
use crate::tier::LicenseRow;

/// What the database holds already.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The tenant, as its row names it.
    pub tenant_id: Option<String>,
    /// Whether there is a row of `license_state`.
    pub license_state: bool,
}

/// What is drawn beforehand, so that a transaction that is repeated decides the same.
#[derive(Clone, Debug)]
pub struct Draws {
    /// Now, in UTC.
    pub now: NaiveDateTime,
    /// For a tenant of the appliance's own.
    pub tenant_id: Uuid,
    /// For the administrator.
    pub user_id: Uuid,
    /// For the hash of the password.
    pub salt: [u8; 16],
}

/// The tenant and its administrator, to be written. The password is hashed when it is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each field says it itself")]
pub struct NewTenant {
    pub tenant_id: Uuid,
    pub company_name: String,
    pub first_name: String,
    pub last_name: String,
    pub email: String,
}

/// What is to be written: nothing, where all is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The tenant.
    pub tenant: Option<NewTenant>,
    /// The row of `license_state`.
    pub license_state: Option<LicenseRow>,
}

/// Why nothing is written.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Another tenant lives here.
    #[error(
        "this database is tenant {here}'s, and the Secrets are tenant {asked}'s: nothing was changed. Use a code that was \
         re-issued for {here}, or an empty database."
    )]
    AnotherTenant {
        /// The one in the database.
        here: String,
        /// The one in the Secrets.
        asked: Uuid,
    },
    /// A code was redeemed, and its tenant is not there.
    #[error(
        "an install code was redeemed, but INITIAL_TENANT_ID is missing: no tenant is made up. Check the Secret \
         appliance-initial-tenant."
    )]
    NoTenant,
    /// A value is missing.
    #[error("{0} is missing: check the Secret appliance-initial-tenant")]
    Missing(&'static str),
}

/// Decides what to write.
pub fn plan(environment: &Environment, found: &Found, draws: &Draws) -> Result<Plan, Refusal> {
    let tenant = match (&found.tenant_id, environment.tenant_id) {
        (Some(here), Some(asked)) if Uuid::try_parse(here) != Ok(asked) => {
            return Err(Refusal::AnotherTenant { here: here.clone(), asked });
        }
        (Some(_), _) => None,
        (None, None) if environment.is_of_a_code() => return Err(Refusal::NoTenant),
        (None, None) if !environment.names_a_tenant() => None,
        (None, id) => Some(new_tenant(environment, id.unwrap_or(draws.tenant_id))?),
    };
    let license_state = environment.edition_choice.filter(|_| !found.license_state);
    Ok(Plan {
        tenant,
        license_state: license_state.map(|choice| license_row(environment, choice, draws.now)),
    })
}

fn new_tenant(environment: &Environment, tenant_id: Uuid) -> Result<NewTenant, Refusal> {
    let needed = |value: &Option<String>, name| value.clone().ok_or(Refusal::Missing(name));
    if environment.admin_password.is_none() {
        return Err(Refusal::Missing("INITIAL_ADMIN_PASSWORD"));
    }
    Ok(NewTenant {
        tenant_id,
        company_name: needed(&environment.tenant_name, "INITIAL_TENANT_NAME")?,
        first_name: environment.admin_first_name.clone().unwrap_or_default(),
        last_name: environment.admin_last_name.clone().unwrap_or_default(),
        email: needed(&environment.admin_email, "INITIAL_ADMIN_EMAIL")?,
    })
}

/// The edition of the codes that bring no license: no trial begins for it.
const ESSENTIALS: &str = "essentials";

/// The trial begins only where the edition is `ee`, without a token, and not installed as
/// essentials (wire contract, R-bootstrap-4).
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

    fn draws() -> Draws {
        let now = chrono::DateTime::from_timestamp(1_800_000_000, 0).unwrap().naive_utc();
        Draws { now, tenant_id: Uuid::from_u128(1), user_id: Uuid::from_u128(2), salt: [3; 16] }
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

    #[test]
    fn the_tenant_is_the_registrys_or_the_one_already_here() {
        let id = TENANT.to_string();
        let coded = [
            ("INITIAL_TENANT_ID", id.as_str()),
            ("EDITION_CHOICE", "ee"),
            ("INSTALL_EDITION", "pro"),
        ];
        let here = |id: Uuid| Found { tenant_id: Some(id.to_string()), license_state: true };
        let made = |plan: Plan| plan.tenant.map(|tenant| tenant.tenant_id);
        let another =
            Refusal::AnotherTenant { here: Uuid::from_u128(8).to_string(), asked: TENANT };
        for (what, values, found, expected) in [
            ("first boot", &coded[..], Found::default(), Ok(Some(TENANT))),
            ("run again", &coded, here(TENANT), Ok(None)),
            ("another's database", &coded, here(Uuid::from_u128(8)), Err(another)),
            (
                "without a code",
                &[("EDITION_CHOICE", "ce")],
                Found::default(),
                Ok(Some(draws().tenant_id)),
            ),
            ("without a code, again", &[("EDITION_CHOICE", "ce")], here(TENANT), Ok(None)),
            ("a code, and no tenant", &coded[1..], Found::default(), Err(Refusal::NoTenant)),
            ("a code, its tenant is here", &coded[1..], here(TENANT), Ok(None)),
            (
                "no name",
                &[("INITIAL_TENANT_NAME", "")],
                Found::default(),
                Err(Refusal::Missing("INITIAL_TENANT_NAME")),
            ),
        ] {
            assert_eq!(plan(&environment(values), &found, &draws()).map(made), expected, "{what}");
        }
        let neither = plan(&Environment::default(), &Found::default(), &draws());
        assert_eq!(neither, Ok(Plan::default()), "both Secrets are optional");
    }

    #[test]
    fn a_trial_begins_only_for_ee_without_a_token_and_not_as_essentials() {
        let now = draws().now;
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
            let found = Found { tenant_id: Some(TENANT.to_string()), license_state: false };
            let row = plan(&environment(values), &found, &draws()).unwrap().license_state.unwrap();
            assert_eq!(row.trial_started_at, expected, "{values:?}");
            let kept = Found { license_state: true, ..found };
            assert_eq!(
                plan(&environment(values), &kept, &draws()).unwrap(),
                Plan::default(),
                "never overwritten"
            );
        }
    }
}
