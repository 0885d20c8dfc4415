//! Tables: for each, one list of its columns makes the schema and the conversions of its rows.

use diesel::sql_types::Nullable;

use crate::field::{Converted, Field};
use crate::value::{Plain, Value, ValueType};

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

impl ColumnInfo {
    pub(crate) const fn of<F: Field>(name: &'static str) -> Self {
        Self { name, value_type: F::Raw::TYPE, is_nullable: F::Raw::IS_NULLABLE }
    }
}

/// Name, columns and key of a table.
#[derive(Debug, PartialEq, Eq)]
pub struct TableInfo {
    /// Name of the table.
    pub name: &'static str,
    /// Names of the key's columns.
    pub key: &'static [&'static str],
    /// The columns.
    pub columns: &'static [ColumnInfo],
}

impl TableInfo {
    /// Returns the names of the columns.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.columns.iter().map(|column| column.name)
    }
}

/// A type whose values are the rows of a table.
pub trait Table: Sized + Send + 'static {
    /// The table.
    const TABLE: &'static TableInfo;
    /// SQL types of the columns.
    type Sql;
    /// A row as the database returns it.
    type Raw;

    /// Returns the values of the columns, in their order.
    fn values(&self) -> Converted<Vec<Value>>;

    /// Converts a row.
    fn read(raw: Self::Raw) -> Converted<Self>;
}

/// A part of the rows that a statement selects: the row of a table, or `None` where an outer join
/// found none.
pub trait Part: Sized {
    /// SQL types of the columns.
    type Sql;
    /// The part as the database returns it.
    type Raw;

    /// Converts the part.
    fn read(raw: Self::Raw) -> Converted<Self>;

    /// Returns the columns as a list for `SELECT`.
    #[must_use]
    fn columns(alias: &str) -> String;
}

impl<T: Table> Part for T {
    type Sql = T::Sql;
    type Raw = T::Raw;

    fn read(raw: T::Raw) -> Converted<T> {
        <T as Table>::read(raw)
    }

    fn columns(alias: &str) -> String {
        T::TABLE.names().map(|name| format!("{alias}.{name}")).collect::<Vec<_>>().join(", ")
    }
}

impl<T: Table> Part for Option<T> {
    type Sql = Nullable<T::Sql>;
    type Raw = Option<T::Raw>;

    fn read(raw: Option<T::Raw>) -> Converted<Self> {
        raw.map(<T as Table>::read).transpose()
    }

    fn columns(alias: &str) -> String {
        <T as Part>::columns(alias)
    }
}

/// Declares a table. Each column has the name of the field that it stores, or it has an expression
/// for its value; then the fields that such columns store follow after `as`.
macro_rules! table {
    ($table:ident of $name:literal, key [$($key:literal),+] {
        $($field:ident: $type:ty,)*
    } $(and |$value:ident| {
        $($column:ident: $column_type:ty = $store:expr,)+
    } as {
        $($part:ident: $read:expr,)*
    })?) => {
        impl $crate::table::Table for $table {
            const TABLE: &'static $crate::table::TableInfo = &$crate::table::TableInfo {
                name: $name,
                key: &[$($key),+],
                columns: &[
                    $($crate::table::ColumnInfo::of::<$type>(stringify!($field)),)*
                    $($($crate::table::ColumnInfo::of::<$column_type>(stringify!($column)),)+)?
                ],
            };
            type Sql = (
                $($crate::table::Sql<$type>,)*
                $($($crate::table::Sql<$column_type>,)+)?
            );
            type Raw = ($($crate::table::Raw<$type>,)* $($($crate::table::Raw<$column_type>,)+)?);

            fn values(&self) -> $crate::field::Converted<Vec<$crate::value::Value>> {
                use $crate::table::stored;
                $(let $value = self;)?
                Ok(vec![
                    $(stored::<$type>(stringify!($field), &self.$field)?,)*
                    $($(stored::<$column_type>(stringify!($column), &$store)?,)+)?
                ])
            }

            fn read(raw: Self::Raw) -> $crate::field::Converted<Self> {
                let ($($field,)* $($($column,)+)?) = raw;
                $(let $field: $type = $crate::table::read(stringify!($field), $field)?;)*
                $($(
                    let $column: $column_type = $crate::table::read(stringify!($column), $column)?;
                )+)?
                // Some columns are only searched.
                $($(let _ = &$column;)+)?
                Ok(Self { $($field,)* $($($part: $read,)*)? })
            }
        }

        impl $crate::statement::Record for $table {
            type Sql = <Self as $crate::table::Table>::Sql;
            type Raw = <Self as $crate::table::Table>::Raw;

            fn read(raw: Self::Raw) -> $crate::field::Converted<Self> {
                <Self as $crate::table::Table>::read(raw)
            }
        }
    };
}
pub(crate) use table;

pub(crate) type Raw<F> = <F as Field>::Raw;
pub(crate) type Sql<F> = <Raw<F> as Plain>::Sql;

/// Converts a column's value to store it.
pub(crate) fn stored<F: Field>(column: &str, value: &F) -> Converted<Value> {
    let stored = value.store().map_err(|error| format!("column `{column}`: {error}"))?;
    Ok(stored.into())
}

/// Converts a column's stored value.
pub(crate) fn read<F: Field>(column: &str, raw: F::Raw) -> Converted<F> {
    F::read(raw).map_err(|error| format!("unreadable column `{column}`: {error}").into())
}

/// Declares the parts that a statement selects, each under its alias.
macro_rules! parts {
    ($(#[$doc:meta])* $visibility:vis $name:ident { $($alias:ident: $part:ty),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug)]
        $visibility struct $name {
            $(pub(crate) $alias: $part,)+
        }

        impl $crate::statement::Record for $name {
            type Sql = ($(<$part as $crate::table::Part>::Sql,)+);
            type Raw = ($(<$part as $crate::table::Part>::Raw,)+);

            fn read(($($alias,)+): Self::Raw) -> $crate::field::Converted<Self> {
                Ok(Self { $($alias: <$part as $crate::table::Part>::read($alias)?,)+ })
            }
        }

        impl $name {
            /// Returns the columns of all parts as a list for `SELECT`.
            pub(crate) fn columns() -> String {
                [$(<$part as $crate::table::Part>::columns(stringify!($alias))),+].join(", ")
            }
        }
    };
}
pub(crate) use parts;
