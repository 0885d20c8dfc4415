//! A connection, and how statements run on it: one after the other, or pipelined.
//!
//! Pipelined statements are sent without waiting for the result of the one before, in their order.
//! The first time that a connection sees a statement it has to prepare it, and the order of
//! pipelined statements would be lost. So a flight of statements is pipelined only if all of them
//! are prepared, and tokio must not interrupt it before all of them are sent.

use std::collections::HashSet;

use diesel::QueryResult;
use diesel::deserialize::FromSqlRow;
use diesel::pg::Pg;
use diesel::result::{DatabaseErrorKind, Error as DieselError};
use diesel_async::pooled_connection::PoolableConnection as _;
use diesel_async::{AsyncConnectionCore as _, AsyncPgConnection, SimpleAsyncConnection as _};
use futures_util::future::{join_all, join3, join4};
use futures_util::{StreamExt as _, TryStreamExt as _};
use registry_core::store::StoreError;
use registry_store_sql::script::{Session, Three};
use registry_store_sql::statement::{Dialect, Record, Statement};
use tokio::task::unconstrained;

use crate::failure::failure;

/// A connection that knows which statements it has prepared.
pub(crate) struct PgSession {
    connection: AsyncPgConnection,
    prepared: HashSet<String>,
    is_in_transaction: bool,
    is_broken: bool,
}

/// Reasons why a transaction was not committed, or may not have been.
#[derive(Debug)]
pub(crate) enum CommitError {
    /// A write failed, so nothing was committed.
    NotCommitted(DieselError),
    /// The server did not confirm the commit, for this reason. It may have been made.
    Unconfirmed(String),
}

impl PgSession {
    pub(crate) fn new(connection: AsyncPgConnection) -> Self {
        let prepared = HashSet::new();
        Self { connection, prepared, is_in_transaction: false, is_broken: false }
    }

    pub(crate) fn into_connection(self) -> AsyncPgConnection {
        self.connection
    }

    /// True if the connection must not be used again: it is closed, or in a transaction that was
    /// abandoned.
    pub(crate) fn is_broken(&mut self) -> bool {
        self.is_broken || self.is_in_transaction || self.connection.is_broken()
    }

    /// Runs a text without parameters or rows.
    pub(crate) async fn run(&mut self, text: &str) -> QueryResult<()> {
        self.connection.batch_execute(text).await
    }

    /// Begins a transaction that reads one state of the database.
    pub(crate) async fn begin_snapshot(&mut self, is_planned_anew: bool) -> QueryResult<()> {
        self.is_in_transaction = true;
        self.run(if is_planned_anew {
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; \
             SET LOCAL plan_cache_mode = force_custom_plan; SET LOCAL enable_seqscan = on; \
             SET LOCAL enable_hashjoin = on; SET LOCAL enable_mergejoin = on"
        } else {
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
        })
        .await
    }

    /// Stops using the connection if an error tells that it leads to a server that takes no writes:
    /// after a failover, that is the former primary.
    pub(crate) fn heed(&mut self, error: &DieselError) {
        self.is_broken |=
            matches!(error, DieselError::DatabaseError(DatabaseErrorKind::ReadOnlyTransaction, _));
    }

    /// Ends a transaction without committing it. A connection that cannot do so is not used again.
    pub(crate) async fn roll_back(&mut self) {
        if !self.is_in_transaction {
            return;
        }
        self.is_broken |= self.run("ROLLBACK").await.is_err();
        self.is_in_transaction = false;
    }

    pub(crate) async fn load<R: Record>(&mut self, statement: Statement<R>) -> QueryResult<Vec<R>> {
        let text = statement.text();
        let rows = load(&self.connection, statement).await?;
        self.prepared.insert(text);
        Ok(rows)
    }

    async fn execute(&mut self, statement: Statement) -> QueryResult<usize> {
        let text = statement.text();
        let changed = execute(&self.connection, statement).await?;
        self.prepared.insert(text);
        Ok(changed)
    }

    fn has_prepared<R>(&self, statement: &Statement<R>) -> bool {
        self.prepared.contains(&statement.text())
    }

    /// Begins a transaction, runs the statements that lock rows, and then those that read, in one
    /// flight. Without any, the transaction begins when it writes.
    pub(crate) async fn begin<L: Record, A: Record, B: Record>(
        &mut self,
        locks: Vec<Statement<L>>,
        reads: (Option<Statement<A>>, Option<Statement<B>>),
    ) -> QueryResult<(Vec<Vec<L>>, Vec<A>, Vec<B>)> {
        if locks.is_empty() && reads.0.is_none() && reads.1.is_none() {
            return Ok((Vec::new(), Vec::new(), Vec::new()));
        }
        let is_prepared = locks.iter().all(|lock| self.has_prepared(lock))
            && reads.0.as_ref().is_none_or(|read| self.has_prepared(read))
            && reads.1.as_ref().is_none_or(|read| self.has_prepared(read));
        self.is_in_transaction = true;
        if is_prepared {
            let connection = &self.connection;
            let (begun, locked, a, b) = unconstrained(join4(
                execute_text(connection, "BEGIN"),
                join_all(locks.into_iter().map(|lock| load(connection, lock))),
                load_some(connection, reads.0),
                load_some(connection, reads.1),
            ))
            .await;
            begun?;
            return Ok((locked.into_iter().collect::<QueryResult<_>>()?, a?, b?));
        }
        self.run("BEGIN").await?;
        let mut locked = Vec::with_capacity(locks.len());
        for lock in locks {
            locked.push(self.load(lock).await?);
        }
        let a = if let Some(read) = reads.0 { self.load(read).await? } else { Vec::new() };
        let b = if let Some(read) = reads.1 { self.load(read).await? } else { Vec::new() };
        Ok((locked, a, b))
    }

    /// Runs writes and commits, in one flight. COMMIT counts only if every write succeeded: after a
    /// failed one, the server ends the transaction with a rollback and reports success.
    pub(crate) async fn commit(&mut self, mut writes: Vec<Statement>) -> Result<(), CommitError> {
        let begins = !self.is_in_transaction;
        if begins && writes.is_empty() {
            return Ok(());
        }
        if begins && writes.len() == 1 {
            return self.commit_only(writes.remove(0)).await;
        }
        self.is_in_transaction = true;
        let is_prepared = writes.iter().all(|write| self.has_prepared(write));
        if !is_prepared || writes.len() > PIPELINED {
            if begins {
                self.run("BEGIN").await.map_err(CommitError::NotCommitted)?;
            }
            return self.commit_stepwise(writes).await;
        }
        let connection = &self.connection;
        let begin = async { if begins { execute_text(connection, "BEGIN").await } else { Ok(()) } };
        let (begin, written, committed) = unconstrained(join3(
            begin,
            join_all(writes.into_iter().map(|write| execute(connection, write))),
            execute_text(connection, "COMMIT"),
        ))
        .await;
        // Without BEGIN, each write would be a transaction by itself.
        if let Err(error) = begin {
            self.is_broken = true;
            return Err(unconfirmed(error));
        }
        self.is_broken |= committed.is_err();
        self.is_in_transaction = false;
        let mut failed: Vec<_> = written.into_iter().filter_map(Result::err).collect();
        // After the connection is lost, its error is also that of statements that succeeded.
        if let Some(answered) = failed.iter().position(is_answer).filter(|_| committed.is_ok()) {
            return Err(CommitError::NotCommitted(failed.swap_remove(answered)));
        }
        match failed.pop() {
            Some(lost) => Err(unconfirmed(lost)),
            None => committed.map_err(unconfirmed),
        }
    }

    /// Runs the only statement of a change, which is a transaction by itself.
    async fn commit_only(&mut self, write: Statement) -> Result<(), CommitError> {
        let written = self.execute(write).await.map(drop);
        let is_lost = self.connection.is_broken();
        written.map_err(|error| {
            if is_answer(&error) && !is_lost {
                CommitError::NotCommitted(error)
            } else {
                unconfirmed(error)
            }
        })
    }

    async fn commit_stepwise(&mut self, writes: Vec<Statement>) -> Result<(), CommitError> {
        for write in writes {
            if let Err(error) = self.execute(write).await {
                self.roll_back().await;
                return Err(CommitError::NotCommitted(error));
            }
        }
        let committed = self.run("COMMIT").await;
        self.is_broken |= committed.is_err();
        self.is_in_transaction = false;
        committed.map_err(unconfirmed)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "used with `map_err`")]
fn unconfirmed(error: DieselError) -> CommitError {
    CommitError::Unconfirmed(error.to_string())
}

/// Maximum number of writes that are pipelined: `join_all` polls a longer list in any order.
const PIPELINED: usize = 16;

/// True if the server answered, so that a statement is known to have failed.
fn is_answer(error: &DieselError) -> bool {
    let lost = [DatabaseErrorKind::UnableToSendCommand, DatabaseErrorKind::ClosedConnection];
    matches!(error, DieselError::DatabaseError(kind, _)
        if !lost.iter().any(|lost| std::mem::discriminant(lost) == std::mem::discriminant(kind)))
}

async fn load<R: Record>(
    mut connection: &AsyncPgConnection,
    statement: Statement<R>,
) -> QueryResult<Vec<R>> {
    let rows = connection.load(statement).await?;
    let read = |row| {
        let raw = <R::Raw as FromSqlRow<R::Sql, Pg>>::build_from_row(&row);
        raw.and_then(R::read).map_err(DieselError::DeserializationError)
    };
    rows.map(|row| row.and_then(read)).try_collect().await
}

async fn load_some<R: Record>(
    connection: &AsyncPgConnection,
    statement: Option<Statement<R>>,
) -> QueryResult<Vec<R>> {
    match statement {
        None => Ok(Vec::new()),
        Some(statement) => load(connection, statement).await,
    }
}

async fn execute(mut connection: &AsyncPgConnection, statement: Statement) -> QueryResult<usize> {
    connection.execute_returning_count(statement).await
}

async fn execute_text(mut connection: &AsyncPgConnection, text: &str) -> QueryResult<()> {
    connection.batch_execute(text).await
}

impl Session for PgSession {
    fn dialect(&self) -> Dialect {
        Dialect::Postgres
    }

    async fn load<R: Record>(&mut self, statement: Statement<R>) -> Result<Vec<R>, StoreError> {
        Self::load(self, statement).await.map_err(|error| failure(&error))
    }

    async fn load_three<A: Record, B: Record, C: Record>(
        &mut self,
        (a, b, c): (Statement<A>, Statement<B>, Statement<C>),
    ) -> Result<Three<A, B, C>, StoreError> {
        let connection = &self.connection;
        let (a, b, c) = join3(load(connection, a), load(connection, b), load(connection, c)).await;
        let read = || Ok((a?, b?, c?));
        read().map_err(|error: DieselError| failure(&error))
    }

    async fn execute(&mut self, statement: Statement) -> Result<u64, StoreError> {
        let changed = Self::execute(self, statement).await;
        changed.map(|rows| rows as u64).map_err(|error| failure(&error))
    }
}
