//! What a check-in comes to.

use std::time::Duration;

use crate::secret::SecretText;
use crate::service_error::ServiceError;

/// What a check-in came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckInOutcome {
    /// Here is a new license.
    Renewed {
        /// The license.
        license: SecretText,
        /// Its `sub`: another one where the subscription is another one.
        sub: String,
        /// When it ends, in Unix seconds.
        expires_at: u64,
        /// When to come back, from now.
        asked: Option<Duration>,
    },
    /// The license that the appliance holds is as new as it needs to be.
    Current {
        /// When to come back, from now.
        asked: Option<Duration>,
    },
    /// What it was entitled to has ended.
    Revoked {
        /// When to come back, from now.
        asked: Option<Duration>,
    },
    /// The credential is not known.
    CredentialRevoked,
    /// Trying again helps.
    ServiceError(ServiceError),
}

impl CheckInOutcome {
    /// Whether it comes from the registry, and not from something in its place.
    pub(crate) fn is_the_registrys(&self) -> bool {
        !matches!(self, Self::ServiceError(_))
    }
}
