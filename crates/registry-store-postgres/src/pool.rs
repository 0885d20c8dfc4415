//! The pool: a limited number of connections, and a limited wait for one.
//!
//! A connection that the server closed is noticed when it is taken, and replaced: a restarted
//! server is found again without a restart of ours.

use std::time::Duration;

use deadpool::Runtime;
use deadpool::managed::{
    Manager, Metrics, Object, Pool as Connections, QueueMode, RecycleError, RecycleResult,
};
use diesel::ConnectionError;
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection as _};
use registry_core::store::StoreError;
use registry_store_sql::script::Script;
use registry_store_sql::statement::Statement;
use tokio_postgres::{Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::failure::{failure, no_connection};
use crate::pending::Pending;
use crate::session::{CommitError, PgSession};
use crate::target::{PostgresOptions, Target};
use crate::tls;

/// The isolation level and access mode are those that a change needs, whatever the server's defaults
/// are: each statement sees what was committed before it.
const DEFAULTS: &str = "SET default_transaction_isolation = 'read committed'; \
                        SET default_transaction_read_only = off";

/// Settings of the planner. Every statement that changes something finds its rows by keys, so the
/// right plan is always nested index scans. Left alone, the server plans a statement with arrays at
/// each execution, which costs more than running it, and keeps a sequential scan that was right
/// when the table was small. With `jit`, it would compile a plan that it believes to be expensive.
const PLANS: &str = "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; \
                     SET enable_hashjoin = off; SET enable_mergejoin = off; SET jit = off";

/// Opens connections, and closes broken ones.
pub(crate) struct Sessions {
    config: Config,
    tls: Option<MakeRustlsConnect>,
    /// Statements that set up a connection.
    setup: String,
}

impl Manager for Sessions {
    type Type = PgSession;
    type Error = ConnectionError;

    async fn create(&self) -> Result<PgSession, ConnectionError> {
        connect(&self.config, self.tls.clone(), &self.setup).await.map(PgSession::new)
    }

    /// Does not ask the server whether the connection works: each request would cost a round trip.
    async fn recycle(
        &self,
        session: &mut PgSession,
        _: &Metrics,
    ) -> RecycleResult<ConnectionError> {
        if session.is_broken() {
            return Err(RecycleError::message("the connection is closed"));
        }
        Ok(())
    }
}

/// The connections to one database.
#[derive(Clone)]
pub(crate) struct Pool {
    connections: Connections<Sessions>,
    /// Time limit of what runs on a connection. A server that disappears without a word would keep
    /// a connection for as long as the kernel believes in it.
    deadline: Duration,
}

impl Pool {
    /// Returns a pool that opens connections when they are needed.
    pub(crate) fn new(options: &PostgresOptions) -> Result<Self, StoreError> {
        let target = Target::parse(&options.url, options.connect_timeout);
        let target = target
            .map_err(|error| StoreError::Unavailable(format!("its URL is invalid: {error}")))?;
        let tls = tls::connector(&target.tls)?;
        let setup = format!(
            "SET statement_timeout = {}; SET lock_timeout = {}; \
             SET idle_in_transaction_session_timeout = {}; {DEFAULTS}; {PLANS}",
            options.statement_timeout.as_millis(),
            options.lock_timeout.as_millis(),
            options.statement_timeout.as_millis(),
        );
        let pool = Connections::builder(Sessions { config: target.config, tls, setup })
            .max_size(options.pool_size)
            .queue_mode(QueueMode::Lifo)
            .wait_timeout(Some(options.pool_wait))
            .create_timeout(Some(options.connect_timeout))
            .recycle_timeout(Some(options.connect_timeout))
            .runtime(Runtime::Tokio1)
            .build();
        let connections = pool.map_err(|error| StoreError::Unavailable(error.to_string()))?;
        Ok(Self { connections, deadline: options.statement_timeout + options.lock_timeout })
    }

    /// Returns a connection as soon as one is free.
    pub(crate) async fn get(&self) -> Result<Object<Sessions>, StoreError> {
        self.connections.get().await.map_err(|error| no_connection(&error))
    }

    /// Awaits what runs on a connection. Returns `None` if the server does not respond in time: the
    /// connection must then be closed.
    pub(crate) async fn in_time<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::time::timeout(self.deadline, work).await.ok()
    }

    /// Ends a transaction without committing it, and returns the connection to the pool. Closes it
    /// if the server does not respond.
    pub(crate) async fn roll_back(&self, mut session: Object<Sessions>) {
        if self.in_time(session.roll_back()).await.is_none() {
            discard(session);
        }
    }

    /// Runs writes and commits. Closes the connection if the server does not respond.
    pub(crate) async fn commit(
        &self,
        mut session: Object<Sessions>,
        writes: Vec<Statement>,
    ) -> Result<(), CommitError> {
        if let Some(committed) = self.in_time(session.commit(writes)).await {
            return committed;
        }
        discard(session);
        Err(CommitError::Unconfirmed(NO_RESPONSE.to_owned()))
    }

    /// Runs a script that reads.
    pub(crate) async fn read<S: Script>(&self, script: S) -> Result<S::Output, StoreError> {
        let mut session = self.get().await?;
        let read = self.in_time(async {
            if !S::IS_SNAPSHOT && !S::IS_PLANNED_ANEW {
                return script.run(&mut *session).await;
            }
            session.begin_snapshot(S::IS_PLANNED_ANEW).await.map_err(|error| failure(&error))?;
            let read = script.run(&mut *session).await;
            session.roll_back().await;
            read
        });
        self.ended(read.await, session).await
    }

    /// Runs a script that writes.
    pub(crate) async fn write<S: Script>(&self, script: S) -> Result<S::Output, StoreError> {
        let mut session = self.get().await?;
        let written = self.in_time(script.run(&mut *session)).await;
        self.ended(written, session).await
    }

    async fn ended<T>(
        &self,
        result: Option<Result<T, StoreError>>,
        session: Object<Sessions>,
    ) -> Result<T, StoreError> {
        match result {
            Some(Ok(value)) => Ok(value),
            Some(Err(error)) => {
                drop(session);
                Err(self.explain(error).await)
            }
            None => {
                discard(session);
                Err(no_response())
            }
        }
    }

    /// Replaces an error without a known cause by a better one: if migrations are pending, or if the
    /// server no longer responds.
    pub(crate) async fn explain(&self, error: StoreError) -> StoreError {
        let StoreError::Contended(text) = error else { return error };
        let Ok(mut session) = self.get().await else { return StoreError::Unavailable(text) };
        match self.in_time(Pending.run(&mut *session)).await {
            Some(Ok(pending)) if pending.is_empty() => StoreError::Contended(text),
            Some(Ok(_)) => StoreError::Corrupt(format!("{text}; run `registryctl migrate`")),
            Some(Err(_)) => StoreError::Unavailable(text),
            None => {
                discard(session);
                StoreError::Unavailable(text)
            }
        }
    }

    /// Returns a connection without time limits, which does not return to the pool: for work whose
    /// duration nobody knows.
    pub(crate) async fn unlimited(&self) -> Result<AsyncPgConnection, StoreError> {
        let mut connection = Object::take(self.get().await?).into_connection();
        let unlimited = "SET statement_timeout = 0; SET lock_timeout = 0; \
                         SET idle_in_transaction_session_timeout = 0";
        connection.batch_execute(unlimited).await.map_err(|error| failure(&error))?;
        Ok(connection)
    }
}

/// Closes a connection whose state is unknown.
pub(crate) fn discard(session: Object<Sessions>) {
    drop(Object::take(session));
}

const NO_RESPONSE: &str = "the server does not respond";

/// The error of a server that does not respond in time.
pub(crate) fn no_response() -> StoreError {
    StoreError::Unavailable(NO_RESPONSE.to_owned())
}

async fn connect(
    config: &Config,
    tls: Option<MakeRustlsConnect>,
    setup: &str,
) -> Result<AsyncPgConnection, ConnectionError> {
    let unreachable = |error: tokio_postgres::Error| ConnectionError::BadConnection(chain(&error));
    let mut connection = match tls {
        None => {
            let (client, connection) = config.connect(NoTls).await.map_err(unreachable)?;
            AsyncPgConnection::try_from_client_and_connection(client, connection).await?
        }
        Some(tls) => {
            let (client, connection) = config.connect(tls).await.map_err(unreachable)?;
            AsyncPgConnection::try_from_client_and_connection(client, connection).await?
        }
    };
    connection.batch_execute(setup).await.map_err(ConnectionError::CouldntSetupConfiguration)?;
    Ok(connection)
}

/// Returns the text of an error and of all of its sources: "error performing TLS handshake" alone
/// helps nobody.
fn chain(error: &dyn std::error::Error) -> String {
    let sources = std::iter::successors(error.source(), |source| source.source());
    sources.fold(error.to_string(), |text, source| format!("{text}: {source}"))
}
