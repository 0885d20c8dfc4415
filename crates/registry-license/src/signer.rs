//! One license key and its signatures: compact JWS, with `EdDSA` for an Ed25519 key and `ES256` for
//! a P-256 key. The key file decides the algorithm.
//!
//! The claims are those of the wire contract: there is no `nbf`, `aud` is a plain string, and times
//! are whole seconds.

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{EncodePrivateKey as _, KeypairBytes};
use jwt_simple::prelude::{
    Claims, Duration, ECDSAP256KeyPairLike as _, ES256KeyPair, Ed25519KeyPair,
    EdDSAKeyPairLike as _, HeaderOptions, JWTClaims, UnixTimeStamp,
};
use registry_core::clock::Timestamp;
use registry_core::license::{
    LicenseClaims, LicenseSigner, PublicKey, PublicKeyMaterial, SignError, SignedLicense,
};
use registry_core::offline::OfflineAnswer;
use registry_core::secret::{AnswerToken, LicenseToken};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::key_set::{KEY_SET_TYPE, KeySetBody};
use crate::offline::{ANSWER_TYPE, AnswerBody};
use crate::verifier::Verifier;

/// Reasons why a key file cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The text is not an Ed25519 or P-256 private key.
    #[error(
        "the file is not an Ed25519 (version 1) or P-256 private key in unencrypted PKCS#8 PEM"
    )]
    Unreadable,
    /// The given `kid` is the thumbprint of another key.
    #[error("kid `{0}` is the thumbprint of another key: correct the kid, or use that key")]
    OtherKid(String),
}

/// True if a `kid` has the format of a thumbprint: a SHA-256 in base64url (RFC 7638).
fn is_thumbprint(kid: &str) -> bool {
    BASE64_URL_SAFE_NO_PAD.decode(kid).is_ok_and(|bytes| bytes.len() == 32)
}

/// Returns the `kid` of a key: the given one, or else the thumbprint. Refuses the thumbprint of
/// another key.
fn checked_kid(given: Option<String>, thumbprint: String) -> Result<String, KeyError> {
    match given {
        Some(kid) if is_thumbprint(&kid) && kid != thumbprint => Err(KeyError::OtherKid(kid)),
        Some(kid) => Ok(kid),
        None => Ok(thumbprint),
    }
}

/// A license key.
pub struct Signer {
    key: KeyPair,
    verifier: Arc<Verifier>,
}

enum KeyPair {
    Ed25519(Box<Ed25519KeyPair>),
    P256(Box<ES256KeyPair>),
}

/// Claims of a license beside the registered ones.
#[derive(Serialize)]
struct LicenseBody<'a> {
    cust: &'a str,
    tier: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    seats: Option<u32>,
}

#[derive(Deserialize)]
struct Jwk {
    x: String,
    y: Option<String>,
}

impl Signer {
    /// Parses a private key in PKCS#8 PEM. The default `kid` is the JWK thumbprint (RFC 7638,
    /// SHA-256).
    pub fn from_pem(pem: &str, kid: Option<String>) -> Result<Self, KeyError> {
        if let Ok(pair) = Ed25519KeyPair::from_pem(pem) {
            let public = pair.public_key();
            let kid = checked_kid(kid, public.jwk_thumbprint())?;
            let verifier = verifier(public_key(&public.to_jwk(), &kid)?)?;
            return Ok(Self { key: KeyPair::Ed25519(Box::new(pair.with_key_id(&kid))), verifier });
        }
        let pair = ES256KeyPair::from_pem(pem).map_err(|_| KeyError::Unreadable)?;
        let public = pair.public_key();
        let kid = checked_kid(kid, public.jwk_thumbprint())?;
        let verifier = verifier(public_key(&public.to_jwk(), &kid)?)?;
        Ok(Self { key: KeyPair::P256(Box::new(pair.with_key_id(&kid))), verifier })
    }
}

/// Returns a P-256 private key made from random bytes, as PKCS#8 PEM, or `None` for the few values
/// that are not valid keys.
#[must_use]
pub fn p256_pem(random: &[u8; 32]) -> Option<Zeroizing<String>> {
    use p256::pkcs8::EncodePrivateKey as _;
    p256::SecretKey::from_slice(random).ok()?.to_pkcs8_pem(LineEnding::LF).ok()
}

/// Returns an Ed25519 private key made from random bytes, as PKCS#8 PEM, in version 1, which all
/// software can read.
#[must_use]
#[expect(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "encoding 32 bytes into memory cannot fail"
)]
pub fn ed25519_pem(random: &[u8; 32]) -> Zeroizing<String> {
    let bytes = KeypairBytes { secret_key: *random, public_key: None };
    bytes.to_pkcs8_pem(LineEnding::LF).expect("32 bytes encode")
}

fn verifier(public: PublicKey) -> Result<Arc<Verifier>, KeyError> {
    Verifier::new(public).ok_or(KeyError::Unreadable)
}

fn public_key(jwk: &str, kid: &str) -> Result<PublicKey, KeyError> {
    let coordinate = |text: &str| -> Option<[u8; 32]> {
        BASE64_URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()
    };
    let jwk: Jwk = serde_json::from_str(jwk).map_err(|_| KeyError::Unreadable)?;
    let x = coordinate(&jwk.x).ok_or(KeyError::Unreadable)?;
    let material = match jwk.y {
        None => PublicKeyMaterial::Ed25519 { x },
        Some(y) => PublicKeyMaterial::P256 { x, y: coordinate(&y).ok_or(KeyError::Unreadable)? },
    };
    Ok(PublicKey { kid: kid.to_owned(), material })
}

impl Signer {
    /// Returns the public key.
    #[must_use]
    pub fn public_key(&self) -> &PublicKey {
        self.verifier.public_key()
    }

    /// Signs a set of public keys, and verifies the signature.
    pub fn sign_key_set(
        &self,
        keys: &[PublicKey],
        issuer: &str,
        now: Timestamp,
    ) -> Result<String, SignError> {
        let claims: JWTClaims<_> = JWTClaims {
            issued_at: Some(seconds(now)?),
            expires_at: None,
            invalid_before: None,
            ..Claims::with_custom_claims(KeySetBody::of(keys), Duration::from_secs(0))
                .with_issuer(issuer)
        };
        let token = self.sign_claims(claims, KEY_SET_TYPE)?;
        self.verifier.check(&token)?;
        Ok(token)
    }
}

impl Signer {
    /// Signs claims. The caller verifies the signature.
    fn sign_claims<C: Serialize>(
        &self,
        claims: JWTClaims<C>,
        typ: &str,
    ) -> Result<String, SignError> {
        let options = HeaderOptions { content_type: None, signature_type: Some(typ.to_owned()) };
        let token = match &self.key {
            KeyPair::Ed25519(pair) => pair.sign_with_options(claims, &options),
            KeyPair::P256(pair) => pair.sign_with_options(claims, &options),
        };
        token.map_err(|error| SignError(error.to_string()))
    }
}

fn seconds(moment: Timestamp) -> Result<UnixTimeStamp, SignError> {
    u64::try_from(moment.timestamp())
        .map(Duration::from_secs)
        .map_err(|_| SignError("a time of the token is before 1970".to_owned()))
}

impl LicenseSigner for Signer {
    fn sign(&self, claims: &LicenseClaims) -> Result<SignedLicense, SignError> {
        let terms = &claims.terms;
        if terms.customer.is_empty() {
            return Err(SignError("the customer is empty".to_owned()));
        }
        let body = LicenseBody { cust: &terms.customer, tier: &terms.tier, seats: terms.seats };
        let mut claims: JWTClaims<_> = JWTClaims {
            issued_at: Some(seconds(claims.issued_at)?),
            expires_at: Some(seconds(claims.expires_at)?),
            invalid_before: None,
            ..Claims::with_custom_claims(body, Duration::from_secs(0))
                .with_issuer(&claims.issuer)
                .with_subject(&terms.sub)
        };
        if let Some(tenant) = terms.tenant_id {
            claims = claims.with_audience(tenant);
        }
        let token = LicenseToken::new(self.sign_claims(claims, "JWT")?);
        Ok(SignedLicense { token, key: self.verifier.clone() })
    }

    fn sign_answer(&self, answer: &OfflineAnswer) -> Result<AnswerToken, SignError> {
        let claims: JWTClaims<_> = JWTClaims {
            issued_at: Some(seconds(answer.issued_at)?),
            expires_at: None,
            invalid_before: None,
            ..Claims::with_custom_claims(AnswerBody::from(answer), Duration::from_secs(0))
                .with_issuer(&answer.issuer)
        };
        let token = self.sign_claims(claims, ANSWER_TYPE)?;
        self.verifier.check(&token)?;
        Ok(AnswerToken::new(token))
    }

    fn public_keys(&self) -> Vec<PublicKey> {
        vec![self.public_key().clone()]
    }

    fn signed_key_sets(&self, issuer: &str, now: Timestamp) -> Result<Vec<String>, SignError> {
        Ok(vec![self.sign_key_set(&self.public_keys(), issuer, now)?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_dalek::Verifier as _;
    use registry_core::id::TenantId;
    use registry_core::license::LicenseTerms;

    fn claims(seats: Option<u32>) -> LicenseClaims {
        LicenseClaims {
            issuer: "appliance-registry".into(),
            terms: LicenseTerms {
                sub: "lic_1".into(),
                customer: "Ünïcode & Söhne".into(),
                tier: "pro".into(),
                seats,
                tenant_id: Some(TenantId("0198b2c4-0000-7000-8000-00000000ABCD".parse().unwrap())),
            },
            issued_at: Timestamp::from_timestamp(1_800_000_000, 999_999_000).unwrap(),
            expires_at: Timestamp::from_timestamp(1_802_678_400, 0).unwrap(),
        }
    }

    fn parts(token: &LicenseToken) -> (serde_json::Value, serde_json::Value, String, Vec<u8>) {
        let [head, body, signature] =
            token.expose().split('.').collect::<Vec<_>>().try_into().unwrap();
        let json = |part: &str| {
            serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
        };
        (
            json(head),
            json(body),
            format!("{head}.{body}"),
            BASE64_URL_SAFE_NO_PAD.decode(signature).unwrap(),
        )
    }

    /// R-license-1, R-license-2, R-license-4, R-jwks-1.
    #[test]
    fn ed25519_license_follows_contract() {
        let signer = Signer::from_pem(&ed25519_pem(&[7; 32]), None).unwrap();
        let (head, body, message, signature) =
            parts(&signer.sign(&claims(Some(25))).unwrap().token);
        let [PublicKey { kid, material: PublicKeyMaterial::Ed25519 { x } }] =
            &signer.public_keys()[..]
        else {
            panic!("one Ed25519 key")
        };
        assert_eq!(head, serde_json::json!({ "alg": "EdDSA", "kid": kid, "typ": "JWT" }));
        let expected = serde_json::json!({
            "iss": "appliance-registry",
            "sub": "lic_1",
            "aud": "0198b2c4-0000-7000-8000-00000000abcd",
            "cust": "Ünïcode & Söhne",
            "tier": "pro",
            "seats": 25,
            "iat": 1_800_000_000,
            "exp": 1_802_678_400,
        });
        assert_eq!(body, expected);
        let key = ed25519_dalek::VerifyingKey::from_bytes(x).unwrap();
        key.verify(message.as_bytes(), &ed25519_dalek::Signature::from_slice(&signature).unwrap())
            .unwrap();
    }

    /// R-license-2, R-license-4.
    #[test]
    fn p256_license_has_raw_es256_signature() {
        let secret = p256::SecretKey::from_slice(&[9; 32]).unwrap();
        let pem = secret.to_pkcs8_pem(LineEnding::LF).unwrap();
        let signer = Signer::from_pem(&pem, Some("fleet-2026".into())).unwrap();
        let (head, body, message, signature) = parts(&signer.sign(&claims(None)).unwrap().token);
        assert_eq!(head, serde_json::json!({ "alg": "ES256", "kid": "fleet-2026", "typ": "JWT" }));
        assert!(body.get("seats").is_none() && body.get("nbf").is_none());
        let [PublicKey { material: PublicKeyMaterial::P256 { x, y }, .. }] =
            &signer.public_keys()[..]
        else {
            panic!("one P-256 key")
        };
        let point = [&[4][..], x, y].concat();
        let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(&point).unwrap();
        let signature = p256::ecdsa::Signature::from_slice(&signature).unwrap();
        p256::ecdsa::signature::Verifier::verify(&key, message.as_bytes(), &signature).unwrap();
    }

    #[test]
    fn kid_is_the_rfc_7638_thumbprint() {
        // RFC 8037, appendices A.1 and A.3.
        let secret =
            BASE64_URL_SAFE_NO_PAD.decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A").unwrap();
        let signer = Signer::from_pem(&ed25519_pem(&secret.try_into().unwrap()), None).unwrap();
        assert_eq!(signer.public_keys()[0].kid, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }

    #[test]
    fn thumbprint_of_another_key_is_refused() {
        let (one, other) = (ed25519_pem(&[7; 32]), ed25519_pem(&[8; 32]));
        let kid = Signer::from_pem(&one, None).unwrap().public_keys()[0].kid.clone();
        assert!(Signer::from_pem(&one, Some(kid.clone())).is_ok());
        assert_eq!(
            Signer::from_pem(&other, Some(kid.clone())).err(),
            Some(KeyError::OtherKid(kid))
        );
        assert!(Signer::from_pem(&other, Some("2026-11".to_owned())).is_ok());
    }

    #[test]
    fn other_keys_are_refused() {
        for pem in ["", "nonsense", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"]
        {
            assert_eq!(Signer::from_pem(pem, None).err(), Some(KeyError::Unreadable));
        }
    }

    #[test]
    fn license_without_customer_is_not_signed() {
        let signer = Signer::from_pem(&ed25519_pem(&[7; 32]), None).unwrap();
        let mut claims = claims(None);
        claims.terms.customer.clear();
        assert!(signer.sign(&claims).is_err());
    }
}
