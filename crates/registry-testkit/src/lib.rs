//! For tests of the registry, and of software that embeds it: every port in memory, a clock that is
//! set by hand, randomness that repeats, and the suites that hold an adapter against its port's
//! docs.
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
//! To hold a new store against its port, put one line into its tests, with an expression that makes
//! an empty one and whatever has to outlive it:
//! `registry_testkit::store_conformance!((MyStore::empty(), ()));`. The same goes for
//! `blob_conformance!` and `mail_conformance!`.

pub mod conformance;
pub mod memory;
pub mod ports;
mod world;

pub use world::{World, actor, audit};
