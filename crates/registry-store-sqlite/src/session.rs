//! Runs statements, scripts and decisions on a connection, within the caller's transaction.

use diesel::connection::LoadConnection as _;
use diesel::deserialize::FromSqlRow;
use diesel::result::Error as DieselError;
use diesel::sqlite::Sqlite;
use diesel::{Connection as _, QueryResult, SqliteConnection};
use futures_util::FutureExt as _;
use registry_core::store::{Decide, Decision, Outcome, Replay, StoreError};
use registry_store_sql::change::Change;
use registry_store_sql::kind::{self, Kind};
use registry_store_sql::script::{Script, Session, Three};
use registry_store_sql::statement::{Dialect, Record, Statement};

use crate::connection::failure;

fn load<R: Record>(
    connection: &mut SqliteConnection,
    statement: Statement<R>,
) -> Result<Vec<R>, StoreError> {
    let read = |connection: &mut SqliteConnection| -> QueryResult<Vec<R>> {
        let rows = connection.load(statement)?.map(|row| {
            let raw = <R::Raw as FromSqlRow<R::Sql, Sqlite>>::build_from_row(&row?);
            raw.and_then(R::read).map_err(DieselError::DeserializationError)
        });
        rows.collect()
    };
    read(connection).map_err(|error| failure(&error))
}

fn execute(connection: &mut SqliteConnection, statement: &Statement) -> Result<u64, StoreError> {
    let changed = connection.execute_returning_count(statement);
    changed.map(|rows| rows as u64).map_err(|error| failure(&error))
}

struct SqliteSession<'a>(&'a mut SqliteConnection);

impl Session for SqliteSession<'_> {
    fn dialect(&self) -> Dialect {
        Dialect::Sqlite
    }

    async fn load<R: Record>(&mut self, statement: Statement<R>) -> Result<Vec<R>, StoreError> {
        load(self.0, statement)
    }

    async fn load_three<A: Record, B: Record, C: Record>(
        &mut self,
        (a, b, c): (Statement<A>, Statement<B>, Statement<C>),
    ) -> Result<Three<A, B, C>, StoreError> {
        Ok((load(self.0, a)?, load(self.0, b)?, load(self.0, c)?))
    }

    async fn execute(&mut self, statement: Statement) -> Result<u64, StoreError> {
        execute(self.0, &statement)
    }
}

/// Runs a script. On this session, a script never waits for anything.
pub(crate) fn run<S: Script>(
    connection: &mut SqliteConnection,
    script: &S,
) -> Result<S::Output, StoreError> {
    let waited = || StoreError::Unavailable("a statement did not finish".to_owned());
    script.run(&mut SqliteSession(connection)).now_or_never().ok_or_else(waited)?
}

/// Makes a change: returns the outcome of a replay, or loads the facts, decides and writes.
pub(crate) fn decide<K: Kind>(
    connection: &mut SqliteConnection,
    key: &K,
    replay: Option<&Replay>,
    decide: &Decide<K::Facts, K::Output>,
) -> Result<Outcome<K::Output>, StoreError> {
    if let Some(request) = replay {
        let found = load(connection, kind::replays(Dialect::Sqlite, &[request]))?;
        if let Some(outcome) = found.first().and_then(|found| found.outcome(request)) {
            return Ok(outcome);
        }
    }
    let mut found = Vec::new();
    for key in key.keys() {
        found.extend(load(connection, kind::load::<K>(Dialect::Sqlite, &[key]))?);
    }
    let mut decided = [decide(&key.facts(found))];
    Decision::verify(&mut decided);
    let [decided] = decided;
    match decided {
        Decision::Abort(error) => Ok(Outcome::Aborted(error)),
        Decision::Commit { writes, outcome, .. } => {
            for write in &writes {
                for change in Change::of(write)? {
                    execute(connection, &change.sqlite())?;
                }
            }
            Ok(outcome.map_or_else(Outcome::Refused, Outcome::Done))
        }
    }
}
