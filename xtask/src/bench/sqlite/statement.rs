//! A statement with values that diesel keeps prepared. `diesel::sql_query` is prepared anew at each
//! call.

use diesel::prelude::*;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::sql_types::{BigInt, Binary, Text};
use diesel::sqlite::Sqlite;

/// A value of a statement.
pub(super) enum Value {
    Text(String),
    Integer(i64),
    Bytes(Vec<u8>),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

/// A statement with a value for each `?` in its text.
pub(super) struct Statement {
    pub(super) sql: &'static str,
    values: Vec<Value>,
}

impl Statement {
    pub(super) fn new<const N: usize>(sql: &'static str, values: [Value; N]) -> Self {
        Self { sql, values: values.into() }
    }

    /// Returns the number of values.
    #[cfg(test)]
    pub(super) fn values(&self) -> usize {
        self.values.len()
    }
}

impl QueryFragment<Sqlite> for Statement {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        let mut values = self.values.iter();
        for text in self.sql.split('?') {
            out.push_sql(text);
            match values.next() {
                Some(Value::Text(value)) => out.push_bind_param::<Text, _>(value)?,
                Some(Value::Integer(value)) => out.push_bind_param::<BigInt, _>(value)?,
                Some(Value::Bytes(value)) => out.push_bind_param::<Binary, _>(value)?,
                None => {}
            }
        }
        Ok(())
    }
}

/// The key of the prepared statement is its text.
impl QueryId for Statement {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl RunQueryDsl<SqliteConnection> for &Statement {}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use diesel::connection::InstrumentationEvent;
    use diesel::debug_query;

    use super::*;

    #[test]
    fn values_are_bound_in_their_order() {
        let values = ["name".into(), 7.into(), vec![1, 2].into()];
        let statement = Statement::new("UPDATE t SET a = ?, b = ? WHERE c = ?", values);
        let shown = debug_query::<Sqlite, _>(&statement).to_string();
        assert_eq!(shown, "UPDATE t SET a = ?, b = ? WHERE c = ? -- binds: [\"name\", 7, [1, 2]]");
        let mut connection = SqliteConnection::establish(":memory:").unwrap();
        let create = Statement::new("CREATE TABLE t (a TEXT, b INTEGER, c BLOB)", []);
        create.execute(&mut connection).unwrap();
        let insert = ["old".into(), 1.into(), vec![1, 2].into()];
        let insert = Statement::new("INSERT INTO t VALUES (?, ?, ?)", insert);
        assert_eq!(insert.execute(&mut connection), Ok(1));
        assert_eq!(statement.execute(&mut connection), Ok(1));
    }

    #[test]
    fn statement_is_prepared_once() {
        let mut connection = SqliteConnection::establish(":memory:").unwrap();
        let prepared = Arc::new(AtomicUsize::new(0));
        let counted = prepared.clone();
        connection.set_instrumentation(move |event: InstrumentationEvent<'_>| {
            if matches!(event, InstrumentationEvent::CacheQuery { .. }) {
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
        Statement::new("CREATE TABLE t (a INTEGER)", []).execute(&mut connection).unwrap();
        for number in 0..3 {
            let insert = Statement::new("INSERT INTO t VALUES (?)", [number.into()]);
            assert_eq!(insert.execute(&mut connection), Ok(1));
        }
        assert_eq!(prepared.load(Ordering::Relaxed), 2);
    }
}
