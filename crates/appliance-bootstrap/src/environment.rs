//! The values of the two Secrets, read from the environment of the Job.

use std::ffi::OsString;

use uuid::Uuid;
use zeroize::Zeroizing;

/// Error in the values of the Secrets.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvironmentError {
    /// The tenant id is not a UUID, or is the nil UUID.
    #[error(
        "INITIAL_TENANT_ID is not a tenant id (a UUID). The Secret appliance-initial-tenant is \
         damaged."
    )]
    TenantId,
    /// The edition is neither `ee` nor `ce`.
    #[error("EDITION_CHOICE must be `ee` or `ce`. The Secret appliance-license-seed is damaged.")]
    EditionChoice,
    /// A value is not valid UTF-8.
    #[error("{0} is not valid UTF-8. The Secret that it comes from is damaged.")]
    NotText(&'static str),
    /// A value of the license is set, but the edition is missing.
    #[error("{0} is set, but EDITION_CHOICE is not. The Secret appliance-license-seed is damaged.")]
    NoChoice(&'static str),
}

/// Names of all variables that are read.
const NAMES: [&str; 12] = [
    "INITIAL_TENANT_ID",
    "INITIAL_TENANT_NAME",
    "INITIAL_ADMIN_FIRST_NAME",
    "INITIAL_ADMIN_LAST_NAME",
    "INITIAL_ADMIN_EMAIL",
    "INITIAL_ADMIN_PASSWORD",
    "EDITION_CHOICE",
    "INSTALL_EDITION",
    "LICENSE_TOKEN",
    "APPLIANCE_ID",
    "CHECK_IN_URL",
    "APPLIANCE_CREDENTIAL",
];

/// Edition of the appliance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EditionChoice {
    /// The full edition. Without a license it starts as a trial.
    Ee,
    /// The free edition.
    Ce,
}

/// The values of both Secrets. An empty value counts as missing. Either Secret may be missing.
#[derive(Clone, Default)]
#[expect(missing_docs, reason = "the names are the contract's")]
pub struct Environment {
    pub tenant_id: Option<Uuid>,
    pub tenant_name: Option<String>,
    pub admin_first_name: Option<String>,
    pub admin_last_name: Option<String>,
    pub admin_email: Option<String>,
    pub admin_password: Option<Zeroizing<String>>,
    pub edition_choice: Option<EditionChoice>,
    pub install_edition: Option<String>,
    pub license_token: Option<String>,
    pub appliance_id: Option<String>,
    pub check_in_url: Option<String>,
    pub appliance_credential: Option<Zeroizing<String>>,
}

impl Environment {
    /// Reads the values through `value`, for example [`std::env::var_os`].
    pub fn read(value: impl Fn(&str) -> Option<OsString>) -> Result<Self, EnvironmentError> {
        for name in NAMES {
            // If it counted as missing, the appliance could get another identity.
            if value(name).is_some_and(|value| value.to_str().is_none()) {
                return Err(EnvironmentError::NotText(name));
            }
        }
        let value = |name: &str| value(name).and_then(|value| value.into_string().ok());
        let text = |name| value(name).map(|it| it.trim().to_owned()).filter(|it| !it.is_empty());
        let tenant_id = match text("INITIAL_TENANT_ID").map(|id| Uuid::try_parse(&id)) {
            None => None,
            Some(Ok(id)) if !id.is_nil() => Some(id),
            Some(_) => return Err(EnvironmentError::TenantId),
        };
        let edition_choice = match text("EDITION_CHOICE").as_deref() {
            None => None,
            Some("ee") => Some(EditionChoice::Ee),
            Some("ce") => Some(EditionChoice::Ce),
            Some(_) => return Err(EnvironmentError::EditionChoice),
        };
        let seed = [
            "INSTALL_EDITION",
            "LICENSE_TOKEN",
            "APPLIANCE_ID",
            "CHECK_IN_URL",
            "APPLIANCE_CREDENTIAL",
        ];
        if let (None, Some(name)) =
            (edition_choice, seed.into_iter().find(|name| text(name).is_some()))
        {
            return Err(EnvironmentError::NoChoice(name));
        }
        Ok(Self {
            tenant_id,
            tenant_name: text("INITIAL_TENANT_NAME"),
            admin_first_name: text("INITIAL_ADMIN_FIRST_NAME"),
            admin_last_name: text("INITIAL_ADMIN_LAST_NAME"),
            admin_email: text("INITIAL_ADMIN_EMAIL"),
            // Not trimmed: white space may be part of the password.
            admin_password: value("INITIAL_ADMIN_PASSWORD")
                .filter(|it| !it.is_empty())
                .map(Zeroizing::new),
            edition_choice,
            install_edition: text("INSTALL_EDITION"),
            license_token: text("LICENSE_TOKEN"),
            appliance_id: text("APPLIANCE_ID"),
            check_in_url: text("CHECK_IN_URL"),
            appliance_credential: text("APPLIANCE_CREDENTIAL").map(Zeroizing::new),
        })
    }

    /// Returns true if the values come from a redeemed code. Only the registry's tenant may then be
    /// created.
    #[must_use]
    pub fn comes_from_code(&self) -> bool {
        let texts = [&self.install_edition, &self.appliance_id, &self.check_in_url];
        self.appliance_credential.is_some() || texts.iter().any(|text| text.is_some())
    }

    /// Returns true if any value describes a tenant or its administrator.
    #[must_use]
    pub fn has_tenant_values(&self) -> bool {
        let texts =
            [&self.tenant_name, &self.admin_first_name, &self.admin_last_name, &self.admin_email];
        self.tenant_id.is_some()
            || self.admin_password.is_some()
            || texts.iter().any(|text| text.is_some())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt as _;

    use super::*;

    fn read(values: &[(&str, &str)]) -> Result<Environment, EnvironmentError> {
        Environment::read(|name| {
            values.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).into())
        })
    }

    #[test]
    fn damaged_values_are_rejected() {
        for (values, expected) in [
            (&[("INITIAL_TENANT_ID", "acme")][..], EnvironmentError::TenantId),
            (
                &[("INITIAL_TENANT_ID", "00000000-0000-0000-0000-000000000000")],
                EnvironmentError::TenantId,
            ),
            (&[("EDITION_CHOICE", "pro")], EnvironmentError::EditionChoice),
            (&[("LICENSE_TOKEN", "a.b.c")], EnvironmentError::NoChoice("LICENSE_TOKEN")),
        ] {
            assert_eq!(read(values).err(), Some(expected), "{values:?}");
        }
        let bytes =
            |name: &str| (name == "INSTALL_EDITION").then(|| OsString::from_vec(vec![0xff]));
        assert_eq!(
            Environment::read(bytes).err(),
            Some(EnvironmentError::NotText("INSTALL_EDITION"))
        );
        let empty = read(&[
            ("INITIAL_TENANT_ID", ""),
            ("LICENSE_TOKEN", " "),
            ("INITIAL_ADMIN_PASSWORD", ""),
        ])
        .unwrap();
        assert!(
            !empty.has_tenant_values() && !empty.comes_from_code(),
            "an empty value counts as missing"
        );
    }
}
