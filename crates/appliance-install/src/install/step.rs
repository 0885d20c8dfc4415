//! The stored state of an installation. Older versions wrote other field names, which the aliases
//! keep readable.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::attempted_codes::AttemptedCodes;
use crate::redemption::{Identity, Refusal, UnverifiedIdentity};
use crate::service_error::ServiceError;
use crate::setup_form::SetupForm;

/// The next step of an installation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum Step {
    /// The installer fills in or corrects the form.
    Collect {
        /// The registry's refusal of the last code.
        #[serde(alias = "refused")]
        refusal: Option<Refusal>,
        /// The form with the refused code. The installer corrects only the code.
        #[serde(alias = "before")]
        previous_form: Option<Box<SetupForm>>,
    },
    /// The code is redeemed.
    Redeem {
        /// The form with the code.
        #[serde(alias = "entered")]
        setup_form: SetupForm,
        /// Idempotency key of all attempts with this code.
        idempotency_key: String,
        /// Number of failed attempts.
        #[serde(alias = "tries")]
        attempts: u32,
        /// Error of the last attempt.
        #[serde(alias = "trouble")]
        service_error: Option<ServiceError>,
    },
    /// The code was redeemed. The license in the response is verified.
    Verify {
        /// The form with the code.
        #[serde(alias = "entered")]
        setup_form: SetupForm,
        /// Identity in the registry's response.
        #[serde(alias = "claimed")]
        unverified: UnverifiedIdentity,
        /// Number of failed attempts.
        #[serde(alias = "tries")]
        attempts: u32,
        /// Error of the last attempt.
        #[serde(alias = "trouble")]
        service_error: Option<ServiceError>,
    },
    /// The Secrets are written.
    Write {
        /// The installer's form.
        #[serde(alias = "entered")]
        setup_form: SetupForm,
        /// Identity of the appliance; `None` if the installer chose to install without a code.
        identity: Option<Identity>,
    },
    /// The product is bootstrapped.
    Bootstrap {
        /// The registry's tenant; `None` without a code.
        tenant_id: Option<Uuid>,
    },
    /// The installation is complete.
    Done {
        /// The registry's tenant; `None` without a code.
        tenant_id: Option<Uuid>,
    },
}

/// The content of the state file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct State {
    /// True once a code was entered. From then on, only the registry can assign the tenant.
    pub(super) code_was_entered: bool,
    pub(super) step: Step,
    /// The codes that were attempted, until the appliance has an identity.
    #[serde(default, alias = "tried")]
    pub(super) attempted_codes: AttemptedCodes,
    /// Id of the appliance at the first attempt. It stays the same, because the registry identifies
    /// the redemption by it.
    pub(super) appliance_id: String,
}

impl State {
    pub(super) fn new(appliance_id: String) -> Self {
        Self {
            code_was_entered: false,
            step: Step::Collect { refusal: None, previous_form: None },
            attempted_codes: AttemptedCodes::default(),
            appliance_id,
        }
    }
}
