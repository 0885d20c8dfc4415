//! Test kit for the registry, and for software that embeds it: every port in memory, a manual
//! clock, seeded randomness, and conformance suites that check an adapter against its port's docs.
//!
//! ```
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! use registry_testkit::World;
//!
//! let world = World::in_memory();
//! let issued = world.register("Acme", "pro").await;
//! let redeemed = world.redeem(&issued.code, "appliance-1").await.unwrap();
//! assert_eq!(redeemed.tenant_id, issued.tenant_id);
//! assert!(redeemed.licensed.is_some());
//! # });
//! ```
//!
//! To test a new store, add one line to its tests:
//! `registry_testkit::store_conformance!((MyStore::empty(), ()));`. The expression creates an empty
//! store, and a guard that outlives it, such as a temporary folder. The macros
//! [`blob_conformance`] and [`mail_conformance`] do the same for the other ports.

pub mod conformance;
pub mod memory;
pub mod ports;
mod world;

pub use world::{World, actor, audit};
