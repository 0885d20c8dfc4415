//! The key set that follows the trusted one. The registry signs its key set with each published
//! key, so a rotation can be followed from any of them, and no other server can add a key.

use serde::Deserialize;

use crate::claims::object;
use crate::keys::TrustedKeys;

/// The `typ` of a signed key set.
const KEY_SET_TYPE: &str = "jwk-set+jwt";

/// A key set that was signed with a trusted key.
#[derive(Clone, Debug)]
pub struct SignedKeySet {
    /// The keys.
    pub keys: TrustedKeys,
    /// Time of the signature, in Unix seconds. An older set than the stored one must not replace
    /// it: a key may have been revoked in between.
    pub issued_at: u64,
    /// The signed text, to be stored: a JSON Web Key Set with the additional members `iss` and
    /// `iat`.
    pub jwks: String,
}

/// The part of the registry's response that is read here. The published keys themselves are not
/// signed.
#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    signatures: Vec<String>,
}

/// Claims of a signed key set beside its keys.
#[derive(Deserialize)]
struct Claims {
    iss: String,
    iat: u64,
}

impl TrustedKeys {
    /// Returns the key set that follows this one, from a registry's `/.well-known/jwks.json`: the
    /// first that one of these keys signed for this issuer. Returns `None` if no one is, as
    /// from a registry that does not sign its key set.
    #[must_use]
    pub fn successor(&self, document: &str, issuer: &str) -> Option<SignedKeySet> {
        let Document { signatures } = object(document.as_bytes())?;
        signatures.iter().find_map(|token| self.signed_key_set(token, issuer))
    }

    fn signed_key_set(&self, token: &str, issuer: &str) -> Option<SignedKeySet> {
        let payload = self.payload(token, KEY_SET_TYPE).ok()?;
        let Claims { iss, iat } = object(&payload)?;
        let jwks = String::from_utf8(payload).ok()?;
        let keys = Self::from_jwks(&jwks).ok()?;
        (iss == issuer).then_some(SignedKeySet { keys, issued_at: iat, jwks })
    }
}
