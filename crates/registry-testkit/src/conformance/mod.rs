//! The conformance suites: public functions over a port. One macro in an adapter's tests creates a
//! test for each function.

pub mod blob;
pub mod mail;
pub mod store;
