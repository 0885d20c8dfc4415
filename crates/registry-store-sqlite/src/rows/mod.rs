//! Rows, and how they become domain values and back. A row that cannot become one is damage, and
//! said so.

mod identity;
mod installation;
mod records;
mod sign_ins;

use registry_core::clock::Timestamp;
use registry_core::store::StoreError;

pub(crate) use identity::{EntitlementRow, TenantRow};
pub(crate) use installation::{ApplianceRow, CodeRow, CredentialRow};
pub(crate) use records::{AuditRow, MailRow, ReleaseRow, ReplayRow};
pub(crate) use sign_ins::SignInRow;

pub(super) type Read<T> = Result<T, StoreError>;

pub(super) fn corrupt(what: &str) -> StoreError {
    StoreError::Corrupt(format!("unreadable {what} in a row"))
}

pub(super) fn time(micros: i64) -> Read<Timestamp> {
    Timestamp::from_timestamp_micros(micros).ok_or_else(|| corrupt("time"))
}

pub(super) fn times(micros: Option<i64>) -> Read<Option<Timestamp>> {
    micros.map(time).transpose()
}

pub(super) fn micros(moment: Option<Timestamp>) -> Option<i64> {
    moment.map(|moment| moment.timestamp_micros())
}

pub(super) fn id<T: From<uuid::Uuid>>(text: &str) -> Read<T> {
    text.parse::<uuid::Uuid>().map(T::from).map_err(|_| corrupt("id"))
}

pub(super) fn ids<T: From<uuid::Uuid>>(text: Option<&String>) -> Read<Option<T>> {
    text.map(|text| id(text)).transpose()
}

pub(super) fn number<A, B: TryFrom<A>>(value: A) -> Read<B> {
    B::try_from(value).map_err(|_| corrupt("number"))
}

pub(super) fn digest(bytes: &[u8]) -> Read<[u8; 32]> {
    bytes.try_into().map_err(|_| corrupt("digest"))
}
