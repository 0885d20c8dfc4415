//! Values of columns, and columns of several rows.

use diesel::sql_types::{BigInt, Binary, Integer, Nullable, Text};
use registry_core::clock::Timestamp;
use registry_core::id::{AuditId, CodeId, EntitlementId, MailId, ReleaseId, TenantId};
use uuid::Uuid;

use crate::types::{Id, Time};

/// A type that a database reads and writes itself.
pub trait Plain: Into<Value> {
    /// SQL type of the column.
    type Sql;
    /// Type of the value.
    const TYPE: ValueType;
    /// True if the column may be `NULL`.
    const IS_NULLABLE: bool;
}

macro_rules! values {
    ($($name:ident: $rust:ty => $sql:ty, $postgres:literal;)+) => {
        /// A value to bind; `None` is `NULL`.
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[expect(missing_docs, reason = "one variant for each SQL type, with its name")]
        pub enum Value {
            $($name(Option<$rust>),)+
        }

        /// The values of one column in several rows, to be bound as an array.
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[expect(missing_docs, reason = "one variant for each SQL type, with its name")]
        pub enum Column {
            $($name(Vec<Option<$rust>>),)+
        }

        /// Type of a value.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[expect(missing_docs, reason = "one variant for each SQL type, with its name")]
        pub enum ValueType {
            $($name,)+
        }

        impl ValueType {
            /// Returns an empty column of this type.
            #[must_use]
            pub fn column(self) -> Column {
                match self {
                    $(Self::$name => Column::$name(Vec::new()),)+
                }
            }

            /// Returns `NULL` of this type.
            #[must_use]
            pub fn null(self) -> Value {
                match self {
                    $(Self::$name => Value::$name(None),)+
                }
            }

            /// Returns the name of the type in PostgreSQL.
            #[must_use]
            pub fn postgres_name(self) -> &'static str {
                match self {
                    $(Self::$name => $postgres,)+
                }
            }
        }

        impl Column {
            /// Appends a value. A value of another type becomes `NULL`: only the tables of this
            /// crate build columns, and each of their columns has one type.
            pub fn push(&mut self, value: Value) {
                match (self, value) {
                    $((Self::$name(column), Value::$name(value)) => column.push(value),)+
                    $((Self::$name(column), _) => column.push(None),)+
                }
            }
        }

        $(
            impl From<$rust> for Value {
                fn from(value: $rust) -> Self {
                    Self::$name(Some(value))
                }
            }

            impl From<Option<$rust>> for Value {
                fn from(value: Option<$rust>) -> Self {
                    Self::$name(value)
                }
            }

            impl Plain for $rust {
                type Sql = $sql;
                const TYPE: ValueType = ValueType::$name;
                const IS_NULLABLE: bool = false;
            }

            impl Plain for Option<$rust> {
                type Sql = Nullable<$sql>;
                const TYPE: ValueType = ValueType::$name;
                const IS_NULLABLE: bool = true;
            }
        )+
    };
}

values! {
    Id: Uuid => Id, "uuid";
    Text: String => Text, "text";
    Time: Timestamp => Time, "timestamp with time zone";
    Bytes: Vec<u8> => Binary, "bytea";
    Int: i32 => Integer, "integer";
    BigInt: i64 => BigInt, "bigint";
}

macro_rules! converted {
    ($($from:ty),+ => $convert:expr) => {$(
        impl From<$from> for Value {
            fn from(value: $from) -> Self {
                Self::from($convert(value))
            }
        }

        impl From<Option<$from>> for Value {
            fn from(value: Option<$from>) -> Self {
                Self::from(value.map($convert))
            }
        }
    )+};
}

converted!(TenantId, EntitlementId, CodeId, MailId, AuditId, ReleaseId => Uuid::from);
converted!(&str => str::to_owned);
converted!([u8; 32] => Vec::from);
