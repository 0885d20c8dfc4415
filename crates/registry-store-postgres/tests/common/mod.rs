//! Options for the stores of the tests.

use std::time::Duration;

use registry_store_postgres::PostgresOptions;

pub(crate) fn options(url: &str) -> PostgresOptions {
    PostgresOptions {
        url: url.to_owned().into(),
        pool_size: 8,
        pool_wait: Duration::from_secs(20),
        batch_size: 32,
        batches_in_flight: 2,
        connect_timeout: Duration::from_secs(10),
        statement_timeout: Duration::from_secs(20),
        lock_timeout: Duration::from_secs(20),
    }
}
