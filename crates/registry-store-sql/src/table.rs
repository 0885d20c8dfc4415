//! Tables: for each, one list of its columns makes the row, the schema and the conversions.

use registry_core::store::StoreError;

use crate::value::{Value, ValueType};

/// A column of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ColumnInfo {
    /// Name of the column.
    pub name: &'static str,
    /// Type of its values.
    pub value_type: ValueType,
    /// True if it may be `NULL`.
    pub is_nullable: bool,
}

/// Name, columns and key of a table.
#[derive(Debug, PartialEq, Eq)]
pub struct TableInfo {
    /// Name of the table.
    pub name: &'static str,
    /// Names of the key's columns.
    pub key: &'static [&'static str],
    /// The columns, in the order of the row's fields.
    pub columns: &'static [ColumnInfo],
}

impl TableInfo {
    /// Returns the column with this name.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<&'static ColumnInfo> {
        self.columns.iter().find(|column| column.name == name)
    }
}

/// A row of a table.
pub trait Row: Sized {
    /// The table.
    const TABLE: &'static TableInfo;
    /// SQL types of the columns.
    type Sql;

    /// Returns the values of the columns, in their order.
    fn values(self) -> Vec<Value>;
}

/// A part of the rows that a statement selects: a row, or `None` where an outer join found none.
pub trait Part {
    /// SQL types of the columns.
    type Sql;

    /// Returns the columns as a list for `SELECT`.
    #[must_use]
    fn columns(alias: &str) -> String;
}

impl<R: Row> Part for R {
    type Sql = R::Sql;

    fn columns(alias: &str) -> String {
        let columns = R::TABLE.columns.iter().map(|column| format!("{alias}.{}", column.name));
        columns.collect::<Vec<_>>().join(", ")
    }
}

impl<R: Row> Part for Option<R> {
    type Sql = diesel::sql_types::Nullable<R::Sql>;

    fn columns(alias: &str) -> String {
        <R as Part>::columns(alias)
    }
}

/// Declares a table: its row, and the list of its columns.
macro_rules! table {
    ($(#[$doc:meta])* $row:ident of $table:literal, key [$($key:literal),+] {
        $($field:ident: $type:ty),+ $(,)?
    }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, diesel::Queryable)]
        pub struct $row {
            $(pub(crate) $field: $type,)+
        }

        impl $crate::table::Row for $row {
            const TABLE: &'static $crate::table::TableInfo = &$crate::table::TableInfo {
                name: $table,
                key: &[$($key),+],
                columns: &[$($crate::table::ColumnInfo {
                    name: stringify!($field),
                    value_type: <$type as $crate::value::Field>::TYPE,
                    is_nullable: <$type as $crate::value::Field>::IS_NULLABLE,
                }),+],
            };
            type Sql = ($(<$type as $crate::value::Field>::Sql,)+);

            fn values(self) -> Vec<$crate::value::Value> {
                vec![$(self.$field.into()),+]
            }
        }

        impl $crate::statement::Record for $row {
            type Sql = <Self as $crate::table::Row>::Sql;
        }
    };
}
pub(crate) use table;

pub(crate) type Read<T> = Result<T, StoreError>;

/// The error of a row that cannot become a domain value.
pub(crate) fn corrupt(what: &str) -> StoreError {
    StoreError::Corrupt(format!("unreadable {what} in a row"))
}

pub(crate) fn number<A, B: TryFrom<A>>(value: A) -> Read<B> {
    B::try_from(value).map_err(|_| corrupt("number"))
}

pub(crate) fn digest(bytes: &[u8]) -> Read<[u8; 32]> {
    bytes.try_into().map_err(|_| corrupt("digest"))
}
