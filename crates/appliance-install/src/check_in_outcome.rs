//! The outcome of a check-in.

use std::time::Duration;

use crate::secret::SecretText;
use crate::service_error::ServiceError;

/// Outcome of a check-in. `next_check_in` is the pause that the registry requests; `None` if it
/// requests none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckInOutcome {
    /// The registry sent a new license, which was verified.
    Renewed {
        /// The license.
        license: SecretText,
        /// The `sub` of the license. A new subscription has another one.
        sub: String,
        /// Expiry time of the license, in Unix seconds.
        expires_at: u64,
        /// Time until the next check-in.
        next_check_in: Option<Duration>,
    },
    /// The appliance's license needs no renewal yet.
    Current {
        /// Time until the next check-in.
        next_check_in: Option<Duration>,
    },
    /// The entitlement was revoked, or the tenant is suspended.
    Revoked {
        /// Time until the next check-in.
        next_check_in: Option<Duration>,
    },
    /// The registry does not accept the credential.
    CredentialRevoked,
    /// The check-in failed. A retry may succeed.
    ServiceError(ServiceError),
}

impl CheckInOutcome {
    /// Returns true if the registry itself responded.
    pub(crate) fn is_from_registry(&self) -> bool {
        !matches!(self, Self::ServiceError(_))
    }
}
