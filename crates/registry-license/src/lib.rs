//! Signs licenses (compact JWS, RFC 7515, RFC 7519) with the active key of a ring, and release
//! manifests with a separate key. Verifies offline requests.
//!
//! A license key is published before it signs (*standby*), then signs (*active*, one key at a
//! time), and then stays published until its licenses have expired (*retired*). Each published key
//! signs the set of all of them, so appliances can follow a rotation.

mod key_set;
mod key_set_cache;
mod manifest;
mod offline;
mod ring;
mod signer;
mod verifier;

pub use key_set_cache::SignedKeySets;
pub use manifest::{ManifestKey, NotAManifestKey};
pub use offline::{RequestError, read_request};
pub use ring::{KeyEntry, KeyState, PUBLISHED_BEFORE, Ring, RingError, RingPlan};
pub use signer::{KeyError, Signer, ed25519_pem, p256_pem};
