//! PostgreSQL against the store's suite.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

registry_testkit::store_conformance!((common::empty().await, ()));
