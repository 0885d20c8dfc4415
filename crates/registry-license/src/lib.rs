//! Signs licenses as compact JWS (RFC 7515, RFC 7519), with the active key of a ring.
//!
//! A key is published before it signs (*standby*), signs (*active*, one at a time), and is then
//! published for as long as what it signed may be in the field (*retired*). Release manifests have
//! a key of their own.

mod manifest;
mod offline;
mod ring;
mod signer;

pub use manifest::{ManifestKey, NotAManifestKey};
pub use offline::{RequestError, read_request};
pub use ring::{KeyEntry, KeyState, PUBLISHED_BEFORE, Ring, RingError, RingPlan};
pub use signer::{KeyError, Signer, ed25519_pem, p256_pem};
