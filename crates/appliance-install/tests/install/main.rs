//! The engine: crashes at every step, trouble of every kind, check-ins, and installing without a
//! network; against registries that serve, on clocks that the tests set.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod agent;
mod crashes;
mod fleet;
mod lost_answers;
mod network;
mod offline;
mod served;
