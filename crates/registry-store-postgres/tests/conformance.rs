//! The conformance suite of the store, on PostgreSQL.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;
#[path = "common/database.rs"]
mod database;

use registry_store_postgres::PostgresStore;

registry_testkit::store_conformance!((
    PostgresStore::new(&common::options(&database::create().await)).unwrap(),
    ()
));
