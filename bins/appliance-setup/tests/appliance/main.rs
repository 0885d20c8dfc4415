//! `appliance-setup`, the program, on machines of the tests' own, and against registries that
//! serve.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod agent;
mod between;
mod bootstrap;
mod browser;
mod bundle;
mod faults;
mod machine;
mod offline;
mod page;
mod registry;
mod run;
mod served;
