//! The signatures of a ring's key set: anyone can request them, and signing takes time.

use std::sync::{Mutex, PoisonError};

use chrono::TimeDelta;
use registry_core::clock::Timestamp;
use registry_core::license::{LicenseSigner as _, PublicKey, SignError};

use crate::ring::Ring;

/// Time for which signatures are reused: signing takes CPU time, and anyone can request them.
const LIFETIME: TimeDelta = TimeDelta::minutes(1);

/// The signatures of a ring's key set, which are reused for a minute.
#[derive(Default)]
pub struct SignedKeySets(Mutex<Option<Cached>>);

struct Cached {
    issuer: String,
    keys: Vec<PublicKey>,
    signed_at: Timestamp,
    signatures: Vec<String>,
}

impl Cached {
    /// Returns true if the signatures are of these keys, and less than a minute old. The clock may
    /// have been set back.
    fn is_current(&self, issuer: &str, keys: &[PublicKey], now: Timestamp) -> bool {
        let age = now - self.signed_at;
        self.issuer == issuer && self.keys == keys && (TimeDelta::zero()..LIFETIME).contains(&age)
    }
}

impl SignedKeySets {
    /// Returns the signatures of the ring's key set. They are made again after a minute, and when
    /// the keys of the ring change.
    pub fn of(&self, ring: &Ring, issuer: &str, now: Timestamp) -> Result<Vec<String>, SignError> {
        let keys = ring.public_keys();
        // Locked while it signs: of simultaneous requests, only one signs.
        let mut cached = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(current) = cached.as_ref().filter(|it| it.is_current(issuer, &keys, now)) {
            return Ok(current.signatures.clone());
        }
        let signatures = ring.signed_key_sets(issuer, now)?;
        let (issuer, copy) = (issuer.to_owned(), signatures.clone());
        *cached = Some(Cached { issuer, keys, signed_at: now, signatures: copy });
        Ok(signatures)
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::prelude::BASE64_URL_SAFE_NO_PAD;
    use registry_core::license::JwkMaterial;
    use serde_json::{Value, json};

    use super::*;
    use crate::ring::KeyState;
    use crate::signer::{Signer, ed25519_pem, p256_pem};

    const ISSUER: &str = "appliance-registry";

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_timestamp(1_800_000_000 + seconds, 0).unwrap()
    }

    fn ed25519(number: u8, kid: &str) -> Signer {
        Signer::from_pem(&ed25519_pem(&[number; 32]), Some(kid.to_owned())).unwrap()
    }

    fn p256(number: u8, kid: &str) -> Signer {
        Signer::from_pem(&p256_pem(&[number; 32]).unwrap(), Some(kid.to_owned())).unwrap()
    }

    /// Returns header and payload.
    fn parts(token: &str) -> (Value, Value) {
        let json = |part: &str| {
            serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
        };
        let [head, body, _] = token.split('.').collect::<Vec<_>>().try_into().unwrap();
        (json(head), json(body))
    }

    /// R-jwks-3.
    #[test]
    fn every_published_key_signs_the_set() {
        let ring = Ring::new(vec![
            (ed25519(1, "old"), KeyState::Retired),
            (p256(2, "now"), KeyState::Active),
            (ed25519(3, "next"), KeyState::Standby),
        ])
        .unwrap();
        let signatures = ring.signed_key_sets(ISSUER, at(0)).unwrap();
        let expected = [("EdDSA", "old"), ("ES256", "now"), ("EdDSA", "next")];
        assert_eq!(signatures.len(), expected.len());
        for (token, (alg, kid)) in signatures.iter().zip(expected) {
            let (head, body) = parts(token);
            assert_eq!(head, json!({ "alg": alg, "kid": kid, "typ": "jwk-set+jwt" }));
            assert_eq!((&body["iss"], &body["iat"]), (&json!(ISSUER), &json!(1_800_000_000)));
            assert_eq!(body.as_object().unwrap().len(), 3, "{body}");
            let keys = body["keys"].as_array().unwrap();
            let kids: Vec<_> = keys.iter().map(|key| &key["kid"]).collect();
            assert_eq!(kids, ["old", "now", "next"]);
            let JwkMaterial { x, .. } = ring.public_keys()[0].material.jwk();
            let expected = json!({
                "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": "old", "x": x,
            });
            assert_eq!(keys[0], expected);
        }
    }

    #[test]
    fn signatures_are_reused_for_a_minute() {
        let ring = Ring::new(vec![(ed25519(1, "a"), KeyState::Active)]).unwrap();
        let sets = SignedKeySets::default();
        let first = sets.of(&ring, ISSUER, at(0)).unwrap();
        assert_eq!(sets.of(&ring, ISSUER, at(59)).unwrap(), first);
        let second = sets.of(&ring, ISSUER, at(60)).unwrap();
        assert_ne!(second, first);
        assert_eq!(sets.of(&ring, ISSUER, at(61)).unwrap(), second);
        let set_back = sets.of(&ring, ISSUER, at(59)).unwrap();
        assert_ne!(set_back, second, "the clock was set back");
        assert_ne!(sets.of(&ring, "another", at(59)).unwrap(), set_back);
        let rotated =
            vec![(ed25519(1, "a"), KeyState::Active), (ed25519(2, "b"), KeyState::Standby)];
        let rotated = sets.of(&Ring::new(rotated).unwrap(), ISSUER, at(59)).unwrap();
        assert_eq!(rotated.len(), 2, "a new key is published at once");
    }
}
