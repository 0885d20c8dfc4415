//! The trusted keys, by their `kid`.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Deserialize;

/// Reason why a key set cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    /// The text is not a JSON Web Key Set (RFC 7517 §5).
    #[error("the text is not a JSON Web Key Set")]
    NoKeySet,
    /// A key of a supported type is damaged.
    #[error("the key `{0}` is damaged")]
    Damaged(String),
    /// Two keys have the same `kid`, so the signer would be ambiguous.
    #[error("two keys have the kid `{0}`")]
    DuplicateKid(String),
    /// The set has no key that can verify licenses.
    #[error("the key set contains no Ed25519 or P-256 key with a kid")]
    Empty,
}

/// The public half of a key that signs licenses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    Ed25519(ed25519_dalek::VerifyingKey),
    P256(p256::ecdsa::VerifyingKey),
}

/// Keys that licenses are verified with.
#[derive(Clone, Debug)]
pub struct TrustedKeys(Vec<(String, Key)>);

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Jwk>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    crv: Option<String>,
    kid: Option<String>,
    x: Option<String>,
    y: Option<String>,
    alg: Option<String>,
    r#use: Option<String>,
}

impl TrustedKeys {
    /// Parses a JSON Web Key Set. Keys of other types, keys for another `use` or `alg`, and keys
    /// without a `kid` are skipped: a registry may publish keys that this version does not support.
    pub fn from_jwks(json: &str) -> Result<Self, KeysError> {
        let set: KeySet = serde_json::from_str(json).map_err(|_| KeysError::NoKeySet)?;
        let mut keys: Vec<(String, Key)> = Vec::new();
        for jwk in set.keys {
            let Some(kid) = jwk.kid.clone() else { continue };
            let key = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
                ("OKP", Some("Ed25519")) if jwk.is_for("EdDSA") => jwk.ed25519(),
                ("EC", Some("P-256")) if jwk.is_for("ES256") => jwk.p256(),
                _ => continue,
            };
            let key = key.ok_or_else(|| KeysError::Damaged(kid.clone()))?;
            if keys.iter().any(|(known, _)| *known == kid) {
                return Err(KeysError::DuplicateKid(kid));
            }
            keys.push((kid, key));
        }
        if keys.is_empty() { Err(KeysError::Empty) } else { Ok(Self(keys)) }
    }

    /// Returns the `kid` of each key.
    pub fn kids(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(kid, _)| kid.as_str())
    }

    pub(crate) fn find(&self, kid: &str) -> Option<&Key> {
        self.0.iter().find(|(known, _)| known == kid).map(|(_, key)| key)
    }
}

impl Jwk {
    /// Returns true if the key may sign with this algorithm. `use` and `alg` are optional (RFC 7517
    /// §4).
    fn is_for(&self, algorithm: &str) -> bool {
        self.r#use.as_deref().is_none_or(|usage| usage == "sig")
            && self.alg.as_deref().is_none_or(|alg| alg == algorithm)
    }

    fn ed25519(&self) -> Option<Key> {
        let key = ed25519_dalek::VerifyingKey::from_bytes(&coordinate(self.x.as_deref())?).ok()?;
        // A key of small order would accept forged signatures.
        (!key.is_weak()).then_some(Key::Ed25519(key))
    }

    fn p256(&self) -> Option<Key> {
        let (x, y) = (coordinate(self.x.as_deref())?, coordinate(self.y.as_deref())?);
        // An uncompressed point (SEC 1 §2.3.3).
        let point = [&[4][..], &x, &y].concat();
        p256::ecdsa::VerifyingKey::from_sec1_bytes(&point).ok().map(Key::P256)
    }
}

fn coordinate(text: Option<&str>) -> Option<[u8; 32]> {
    BASE64_URL_SAFE_NO_PAD.decode(text?).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ED: &str = r#"{"kty": "OKP", "crv": "Ed25519", "kid": "a",
        "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;

    fn kids_of(keys: &str) -> Result<Vec<String>, KeysError> {
        let keys = TrustedKeys::from_jwks(&format!(r#"{{"keys": [{keys}]}}"#))?;
        Ok(keys.kids().map(str::to_owned).collect())
    }

    #[test]
    fn unsupported_keys_are_skipped() {
        let others = r#"{"kty": "RSA", "kid": "r", "n": "x", "e": "y"},
            {"kty": "OKP", "crv": "X25519", "kid": "x"}"#;
        assert_eq!(kids_of(&format!("{ED}, {others}")), Ok(vec!["a".to_owned()]));
        assert_eq!(kids_of(others), Err(KeysError::Empty));
        for (field, is_used) in [
            (r#""use": "sig""#, true),
            (r#""use": "enc""#, false),
            (r#""use": """#, false),
            (r#""alg": "EdDSA""#, true),
            (r#""alg": "ES256""#, false),
        ] {
            let kids = kids_of(&ED.replacen('{', &format!("{{{field}, "), 1));
            assert_eq!(kids.is_ok(), is_used, "{field}: {kids:?}");
        }
    }

    #[test]
    fn damaged_or_ambiguous_keys_are_rejected() {
        assert_eq!(kids_of(&format!("{ED}, {ED}")), Err(KeysError::DuplicateKid("a".into())));
        for damaged in [
            r#"{"kty": "OKP", "crv": "Ed25519", "kid": "d"}"#,
            r#"{"kty": "OKP", "crv": "Ed25519", "kid": "d", "x": "AAAA"}"#,
            r#"{"kty": "OKP", "crv": "Ed25519", "kid": "d",
                "x": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}"#,
            r#"{"kty": "EC", "crv": "P-256", "kid": "d",
                "x": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
                "y": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}"#,
        ] {
            assert_eq!(kids_of(damaged), Err(KeysError::Damaged("d".into())), "{damaged}");
        }
        assert_eq!(TrustedKeys::from_jwks("nonsense").err(), Some(KeysError::NoKeySet));
        assert_eq!(TrustedKeys::from_jwks("{}").err(), Some(KeysError::NoKeySet));
    }
}
