//! Statements: SQL text with bound values, which both databases take.

use std::borrow::Cow;
use std::marker::PhantomData;

use diesel::QueryResult;
use diesel::deserialize::FromSqlRow;
use diesel::expression::expression_types::Untyped;
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{Array, BigInt, Binary, Integer, Nullable, Text};
use diesel::sqlite::Sqlite;

use uuid::Uuid;

use crate::field::Converted;
use crate::types::{Id, Time};
use crate::value::{Column, Value};

/// The SQL that a database understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// PostgreSQL, and engines that understand its dialect.
    Postgres,
    /// SQLite.
    Sqlite,
}

/// What a statement returns for each row, from either database.
pub trait Record: Sized + Send + 'static {
    /// SQL types of the columns.
    type Sql;
    /// A row as the database returns it.
    type Raw: FromSqlRow<Self::Sql, Pg> + FromSqlRow<Self::Sql, Sqlite>;

    /// Converts a row.
    fn read(raw: Self::Raw) -> Converted<Self>;
}

/// Rows that need no conversion.
macro_rules! raw_records {
    ($($raw:ty: $sql:ty;)+) => {$(
        impl Record for $raw {
            type Sql = $sql;
            type Raw = Self;

            fn read(raw: Self) -> Converted<Self> {
                Ok(raw)
            }
        }
    )+};
}

raw_records! {
    i64: BigInt;
    Option<String>: Nullable<Text>;
    (i64, Option<Uuid>): (BigInt, Nullable<Id>);
}

#[derive(Clone, Debug)]
enum Piece {
    Sql(Cow<'static, str>),
    Value(Value),
    Column(Column),
}

/// A statement whose rows are of type `R`. A connection keeps it prepared under its text.
#[derive(Debug)]
pub struct Statement<R = i64> {
    pieces: Vec<Piece>,
    record: PhantomData<fn() -> R>,
}

impl<R> Statement<R> {
    /// Returns a statement that begins with this text.
    #[must_use]
    pub fn new(text: impl Into<Cow<'static, str>>) -> Self {
        let pieces = vec![Piece::Sql(text.into())];
        Self { pieces, record: PhantomData }
    }

    /// Appends text.
    #[must_use]
    pub fn sql(mut self, text: impl Into<Cow<'static, str>>) -> Self {
        self.pieces.push(Piece::Sql(text.into()));
        self
    }

    /// Appends a value.
    #[must_use]
    pub fn bind(mut self, value: impl Into<Value>) -> Self {
        self.pieces.push(Piece::Value(value.into()));
        self
    }

    /// Appends a column as an array. Only PostgreSQL has arrays.
    #[must_use]
    pub fn bind_column(mut self, column: Column) -> Self {
        self.pieces.push(Piece::Column(column));
        self
    }

    /// Returns the text, with `?` for each value. A connection has prepared the statement if it has
    /// run one with the same text.
    #[must_use]
    pub fn text(&self) -> String {
        let text = |piece: &Piece| match piece {
            Piece::Sql(text) => text.clone(),
            Piece::Value(_) | Piece::Column(_) => Cow::Borrowed("?"),
        };
        self.pieces.iter().map(text).collect()
    }
}

/// Binds a value in a statement for either database.
macro_rules! bind {
    ($out:ident, $value:expr) => {
        match $value {
            Value::Id(it) => $out.push_bind_param::<Nullable<Id>, _>(it)?,
            Value::Text(it) => $out.push_bind_param::<Nullable<Text>, _>(it)?,
            Value::Time(it) => $out.push_bind_param::<Nullable<Time>, _>(it)?,
            Value::Bytes(it) => $out.push_bind_param::<Nullable<Binary>, _>(it)?,
            Value::Int(it) => $out.push_bind_param::<Nullable<Integer>, _>(it)?,
            Value::BigInt(it) => $out.push_bind_param::<Nullable<BigInt>, _>(it)?,
        }
    };
}

impl<R> QueryFragment<Pg> for Statement<R> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        for piece in &self.pieces {
            match piece {
                Piece::Sql(text) => out.push_sql(text),
                Piece::Value(value) => bind!(out, value),
                Piece::Column(column) => match column {
                    Column::Id(it) => out.push_bind_param::<Array<Nullable<Id>>, _>(it)?,
                    Column::Text(it) => out.push_bind_param::<Array<Nullable<Text>>, _>(it)?,
                    Column::Time(it) => out.push_bind_param::<Array<Nullable<Time>>, _>(it)?,
                    Column::Bytes(it) => out.push_bind_param::<Array<Nullable<Binary>>, _>(it)?,
                    Column::Int(it) => out.push_bind_param::<Array<Nullable<Integer>>, _>(it)?,
                    Column::BigInt(it) => out.push_bind_param::<Array<Nullable<BigInt>>, _>(it)?,
                },
            }
        }
        Ok(())
    }
}

impl<R> QueryFragment<Sqlite> for Statement<R> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        for piece in &self.pieces {
            match piece {
                Piece::Sql(text) => out.push_sql(text),
                Piece::Value(value) => bind!(out, value),
                Piece::Column(_) => {
                    let problem = "SQLite has no arrays".into();
                    return Err(diesel::result::Error::QueryBuilderError(problem));
                }
            }
        }
        Ok(())
    }
}

/// Without a static id, a connection recognises the statement by its text.
impl<R> QueryId for Statement<R> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

/// The rows are read by [`Record`], so diesel needs no types for them.
impl<R> Query for Statement<R> {
    type SqlType = Untyped;
}
