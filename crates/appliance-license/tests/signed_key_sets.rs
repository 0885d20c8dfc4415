//! Key sets that the registry's real signer signed.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use appliance_license::{Invalid, LicenseState, TrustedKeys, Verifier};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use registry_core::clock::Timestamp;
use registry_core::license::{JwkMaterial, LicenseClaims, LicenseSigner as _, LicenseTerms};
use registry_license::{Signer, ed25519_pem, p256_pem};
use serde_json::{Value, json};

const TENANT: &str = "019b0a51-7d1e-7c3a-9b52-4f0e8d6a1c73";
const ISSUER: &str = "appliance-registry";
const SIGNED: u64 = 1_800_000_000;

fn ed25519() -> Signer {
    Signer::from_pem(&ed25519_pem(&[7; 32]), Some("ed".to_owned())).unwrap()
}

fn p256() -> Signer {
    Signer::from_pem(&p256_pem(&[9; 32]).unwrap(), Some("ec".to_owned())).unwrap()
}

fn time() -> Timestamp {
    Timestamp::from_timestamp(SIGNED.try_into().unwrap(), 0).unwrap()
}

fn jwks(signers: &[&Signer]) -> Value {
    let jwk = |signer: &&Signer| {
        let JwkMaterial { kty, crv, x, y, .. } = signer.public_key().material.jwk();
        json!({ "kty": kty, "crv": crv, "kid": signer.public_key().kid, "x": x, "y": y })
    };
    json!({ "keys": signers.iter().map(jwk).collect::<Vec<_>>() })
}

fn trusted(signer: &Signer) -> TrustedKeys {
    TrustedKeys::from_jwks(&jwks(&[signer]).to_string()).unwrap()
}

/// The registry's response with these signatures.
fn document(signatures: &[&str]) -> String {
    json!({ "keys": [], "signatures": signatures }).to_string()
}

/// Signs the set of both keys.
fn signed(signer: &Signer, issuer: &str) -> String {
    let keys = [ed25519().public_key().clone(), p256().public_key().clone()];
    signer.sign_key_set(&keys, issuer, time()).unwrap()
}

/// Signs any header and payload with the Ed25519 key.
fn forge(head: &Value, payload: &Value) -> String {
    use ed25519_dalek::Signer as _;
    let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(head), part(payload));
    let signature = ed25519_dalek::SigningKey::from_bytes(&[7; 32]).sign(message.as_bytes());
    format!("{message}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature.to_bytes()))
}

/// R-jwks-4.
#[test]
fn any_trusted_key_introduces_the_set() {
    let (ed, ec) = (signed(&ed25519(), ISSUER), signed(&p256(), ISSUER));
    for signer in [ed25519(), p256()] {
        for signatures in [[&*ed, &*ec], [&*ec, &*ed]] {
            let set = trusted(&signer).successor(&document(&signatures), ISSUER).unwrap();
            assert_eq!(set.keys.kids().collect::<Vec<_>>(), ["ed", "ec"]);
            assert_eq!(set.issued_at, SIGNED);
            let stored = TrustedKeys::from_jwks(&set.jwks).unwrap();
            assert_eq!(stored.kids().collect::<Vec<_>>(), ["ed", "ec"]);
        }
    }
}

/// R-jwks-4.
#[test]
fn set_without_trusted_signature_is_rejected() {
    let (keys, valid) = (trusted(&ed25519()), signed(&ed25519(), ISSUER));
    let impostor = Signer::from_pem(&ed25519_pem(&[8; 32]), Some("ed".to_owned())).unwrap();
    let (message, signature) = valid.rsplit_once('.').unwrap();
    let (head, _) = message.split_once('.').unwrap();
    let payload = BASE64_URL_SAFE_NO_PAD.encode(jwks(&[&impostor]).to_string());
    for (case, token) in [
        ("an unknown key", signed(&p256(), ISSUER)),
        ("another key under the kid", signed(&impostor, ISSUER)),
        ("another issuer", signed(&ed25519(), "somebody")),
        ("an altered payload", format!("{head}.{payload}.{signature}")),
        ("no signature", format!("{message}.")),
        ("no token", "nonsense".to_owned()),
    ] {
        assert!(keys.successor(&document(&[&token]), ISSUER).is_none(), "{case}");
        let both = document(&[&token, &valid]);
        assert!(keys.successor(&both, ISSUER).is_some(), "{case}: the next signature counts");
    }
    let none = jwks(&[&ed25519(), &impostor]).to_string();
    for text in [&*none, "", "nonsense", "[]", &document(&[]), &format!("[[\"{valid}\"]]")] {
        assert!(keys.successor(text, ISSUER).is_none(), "{text}");
    }
}

/// The signatures are correct.
#[test]
fn signed_text_of_another_form_is_rejected() {
    let (keys, signer) = (trusted(&ed25519()), ed25519());
    let head = json!({ "alg": "EdDSA", "kid": "ed", "typ": "jwk-set+jwt" });
    let set = jwks(&[&signer])["keys"].clone();
    let payload = json!({ "iss": ISSUER, "iat": SIGNED, "keys": set });
    let is_taken = |head: &Value, payload: &Value| {
        keys.successor(&document(&[&forge(head, payload)]), ISSUER).is_some()
    };
    assert!(is_taken(&head, &payload));
    for (field, value) in [
        ("iat", Value::Null),
        ("iat", json!("now")),
        ("iat", json!(-1)),
        ("iss", Value::Null),
        ("keys", Value::Null),
        ("keys", json!([])),
        ("keys", json!([set[0], set[0]])),
    ] {
        let mut payload = payload.clone();
        payload[field] = value;
        assert!(!is_taken(&head, &payload), "{payload}");
    }
    assert!(!is_taken(&head, &json!([ISSUER, SIGNED])));
    for typ in [json!("JWT"), json!("appliance-answer+jwt"), Value::Null] {
        let mut head = head.clone();
        head["typ"] = typ;
        assert!(!is_taken(&head, &payload), "{head}");
    }
}

#[test]
fn license_and_key_set_are_distinct() {
    let (keys, signer) = (trusted(&ed25519()), ed25519());
    let claims = LicenseClaims {
        issuer: ISSUER.to_owned(),
        terms: LicenseTerms {
            sub: "lic_1".to_owned(),
            customer: "Acme".to_owned(),
            tier: "pro".to_owned(),
            seats: None,
            tenant_id: TENANT.parse().ok(),
        },
        issued_at: time(),
        expires_at: time() + chrono::TimeDelta::days(31),
    };
    let license = signer.sign(&claims).unwrap().token;
    assert!(keys.successor(&document(&[license.expose()]), ISSUER).is_none());
    let verifier = Verifier::new(keys, ISSUER, TENANT);
    let state = verifier.state(&signed(&signer, ISSUER), SIGNED);
    assert_eq!(state, LicenseState::Invalid(Invalid::Malformed));
}
