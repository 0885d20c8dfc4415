//! The suites: public functions over a port, stamped on an adapter by one macro line in its tests.

pub mod blob;
pub mod mail;
pub mod store;
