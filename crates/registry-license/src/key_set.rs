//! The published key set, signed with each of its keys: an appliance that trusts one of them can
//! trust the others. The signatures are compact JWS with a separate `typ` (RFC 8725 §3.11), so a
//! license cannot be mistaken for one.

use registry_core::license::{JwkMaterial, PublicKey};
use serde::Serialize;

pub(crate) const KEY_SET_TYPE: &str = "jwk-set+jwt";

/// Claims of a signed key set beside the registered ones.
#[derive(Serialize)]
pub(crate) struct KeySetBody {
    keys: Vec<Jwk>,
}

/// A public key (RFC 7517), as it is published.
#[derive(Serialize)]
struct Jwk {
    kty: &'static str,
    crv: &'static str,
    alg: &'static str,
    r#use: &'static str,
    kid: String,
    x: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    y: Option<String>,
}

impl KeySetBody {
    pub(crate) fn of(keys: &[PublicKey]) -> Self {
        let jwk = |key: &PublicKey| {
            let JwkMaterial { kty, crv, alg, x, y } = key.material.jwk();
            Jwk { kty, crv, alg, r#use: "sig", kid: key.kid.clone(), x, y }
        };
        Self { keys: keys.iter().map(jwk).collect() }
    }
}
