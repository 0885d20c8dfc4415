//! What the operator entered on the first-boot page.

use serde::{Deserialize, Serialize};

use crate::secret::{SecretText, write_down, write_down_some};

/// The form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetupForm {
    /// The company.
    pub company: String,
    /// The first administrator.
    pub admin: Admin,
    /// Where the identity comes from.
    pub way: ProvisioningMethod,
}

/// The first administrator. The password never leaves the appliance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each field says it itself")]
pub struct Admin {
    pub first_name: String,
    pub last_name: String,
    pub email: String,
    #[serde(serialize_with = "write_down")]
    pub password: SecretText,
}

/// Where the identity comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ProvisioningMethod {
    /// From the registry, for an install code.
    Code {
        /// The code as typed.
        #[serde(serialize_with = "write_down")]
        code: SecretText,
    },
    /// From the registry, by an answer that was carried here: there was no network.
    Offline,
    /// From the appliance itself: an explicit choice.
    WithoutCode {
        /// Which edition.
        edition: EditionChoice,
        /// A license that was brought along.
        #[serde(serialize_with = "write_down_some")]
        license: Option<SecretText>,
    },
}

/// An edition, as the operator without a code chooses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EditionChoice {
    /// The enterprise edition, at first on trial.
    Ee,
    /// The community edition.
    Ce,
}

impl EditionChoice {
    /// The word for it in the Secret.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ee => "ee",
            Self::Ce => "ce",
        }
    }
}
