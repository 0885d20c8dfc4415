//! The pool: so many connections and no more, and a wait for one that ends.
//!
//! A connection that the server closed is noticed when it is taken, and replaced: a restarted
//! server is found again without a restart of ours.

use std::time::Duration;

use deadpool::Runtime;
use deadpool::managed::QueueMode;
use diesel::ConnectionError;
use diesel_async::pooled_connection::deadpool::{Object, Pool as Connections};
use diesel_async::pooled_connection::{
    AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod,
};
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection as _};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use registry_core::store::StoreError;
use tokio_postgres::{Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::failure::{failure, no_connection};
use crate::target::{PostgresOptions, Target};
use crate::tls;

/// A connection of the pool, given back when dropped.
pub(crate) type Pooled = Object<AsyncPgConnection>;

/// The connections to one database.
#[derive(Clone)]
pub(crate) struct Pool {
    connections: Connections<AsyncPgConnection>,
    /// A server that is gone without a word would keep a connection for as long as the kernel
    /// believes in it.
    deadline: Duration,
}

impl Pool {
    /// A pool that makes its connections when they are asked for.
    pub(crate) fn new(options: &PostgresOptions) -> Result<Self, StoreError> {
        let target = Target::parse(&options.url, options.connect_timeout);
        let target = target
            .map_err(|error| StoreError::Unavailable(format!("its URL is invalid: {error}")))?;
        let tls = tls::connector(&target.tls)?;
        let limits = format!(
            "SET statement_timeout = {}; SET lock_timeout = {}; SET idle_in_transaction_session_timeout = {}",
            options.statement_timeout.as_millis(),
            options.lock_timeout.as_millis(),
            options.statement_timeout.as_millis(),
        );
        let mut setup = ManagerConfig::default();
        // Asking each connection whether it is alive would be a round trip for every request.
        setup.recycling_method = RecyclingMethod::Fast;
        setup.custom_setup = Box::new(move |_| {
            let (config, tls, limits) = (target.config.clone(), tls.clone(), limits.clone());
            async move { connect(&config, tls, &limits).await }.boxed()
        });
        let manager = AsyncDieselConnectionManager::new_with_config(String::new(), setup);
        let pool = Connections::builder(manager)
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

    /// A connection, as soon as there is one.
    async fn get(&self) -> Result<Pooled, StoreError> {
        self.connections.get().await.map_err(|error| no_connection(&error))
    }

    /// Runs `work` on a connection. One that does not answer by the deadline is closed, and another
    /// takes its place.
    pub(crate) async fn run<T, E: From<StoreError>>(
        &self,
        work: impl for<'c> FnOnce(&'c mut AsyncPgConnection) -> BoxFuture<'c, Result<T, E>>,
    ) -> Result<T, E> {
        let mut connection = self.get().await?;
        if let Ok(done) = tokio::time::timeout(self.deadline, work(&mut connection)).await {
            return done;
        }
        drop(Pooled::take(connection));
        Err(StoreError::Unavailable("the server does not respond".to_owned()).into())
    }

    /// A connection without time limits, which does not come back to the pool: for what takes as
    /// long as it takes.
    pub(crate) async fn unlimited(&self) -> Result<AsyncPgConnection, StoreError> {
        let mut connection = Pooled::take(self.get().await?);
        let unlimited = "SET statement_timeout = 0; SET lock_timeout = 0; SET idle_in_transaction_session_timeout = 0";
        connection.batch_execute(unlimited).await.map_err(|error| failure(&error))?;
        Ok(connection)
    }
}

async fn connect(
    config: &Config,
    tls: Option<MakeRustlsConnect>,
    limits: &str,
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
    connection.batch_execute(limits).await.map_err(ConnectionError::CouldntSetupConfiguration)?;
    Ok(connection)
}

/// An error with all of its sources: "error performing TLS handshake" alone helps nobody.
fn chain(error: &dyn std::error::Error) -> String {
    let sources = std::iter::successors(error.source(), |source| source.source());
    sources.fold(error.to_string(), |text, source| format!("{text}: {source}"))
}
