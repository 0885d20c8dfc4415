//! The engine: crashes at every step, all kinds of errors, check-ins, and installations without a
//! network. Registries listen on local ports, and the tests set the clocks.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod agent;
mod crashes;
mod fleet;
mod key_sets;
mod lost_responses;
mod network;
mod offline;
mod old_state_files;
mod served;
