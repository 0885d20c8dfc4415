//! The pool: a limited number of connections, and a limited wait for one.
//!
//! A connection that is closed, or does not respond after an idle time, is noticed when it is taken,
//! and replaced. So a restarted server is found again without a restart of ours, and so is the host
//! that takes writes after a failover.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use deadpool::Runtime;
use deadpool::managed::{
    Manager, Metrics, Object, Pool as Connections, QueueMode, RecycleError, RecycleResult,
};
use diesel::ConnectionError;
use diesel::result::{DatabaseErrorKind, Error as DieselError};
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection as _};
use registry_core::store::StoreError;
use registry_core::tls_hint::explained;
use registry_store_sql::script::Script;
use registry_store_sql::statement::Statement;
use tokio::time::Instant;
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

/// Time after which an idle connection is asked whether it works. A firewall between here and the
/// server can forget a connection and drop its packets without a word.
const TRUSTED_IDLE: Duration = Duration::from_secs(1);

/// Time that a connection has to tell that it works.
const PING_TIMEOUT: Duration = Duration::from_millis(700);

/// Time after which an idle connection is closed.
const MAXIMUM_IDLE: Duration = Duration::from_mins(5);

/// Opens connections, and closes broken ones.
pub(crate) struct Sessions {
    hosts: Vec<Config>,
    /// Index of the host that the last connection was opened to.
    preferred: AtomicUsize,
    /// Time limit for connecting to one host: a silent one must leave time for the others.
    host_timeout: Duration,
    tls: Option<MakeRustlsConnect>,
    /// Statements that set up a connection.
    setup: String,
    /// Time at which a connection did not respond. Those that were not used since are closed.
    suspected: Mutex<Option<Instant>>,
}

impl Manager for Sessions {
    type Type = PgSession;
    type Error = ConnectionError;

    /// Tries the host that responded last, and then the others.
    async fn create(&self) -> Result<PgSession, ConnectionError> {
        let preferred = self.preferred.load(Ordering::Relaxed);
        let mut failed = Vec::new();
        for offset in 0..self.hosts.len() {
            let index = (preferred + offset) % self.hosts.len();
            let connected = connect(&self.hosts[index], self.tls.clone(), &self.setup);
            match tokio::time::timeout(self.host_timeout, connected).await {
                Ok(Ok(connection)) => {
                    self.preferred.store(index, Ordering::Relaxed);
                    return Ok(PgSession::new(connection));
                }
                Ok(Err(error)) => failed.push(error.to_string()),
                Err(_) => failed.push("it does not respond".to_owned()),
            }
        }
        Err(ConnectionError::BadConnection(failed.join("; ")))
    }

    /// Does not ask a connection that was used just now whether it works: each request would cost a
    /// round trip.
    async fn recycle(
        &self,
        session: &mut PgSession,
        metrics: &Metrics,
    ) -> RecycleResult<ConnectionError> {
        let idle = metrics.last_used();
        if session.is_broken() || idle > MAXIMUM_IDLE || self.is_suspected(idle) {
            return Err(RecycleError::message("the connection is closed"));
        }
        if idle > TRUSTED_IDLE {
            let pinged = tokio::time::timeout(PING_TIMEOUT, session.run("")).await;
            if !matches!(pinged, Ok(Ok(()))) {
                self.suspect();
                return Err(RecycleError::message("the connection does not respond"));
            }
        }
        Ok(())
    }
}

impl Sessions {
    fn suspected(&self) -> MutexGuard<'_, Option<Instant>> {
        self.suspected.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a connection was lost. Its cause may have cut the others.
    fn suspect(&self) {
        *self.suspected() = Some(Instant::now());
    }

    /// Returns whether another connection failed after this one was last used.
    fn is_suspected(&self, idle: Duration) -> bool {
        self.suspected().is_some_and(|suspected| suspected.elapsed() < idle)
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
        let number = u32::try_from(target.hosts.len()).unwrap_or(u32::MAX);
        let sessions = Sessions {
            host_timeout: options.connect_timeout / number.max(1),
            hosts: target.hosts,
            preferred: AtomicUsize::new(0),
            tls,
            setup,
            suspected: Mutex::new(None),
        };
        let pool = Connections::builder(sessions)
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
        match self.in_time(session.roll_back()).await {
            Some(()) if session.is_broken() => self.connections.manager().suspect(),
            Some(()) => {}
            None => self.discard(session),
        }
    }

    /// Runs writes and commits. Closes the connection if the server does not respond.
    pub(crate) async fn commit(
        &self,
        mut session: Object<Sessions>,
        writes: Vec<Statement>,
    ) -> Result<(), CommitError> {
        if let Some(committed) = self.in_time(session.commit(writes)).await {
            if let Err(CommitError::NotCommitted(error)) = &committed {
                session.heed(error);
            }
            return committed;
        }
        self.discard(session);
        Err(CommitError::Unconfirmed(NO_RESPONSE.to_owned()))
    }

    /// Runs a script that reads, once more if its connection turns out to be lost.
    pub(crate) async fn read<S: Script>(&self, script: S) -> Result<S::Output, StoreError> {
        let mut session = self.get().await?;
        let mut read = self.in_time(read_once(&mut session, &script)).await;
        if matches!(read, Some(Err(_))) && session.is_broken() {
            self.discard(session);
            session = self.get().await?;
            read = self.in_time(read_once(&mut session, &script)).await;
        }
        self.ended(read, session).await
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
            Some(Err(error @ StoreError::Unavailable(_))) => {
                self.discard(session);
                Err(error)
            }
            Some(Err(error)) => {
                drop(session);
                Err(self.explain(error).await)
            }
            None => {
                self.discard(session);
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
                self.discard(session);
                StoreError::Unavailable(text)
            }
        }
    }

    /// Closes a connection that was lost, or whose state is unknown.
    pub(crate) fn discard(&self, session: Object<Sessions>) {
        drop(Object::take(session));
        self.connections.manager().suspect();
    }

    /// Returns a connection without time limits for statements, which does not return to the pool:
    /// for work whose duration nobody knows.
    pub(crate) async fn unlimited(
        &self,
        lock_timeout: Duration,
    ) -> Result<AsyncPgConnection, StoreError> {
        let mut connection = Object::take(self.get().await?).into_connection();
        let unlimited = format!(
            "SET statement_timeout = 0; SET lock_timeout = {}; \
             SET idle_in_transaction_session_timeout = 0",
            lock_timeout.as_millis()
        );
        connection.batch_execute(&unlimited).await.map_err(|error| failure(&error))?;
        Ok(connection)
    }

    /// Checks that each connection has a session of the server for itself. A pooler that gives it
    /// only for a transaction loses prepared statements and settings.
    pub(crate) async fn check_sessions(&self) -> Result<(), StoreError> {
        if self.connections.status().max_size < 2 {
            return Ok(());
        }
        let (mut one, mut other) = (self.get().await?, self.get().await?);
        one.run("SET registry.session = 'one'").await.map_err(|error| failure(&error))?;
        let check = "DO $$ BEGIN IF current_setting('registry.session', true) = 'one' THEN \
                     RAISE unique_violation; END IF; END $$";
        let checked = other.run(check).await;
        one.run("RESET registry.session").await.map_err(|error| failure(&error))?;
        match checked {
            Err(DieselError::DatabaseError(DatabaseErrorKind::UniqueViolation, _)) => {
                // Other programs get these sessions next, and not our settings.
                for session in [&mut one, &mut other] {
                    session.run("DISCARD ALL").await.map_err(|error| failure(&error))?;
                }
                let problem = "a pooler such as PgBouncer gives out its connections for one \
                               transaction each (`pool_mode = transaction`), which loses prepared \
                               statements: use `pool_mode = session`, or connect to the server \
                               directly";
                Err(StoreError::Unavailable(problem.to_owned()))
            }
            checked => checked.map_err(|error| failure(&error)),
        }
    }
}

async fn read_once<S: Script>(
    session: &mut PgSession,
    script: &S,
) -> Result<S::Output, StoreError> {
    if !S::IS_SNAPSHOT && !S::IS_PLANNED_ANEW {
        return script.run(session).await;
    }
    session.begin_snapshot(S::IS_PLANNED_ANEW).await.map_err(|error| failure(&error))?;
    let read = script.run(session).await;
    session.roll_back().await;
    read
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
    let text = sources.fold(error.to_string(), |text, source| format!("{text}: {source}"));
    explained(&text)
}
