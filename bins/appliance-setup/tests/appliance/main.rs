//! Tests of the program `appliance-setup`, on temporary machines, and against registries in the
//! tests' own process.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod agent;
mod bootstrap;
mod browser;
mod doctor;
mod end_to_end;
mod fake_registry;
mod faults;
mod faulty_proxy;
mod fleet;
mod kubectl;
mod machine;
mod offline;
mod page;
mod page_load;
mod run;
mod support_bundle;
mod test_registry;
mod wait;
