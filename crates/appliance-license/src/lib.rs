//! Verifies a license where it is used: on the appliance, without a network.
//!
//! A license is a compact JWS (RFC 7515) that the vendor's registry signed with Ed25519 (`EdDSA`)
//! or P-256 (`ES256`). It is *for* one tenant (its `aud`), and says a tier, a number of seats and
//! an end. The keys come from the registry's JWKS (`/.well-known/jwks.json`, or `registryctl keys
//! export`), pinned once and refreshed at each check-in.
//!
//! ```
//! use appliance_license::{LicenseState, TrustedKeys, Verifier};
//!
//! # fn main() -> Result<(), appliance_license::KeysError> {
//! let jwks = r#"{"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "2026-11",
//!     "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
//! let keys = TrustedKeys::from_jwks(jwks)?;
//! let verifier = Verifier::new(keys, "appliance-registry", "019b0a51-7d1e-7c3a-9b52-4f0e8d6a1c73");
//! let now = 1_800_000_000; // Unix seconds, by the appliance's clock
//! match verifier.state("eyJhbGciOiJFZERTQSJ9.e30.AA", now) {
//!     LicenseState::Licensed(license) => println!("{} for {:?} seats", license.tier, license.seats),
//!     LicenseState::Expiring { license, days } => println!("{} for {days} more days", license.tier),
//!     LicenseState::Expired { since, .. } => println!("ended at {since}"),
//!     LicenseState::WrongTenant { .. } => println!("this is another appliance's license"),
//!     LicenseState::Invalid(reason) => println!("no license: {reason}"),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! This crate shares no code with the registry that signs: its tests hold one against the other.

mod claims;
mod keys;
mod verifier;

pub use keys::{KeysError, TrustedKeys};
pub use verifier::{Invalid, License, LicenseState, Verifier};
