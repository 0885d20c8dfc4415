//! Ids, one type each, so that a tenant is never mistaken for a code.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

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
    /// Names a tenant, everywhere and for good: it travels to the appliance and comes back with
    /// every re-issue.
    TenantId,
    /// Names an entitlement.
    EntitlementId,
    /// Names an install code without being one: what audit lines and logs say.
    CodeId,
    /// Names a mail in the outbox; its `Message-ID` is made of it.
    MailId,
    /// Names a line of the audit.
    AuditId,
    /// Names a published release.
    ReleaseId,
);
