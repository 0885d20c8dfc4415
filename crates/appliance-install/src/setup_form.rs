//! The installer's entries on the first-boot page.

use serde::{Deserialize, Serialize};

use crate::secret::{SecretText, serialize_optional_secret, serialize_secret};

/// The entries on the first-boot page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetupForm {
    /// Name of the company.
    pub company: String,
    /// The first administrator.
    pub admin: Admin,
    /// Source of the appliance's identity.
    #[serde(alias = "way")]
    pub method: ProvisioningMethod,
}

/// The first administrator. The password never leaves the appliance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are self-explanatory")]
pub struct Admin {
    pub first_name: String,
    pub last_name: String,
    pub email: String,
    #[serde(serialize_with = "serialize_secret")]
    pub password: SecretText,
}

/// Source of the appliance's identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ProvisioningMethod {
    /// The registry, in exchange for an install code.
    Code {
        /// The code as typed.
        #[serde(serialize_with = "serialize_secret")]
        code: SecretText,
    },
    /// The registry, through an answer file: the appliance has no network.
    Offline,
    /// The appliance itself. The installer chose this explicitly.
    WithoutCode {
        /// The edition.
        edition: EditionChoice,
        /// A license that the installer entered.
        #[serde(serialize_with = "serialize_optional_secret")]
        license: Option<SecretText>,
    },
}

/// Edition of an appliance that is installed without a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EditionChoice {
    /// The full edition. Without a license it starts as a trial.
    Ee,
    /// The free edition.
    Ce,
}

impl EditionChoice {
    /// Returns the value for the Secret.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ee => "ee",
            Self::Ce => "ce",
        }
    }
}
