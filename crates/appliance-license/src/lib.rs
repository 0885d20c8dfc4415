//! Verifies licenses on the appliance, without a network.
//!
//! A license is a compact JWS (RFC 7515), signed by the vendor's registry with Ed25519 (`EdDSA`) or
//! P-256 (`ES256`). It belongs to one tenant (the `aud` claim) and carries a tier, a number of
//! seats and an expiry time. The keys come from the registry's JWKS (`/.well-known/jwks.json`, or
//! `registryctl keys export`). An appliance pins them once. From then on it takes a newer set only
//! if one of its keys signed that set ([`TrustedKeys::successor`]).
//!
//! ```
//! use appliance_license::{LicenseState, TrustedKeys, Verifier};
//!
//! # fn main() -> Result<(), appliance_license::KeysError> {
//! let jwks = r#"{"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "2026-11",
//!     "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
//! let keys = TrustedKeys::from_jwks(jwks)?;
//! let tenant_id = "019b0a51-7d1e-7c3a-9b52-4f0e8d6a1c73";
//! let verifier = Verifier::new(keys, "appliance-registry", tenant_id);
//! let now = 1_800_000_000; // Unix seconds, by the appliance's clock
//! match verifier.state("eyJhbGciOiJFZERTQSJ9.e30.AA", now) {
//!     LicenseState::Licensed(license) => println!("{}", license.tier),
//!     LicenseState::Expiring { license, days } => println!("{}: {days} days", license.tier),
//!     LicenseState::Expired { since, .. } => println!("expired at {since}"),
//!     LicenseState::WrongTenant { .. } => println!("the license of another tenant"),
//!     LicenseState::Invalid(reason) => println!("no license: {reason}"),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! This crate shares no code with the registry that signs the licenses. Its tests verify what the
//! registry's signer produces.

mod claims;
mod key_set;
mod keys;
mod verifier;

pub use key_set::SignedKeySet;
pub use keys::{KeysError, TrustedKeys};
pub use verifier::{Invalid, License, LicenseState, Verifier};
