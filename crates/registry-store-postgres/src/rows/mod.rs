//! Rows, and how they become domain values and back. A row that cannot become one is damage, and
//! said so.

mod identity;
mod installation;
mod records;
mod sign_ins;

use registry_core::store::StoreError;

pub(crate) use identity::{EntitlementRow, TenantRow};
pub(crate) use installation::{ApplianceRow, CodeRow, CredentialRow};
pub(crate) use records::{AuditRow, ChannelRow, MailRow, ReleaseRow, ReplayRow};
pub(crate) use sign_ins::SignInRow;

pub(super) type Read<T> = Result<T, StoreError>;

pub(super) fn corrupt(what: &str) -> StoreError {
    StoreError::Corrupt(format!("unreadable {what} in a row"))
}

pub(super) fn number<A, B: TryFrom<A>>(value: A) -> Read<B> {
    B::try_from(value).map_err(|_| corrupt("number"))
}

pub(super) fn digest(bytes: &[u8]) -> Read<[u8; 32]> {
    bytes.try_into().map_err(|_| corrupt("digest"))
}

/// A row that a hand-written statement selects, column by column in its order.
pub(crate) trait Selected {
    type Sql;
}

/// A row as diesel reads it, and as columns that a batch writes.
macro_rules! row {
    ($name:ident of $table:ident { $($field:ident: $type:ty),+ $(,)? }) => {
        #[derive(diesel::Queryable, diesel::QueryableByName, diesel::Selectable)]
        #[diesel(table_name = $table)]
        pub(crate) struct $name {
            $(pub(crate) $field: $type,)+
        }

        impl crate::rows::Selected for $name {
            type Sql = ($(<crate::schema::$table::$field as diesel::Expression>::SqlType,)+);
        }

        impl crate::batch::Columns for $name {
            const TABLE: &'static str = stringify!($table);
            const NAMES: &'static [&'static str] = &[$(stringify!($field)),+];

            fn columns(self) -> Vec<(&'static str, crate::batch::Bind)> {
                vec![$((stringify!($field), self.$field.into())),+]
            }
        }
    };
}
pub(super) use row;
