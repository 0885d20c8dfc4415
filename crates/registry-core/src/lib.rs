//! The rules of the Appliance Registry, and the ports it reaches the world through.
//!
//! **What is not here** is the invariant: no I/O, no clock, no randomness, no SQL, no HTTP, no wire
//! types, no tokio. Time comes from [`clock::Clock`], randomness from [`entropy::Entropy`],
//! everything that lasts from [`store::Store`], files from [`blob::BlobStore`], mail from
//! [`mail::Mailer`], secrets from [`vault::Vault`] and signatures from [`license::LicenseSigner`].
//!
//! The shape of every change: a use case in [`registry`] draws ids, secrets and the time, then
//! hands one coarse [`store::Store`] method a *pure decision*. The store loads the facts, asks the
//! decision, applies the writes it returns and commits, all of it or nothing. Rules are therefore
//! plain functions over plain values, tested as tables.
//!
//! To add a rule that must be atomic: 1. put what it must know into a `…Facts` struct of [`store`];
//! 2. write `decide(&facts) -> Decision<T>` in the use case's file; 3. add or extend one store
//! method, with its MUSTs in its docs and a case a MUST in registry-testkit's conformance suite; 4.
//! implement it in each store.

pub mod appliance;
pub mod audit;
pub mod blob;
pub mod clock;
pub mod edition;
pub mod entitlement;
pub mod entropy;
pub mod id;
pub mod install_code;
pub mod license;
pub mod mail;
pub mod offline;
pub mod pagination;
pub mod product;
pub mod rate_limit;
pub mod refusal;
pub mod registry;
pub mod release;
pub mod results;
pub mod secret;
pub mod sign_in;
pub mod signup;
pub mod store;
mod string_enum;
pub mod tenant;
pub mod text;
pub mod vault;

pub use refusal::Refusal;
pub use registry::{Error, Ports, Registry, Settings};
