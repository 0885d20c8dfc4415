//! The domain of the Appliance Registry: its use cases, and the ports they need.
//!
//! The architecture is ports and adapters (hexagonal). A *port* is a trait in this crate. An
//! *adapter* implements a port in another crate, which depends on this one.
//!
//! The invariant is what this crate does **not** contain: I/O, a clock, randomness, SQL, HTTP, wire
//! types and tokio. The ports provide:
//!
//! | port | provides |
//! | --- | --- |
//! | [`store::Store`] | persistence, in transactions |
//! | [`blob::BlobStore`] | files that customers download |
//! | [`mail::Mailer`] | mail |
//! | [`vault::Vault`] | digests and encryption under the master key |
//! | [`license::LicenseSigner`] | signatures of licenses |
//! | [`release::ManifestSigner`] | signatures of release manifests |
//! | [`clock::Clock`] | the time |
//! | [`entropy::Entropy`] | randomness |
//!
//! Every change has the same shape. A *use case* in [`registry`] first draws ids, secrets and the
//! time. Then it passes a *decision* to one coarse method of [`store::Store`]. A decision is a pure
//! function: from the facts that the store has loaded to the writes that the store must make. The
//! store loads the facts, calls the decision, applies its writes and commits, in one transaction.
//! Rules are therefore plain functions over plain values, and their tests are tables.
//!
//! To add a rule that must be atomic:
//! 1. Add the data that the rule needs to a `…Facts` struct of [`store`].
//! 2. Write `decide(&facts) -> Decision<T>` in the file of the use case.
//! 3. Add or extend one method of the store. Its docs state each MUST, and the conformance suite of
//!    registry-testkit has a case for each.
//! 4. Implement the method in every store.

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
pub mod tls_hint;
pub mod vault;

pub use refusal::Refusal;
pub use registry::{
    CodeSettings, DownloadSettings, Error, Ports, RateLimitSettings, Registry, Settings,
    SignInSettings,
};
