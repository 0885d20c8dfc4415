//! Scripts: the statements of everything that is not decided, written once for both databases.

mod audit;
mod directory;
mod keys;
mod outbox;
mod releases;
mod retention;

use registry_core::store::StoreError;

use crate::statement::{Dialect, Record, Statement};
use crate::value::{Value, ValueType};

pub use audit::*;
pub use directory::*;
pub use keys::*;
pub use outbox::*;
pub use releases::*;
pub use retention::*;

pub(crate) type Read<T> = Result<T, StoreError>;

/// A connection that runs statements.
pub trait Session: Send {
    /// Returns the dialect of the database.
    fn dialect(&self) -> Dialect;

    /// Runs a statement and returns its rows.
    fn load<R: Record>(
        &mut self,
        statement: Statement<R>,
    ) -> impl Future<Output = Result<Vec<R>, StoreError>> + Send;

    /// Runs three statements that do not depend on each other.
    fn load_three<A: Record, B: Record, C: Record>(
        &mut self,
        statements: (Statement<A>, Statement<B>, Statement<C>),
    ) -> impl Future<Output = Result<Three<A, B, C>, StoreError>> + Send;

    /// Runs a statement and returns the number of rows that it changed.
    fn execute(
        &mut self,
        statement: Statement,
    ) -> impl Future<Output = Result<u64, StoreError>> + Send;
}

/// The rows of three statements.
pub type Three<A, B, C> = (Vec<A>, Vec<B>, Vec<C>);

/// Statements, and the value that their rows become. A script may run again after a failure.
pub trait Script: Send + Sync + 'static {
    /// The value.
    type Output: Send + 'static;
    /// True if all statements must read the same state of the database.
    const IS_SNAPSHOT: bool = false;
    /// True if the statements must be planned for the values at hand. A kept plan has to fit all
    /// values: for a filter that few rows pass, that is the wrong one.
    const IS_PLANNED_ANEW: bool = false;

    /// Runs the statements.
    fn run<S: Session>(
        &self,
        session: &mut S,
    ) -> impl Future<Output = Result<Self::Output, StoreError>> + Send;
}

/// Appends a condition that selects the rows whose column is one of these ids.
fn is_one_of<R>(
    mut statement: Statement<R>,
    dialect: Dialect,
    column: &str,
    values: impl Iterator<Item = Value>,
) -> Statement<R> {
    match dialect {
        Dialect::Postgres => {
            let mut ids = ValueType::Id.column();
            values.for_each(|value| ids.push(value));
            statement.sql(format!("{column} = ANY (")).bind_column(ids).sql(")")
        }
        Dialect::Sqlite => {
            statement = statement.sql(format!("{column} IN ("));
            for (position, value) in values.enumerate() {
                statement = statement.sql(if position == 0 { "" } else { ", " }).bind(value);
            }
            statement.sql(")")
        }
    }
}

/// Appends ` AND column = value` if there is a value.
fn and_is<R>(
    statement: Statement<R>,
    column: &'static str,
    value: Option<impl Into<Value>>,
) -> Statement<R> {
    match value {
        None => statement,
        Some(value) => statement.sql(format!(" AND {column} = ")).bind(value),
    }
}

/// Appends the condition that a row, in descending order of time and id, comes after a position.
/// The first comparison lets an index find the position.
fn and_after<R>(
    statement: Statement<R>,
    (time, id): (&'static str, &'static str),
    after: Option<(impl Into<Value>, impl Into<Value>)>,
) -> Statement<R> {
    let Some((at, after)) = after else { return statement };
    let (at, after): (Value, Value) = (at.into(), after.into());
    statement
        .sql(format!(" AND {time} <= "))
        .bind(at.clone())
        .sql(format!(" AND ({time} < "))
        .bind(at)
        .sql(format!(" OR {id} < "))
        .bind(after)
        .sql(")")
}
