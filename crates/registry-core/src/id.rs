//! Ids, each with its own type, so that a tenant's id cannot be passed as a code's.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::Refusal;

macro_rules! id {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.as_hyphenated().fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, uuid::Error> {
                Uuid::parse_str(text).map(Self)
            }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }

        impl From<$name> for Uuid {
            fn from(id: $name) -> Self {
                id.0
            }
        }
    )+};
}

id!(
    /// Id of a tenant. It never changes: the appliance stores it, and every re-issue keeps it.
    TenantId,
    /// Id of an entitlement.
    EntitlementId,
    /// Id of an install code. It is not secret, so audit entries and logs use it.
    CodeId,
    /// Id of a mail in the outbox. The `Message-ID` is derived from it.
    MailId,
    /// Id of an audit entry.
    AuditId,
    /// Id of a published release.
    ReleaseId,
);

impl TenantId {
    /// Reads the id in a request's path. Refuses text that is no id: there is no such tenant.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        text.parse().map_err(|_| Refusal::TenantNotFound)
    }
}
