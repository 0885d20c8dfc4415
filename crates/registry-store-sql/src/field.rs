//! Fields: how a column stores each type of the domain.

use registry_core::audit::{Action, AuditDetail};
use registry_core::blob::BlobKey;
use registry_core::clock::Timestamp;
use registry_core::edition::EditionName;
use registry_core::id::{AuditId, CodeId, EntitlementId, MailId, ReleaseId, TenantId};
use registry_core::install_code::CodeKind;
use registry_core::mail::{MailState, QueuedMessage};
use registry_core::secret::{CredentialDigest, KeyId, SignInDigest};
use registry_core::sign_in::{Role, SignInKind};
use registry_core::tenant::{DeploymentType, TenantOrigin, TenantStatus};
use registry_core::text::{
    ApplianceId, BillingCustomerId, Channel, CompanyName, EmailAddress, PersonName, ProductCode,
    Region, SubscriptionId, Version,
};
use uuid::Uuid;

use crate::value::Plain;

/// The result of a conversion. An error means that a row is damaged, or that a value does not fit.
pub type Converted<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// A type that a column stores.
pub trait Field: Sized {
    /// The type as the database has it.
    type Raw: Plain;

    /// Converts a value to store it.
    fn store(&self) -> Converted<Self::Raw>;

    /// Converts a stored value.
    fn read(raw: Self::Raw) -> Converted<Self>;
}

impl<F: Field> Field for Option<F>
where
    Option<F::Raw>: Plain,
{
    type Raw = Option<F::Raw>;

    fn store(&self) -> Converted<Self::Raw> {
        self.as_ref().map(F::store).transpose()
    }

    fn read(raw: Self::Raw) -> Converted<Self> {
        raw.map(F::read).transpose()
    }
}

impl<const N: usize> Field for [u8; N] {
    type Raw = Vec<u8>;

    fn store(&self) -> Converted<Vec<u8>> {
        Ok(self.to_vec())
    }

    fn read(raw: Vec<u8>) -> Converted<Self> {
        Ok(raw.as_slice().try_into()?)
    }
}

macro_rules! fields {
    ($raw:ty: $($type:ty),+ => |$value:ident| $store:expr, |$stored:ident| $read:expr) => {$(
        impl Field for $type {
            type Raw = $raw;

            fn store(&self) -> Converted<$raw> {
                let $value = self;
                Ok($store)
            }

            fn read($stored: $raw) -> Converted<Self> {
                Ok($read)
            }
        }
    )+};
}

fields!(String: String => |it| it.clone(), |raw| raw);
fields!(Vec<u8>: Vec<u8> => |it| it.clone(), |raw| raw);
fields!(Timestamp: Timestamp => |it| *it, |raw| raw);
fields!(i32: i32 => |it| *it, |raw| raw);
fields!(i64: i64 => |it| *it, |raw| raw);
fields!(i32: u32 => |it| i32::try_from(*it)?, |raw| raw.try_into()?);
fields!(i64: u64 => |it| i64::try_from(*it)?, |raw| raw.try_into()?);
fields!(
    Uuid: TenantId, EntitlementId, CodeId, MailId, AuditId, ReleaseId => |it| it.0, |raw| raw.into()
);
fields!(Vec<u8>: CredentialDigest, SignInDigest => |it| it.0.to_vec(), |raw| Self(Field::read(raw)?));
fields!(String: KeyId => |it| it.0.clone(), |raw| Self(raw));
fields!(
    String: ApplianceId, BillingCustomerId, Channel, CompanyName, EmailAddress, PersonName,
        ProductCode, Region, SubscriptionId, Version
    => |it| it.to_string(), |raw| Self::from_stored(raw)
);
fields!(String: EditionName => |it| it.to_string(), |raw| Self::new(raw));
fields!(
    String: Action, CodeKind, DeploymentType, MailState, Role, SignInKind, TenantOrigin,
        TenantStatus
    => |it| it.as_str().to_owned(), |raw| Self::from_name(&raw).ok_or("the name is unknown")?
);
fields!(
    String: BlobKey => |it| it.to_string(), |raw| Self::parse(&raw).ok_or("the key is invalid")?
);
fields!(String: AuditDetail => |it| it.to_stored(), |raw| Self::from_stored(&raw));
fields!(
    String: QueuedMessage => |it| serde_json::to_string(it)?, |raw| serde_json::from_str(&raw)?
);
