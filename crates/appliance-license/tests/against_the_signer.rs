//! Verifies licenses of the registry's real signer. The rejected ones come first.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use appliance_license::{Invalid, LicenseState, TrustedKeys, Verifier};
use base64::Engine as _;
use base64::prelude::{BASE64_URL_SAFE, BASE64_URL_SAFE_NO_PAD};
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use p256::pkcs8::EncodePrivateKey as _;
use registry_core::clock::Timestamp;
use registry_core::license::{
    LicenseClaims, LicenseSigner as _, LicenseTerms, PublicKey, PublicKeyMaterial,
};
use registry_license::{Signer, ed25519_pem};
use serde_json::{Value, json};

const TENANT: &str = "019b0a51-7d1e-7c3a-9b52-4f0e8d6a1c73";
const ISSUER: &str = "appliance-registry";
const ISSUED: u64 = 1_800_000_000;
const DAY: u64 = 86_400;
const EXPIRES: u64 = ISSUED + 31 * DAY;
const HEAD: &str = r#"{"alg":"EdDSA","kid":"ed","typ":"JWT"}"#;

fn ed25519() -> Signer {
    Signer::from_pem(&ed25519_pem(&[7; 32]), Some("ed".to_owned())).unwrap()
}

fn p256() -> Signer {
    let key = p256::SecretKey::from_slice(&[9; 32]).unwrap();
    Signer::from_pem(&key.to_pkcs8_pem(LineEnding::LF).unwrap(), Some("ec".to_owned())).unwrap()
}

fn claims() -> LicenseClaims {
    let at = |seconds: u64| Timestamp::from_timestamp(seconds.try_into().unwrap(), 0).unwrap();
    LicenseClaims {
        issuer: ISSUER.to_owned(),
        terms: LicenseTerms {
            sub: "lic_1".to_owned(),
            customer: "Ünïcode & Söhne".to_owned(),
            tier: "pro".to_owned(),
            seats: Some(25),
            tenant_id: TENANT.parse().ok(),
        },
        issued_at: at(ISSUED),
        expires_at: at(EXPIRES),
    }
}

fn signed(signer: &Signer, change: impl FnOnce(&mut LicenseClaims)) -> String {
    let mut claims = claims();
    change(&mut claims);
    signer.sign(&claims).unwrap().token.expose().to_owned()
}

fn jwk(key: &PublicKey) -> Value {
    let text = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    match &key.material {
        PublicKeyMaterial::Ed25519 { x } => {
            json!({ "kty": "OKP", "crv": "Ed25519", "kid": key.kid, "x": text(x) })
        }
        PublicKeyMaterial::P256 { x, y } => {
            json!({ "kty": "EC", "crv": "P-256", "kid": key.kid, "x": text(x), "y": text(y) })
        }
    }
}

/// A verifier that trusts a key of each type.
fn verifier() -> Verifier {
    let keys: Vec<Value> =
        [ed25519(), p256()].iter().flat_map(Signer::public_keys).map(|key| jwk(&key)).collect();
    let keys = TrustedKeys::from_jwks(&json!({ "keys": keys }).to_string()).unwrap();
    Verifier::new(keys, ISSUER, TENANT)
}

fn rejection(token: &str) -> Invalid {
    match verifier().state(token, ISSUED + 10) {
        LicenseState::Invalid(reason) => reason,
        state => panic!("{token}: {state:?}"),
    }
}

fn parts(token: &str) -> [String; 3] {
    token.split('.').map(str::to_owned).collect::<Vec<_>>().try_into().unwrap()
}

/// Changes the JSON in one part of a token.
fn changed(part: &str, change: impl FnOnce(&mut Value)) -> String {
    let mut value = serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
    change(&mut value);
    BASE64_URL_SAFE_NO_PAD.encode(value.to_string())
}

/// Changes the header of a token. The signature no longer matches.
fn with_header(token: &str, change: impl FnOnce(&mut Value)) -> String {
    let [head, body, signature] = parts(token);
    format!("{}.{body}.{signature}", changed(&head, change))
}

#[test]
fn license_of_another_tenant_is_recognised() {
    for signer in [ed25519(), p256()] {
        let other = "019b0a51-7d1e-7c3a-9b52-ffffffffffff";
        let token = signed(&signer, |claims| claims.terms.tenant_id = other.parse().ok());
        let state = verifier().state(&token, ISSUED + 10);
        assert_eq!(state, LicenseState::WrongTenant { tenant_id: other.to_owned() });
    }
}

#[test]
fn another_issuer_is_rejected() {
    for signer in [ed25519(), p256()] {
        let token = signed(&signer, |claims| claims.issuer = "somebody".to_owned());
        assert_eq!(rejection(&token), Invalid::Issuer("somebody".to_owned()));
    }
}

#[test]
fn unknown_or_missing_key_is_rejected() {
    let token = signed(&ed25519(), |_| {});
    assert_eq!(
        rejection(&with_header(&token, |head| head["kid"] = json!("nobody"))),
        Invalid::UnknownKey("nobody".to_owned())
    );
    assert_eq!(
        rejection(&with_header(&token, |head| drop(head.as_object_mut().unwrap().remove("kid")))),
        Invalid::NoKey
    );
    // Another key under a trusted `kid`.
    let other = Signer::from_pem(&ed25519_pem(&[8; 32]), Some("ed".to_owned())).unwrap();
    assert_eq!(rejection(&signed(&other, |_| {})), Invalid::Signature);
}

/// R-license-4.
#[test]
fn only_the_keys_algorithm_is_accepted() {
    let (ed, ec) = (signed(&ed25519(), |_| {}), signed(&p256(), |_| {}));
    for (token, alg) in [
        (&ed, "none"),
        (&ed, "HS256"),
        (&ed, "ES256"),
        (&ec, "EdDSA"),
        (&ec, "RS256"),
        (&ec, "eddsa"),
    ] {
        let forged = with_header(token, |head| head["alg"] = json!(alg));
        assert_eq!(rejection(&forged), Invalid::Algorithm(alg.to_owned()), "{alg}");
    }
    let [head, body, _] = parts(&with_header(&ed, |head| head["alg"] = json!("none")));
    assert_eq!(rejection(&format!("{head}.{body}.")), Invalid::Malformed);
    let critical = with_header(&ed, |head| head["crit"] = json!(["b64"]));
    assert_eq!(rejection(&critical), Invalid::Malformed);
}

#[test]
fn hs256_with_public_key_is_rejected() {
    use hmac::{Hmac, KeyInit as _, Mac as _};
    let signer = ed25519();
    let [PublicKey { material: PublicKeyMaterial::Ed25519 { x }, .. }] = &signer.public_keys()[..]
    else {
        panic!("expected one Ed25519 key")
    };
    let [head, body, _] =
        parts(&with_header(&signed(&signer, |_| {}), |head| head["alg"] = json!("HS256")));
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(x).unwrap();
    mac.update(format!("{head}.{body}").as_bytes());
    let signature = mac.finalize().into_bytes();
    let exact = format!("{head}.{body}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature));
    assert_eq!(rejection(&exact), Invalid::Malformed, "a signature has 64 bytes");
    let doubled = format!(
        "{head}.{body}.{}",
        BASE64_URL_SAFE_NO_PAD.encode([&signature[..], &signature[..]].concat())
    );
    assert_eq!(rejection(&doubled), Invalid::Algorithm("HS256".to_owned()));
}

#[test]
fn altered_payload_is_rejected() {
    for signer in [ed25519(), p256()] {
        let [head, body, signature] = parts(&signed(&signer, |_| {}));
        for change in [
            (|claims: &mut Value| claims["seats"] = json!(1_000_000)) as fn(&mut Value),
            |claims| claims["exp"] = json!(EXPIRES + DAY),
            |claims| claims["tier"] = json!("ultimate"),
            |claims| claims["aud"] = json!("019b0a51-7d1e-7c3a-9b52-ffffffffffff"),
        ] {
            let altered = changed(&body, change);
            assert_eq!(rejection(&format!("{head}.{altered}.{signature}")), Invalid::Signature);
        }
    }
}

#[test]
fn parts_of_two_licenses_are_rejected() {
    for signer in [ed25519(), p256()] {
        let [head, small, _] = parts(&signed(&signer, |claims| claims.terms.seats = Some(5)));
        let [_, _, large] = parts(&signed(&signer, |claims| claims.terms.seats = Some(500)));
        assert_eq!(rejection(&format!("{head}.{small}.{large}")), Invalid::Signature);
        let [other, _, _] =
            parts(&signed(&if head.contains("RWREU0") { p256() } else { ed25519() }, |_| {}));
        assert!(matches!(rejection(&format!("{other}.{small}.{large}")), Invalid::Signature));
    }
}

/// R-license-4.
#[test]
fn altered_signature_is_rejected() {
    for signer in [ed25519(), p256()] {
        let [head, body, signature] = parts(&signed(&signer, |_| {}));
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(&signature).unwrap();
        assert_eq!(bytes.len(), 64);
        let with = |signature: String| rejection(&format!("{head}.{body}.{signature}"));
        assert_eq!(with(BASE64_URL_SAFE_NO_PAD.encode(&bytes[..63])), Invalid::Malformed);
        assert_eq!(
            with(BASE64_URL_SAFE_NO_PAD.encode([&bytes[..], &[0]].concat())),
            Invalid::Malformed
        );
        assert_eq!(with(signature[..40].to_owned()), Invalid::Malformed);
        assert_eq!(with(BASE64_URL_SAFE.encode(&bytes)), Invalid::Malformed, "padded");
        assert_eq!(with(format!("{signature} ")), Invalid::Malformed);
        let mut flipped = bytes.clone();
        flipped[10] ^= 1;
        assert_eq!(with(BASE64_URL_SAFE_NO_PAD.encode(&flipped)), Invalid::Signature);
        assert_eq!(with(BASE64_URL_SAFE_NO_PAD.encode([0; 64])), Invalid::Signature);
        // The last character has four unused bits. If they were ignored, two texts would decode to
        // the same signature.
        let last = if signature.ends_with('A') { "B" } else { "A" };
        assert_ne!(with(format!("{}{last}", &signature[..85])), Invalid::Claims);
    }
    let padded = signed(&ed25519(), |_| {}).replacen('.', "=.", 1);
    assert_eq!(rejection(&padded), Invalid::Malformed);
}

#[test]
fn text_without_token_form_is_rejected() {
    let token = signed(&ed25519(), |_| {});
    let long = "A".repeat(20_000);
    for text in [
        "",
        ".",
        "..",
        "...",
        "a.b.c",
        "{}",
        &token[..token.len() / 2],
        &format!("{token}.x"),
        &format!(" {token}"),
        &long,
    ] {
        assert_eq!(rejection(text), Invalid::Malformed, "{text}");
    }
}

fn body() -> Value {
    json!({
        "iss": ISSUER, "sub": "lic_1", "aud": TENANT, "cust": "Acme", "tier": "pro",
        "iat": ISSUED, "exp": EXPIRES,
    })
}

/// Signs any header and body with the trusted key.
fn forge(head: &str, body: &str) -> String {
    use ed25519_dalek::Signer as _;
    let part = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
    let message = format!("{}.{}", part(head), part(body));
    let signature = ed25519_dalek::SigningKey::from_bytes(&[7; 32]).sign(message.as_bytes());
    format!("{message}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature.to_bytes()))
}

/// The signatures are correct.
#[test]
fn ambiguous_parts_are_rejected() {
    let claims = body().to_string();
    for head in [
        r#"{"alg":"EdDSA","kid":"ed","typ":"JWT","crit":null}"#,
        r#"{"alg":"EdDSA","kid":"ed","typ":"JWT","crit":[]}"#,
        r#"{"alg":"EdDSA","kid":"ed","typ":"JWT","crit":["exp"]}"#,
        r#"["EdDSA","ed","JWT"]"#,
        r#" ["EdDSA","ed","JWT",false]"#,
        r#"{"alg":"EdDSA","kid":"ed"}"#,
        r#"{"alg":"EdDSA","kid":"ed","typ":null}"#,
        r#"{"alg":"EdDSA","kid":"ed","typ":""}"#,
        r#"{"alg":"EdDSA","kid":"ed","typ":"appliance-answer+jwt"}"#,
    ] {
        assert_eq!(rejection(&forge(head, &claims)), Invalid::Malformed, "{head}");
    }
    let values = json!([ISSUER, "lic_1", TENANT, "Acme", "pro", null, ISSUED, EXPIRES]);
    assert_eq!(rejection(&forge(HEAD, &values.to_string())), Invalid::Claims);
    let spaced = forge(&format!(" {HEAD}\n"), &format!("\t{claims}"));
    assert!(matches!(verifier().state(&spaced, ISSUED), LicenseState::Licensed(_)));
}

/// A signature is valid with `s` and with `n - s`, and signers produce both.
#[test]
fn high_and_low_s_are_accepted() {
    let (verifier, signer) = (verifier(), p256());
    for number in 0..64 {
        let token = signed(&signer, |claims| claims.terms.sub = format!("lic_{number}"));
        let (message, signature) = token.rsplit_once('.').unwrap();
        let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).unwrap();
        let signature = p256::ecdsa::Signature::from_slice(&signature).unwrap();
        let other = p256::ecdsa::Signature::from_scalars(signature.r(), -signature.s()).unwrap();
        assert_ne!(signature, other);
        for signature in [signature, other] {
            let signature = BASE64_URL_SAFE_NO_PAD.encode(signature.to_bytes());
            let state = verifier.state(&format!("{message}.{signature}"), ISSUED);
            assert!(matches!(state, LicenseState::Licensed(_)), "{signature}: {state:?}");
        }
    }
}

/// R-license-1, R-license-3. The signatures are correct.
#[test]
fn invalid_claims_are_rejected() {
    let good = body();
    let forge = |body: &str| forge(HEAD, body);
    assert!(matches!(
        verifier().state(&forge(&good.to_string()), ISSUED),
        LicenseState::Licensed(_)
    ));
    for (field, value) in [
        ("aud", json!([TENANT])),
        ("aud", json!(null)),
        ("seats", json!(0)),
        ("seats", json!(-1)),
        ("seats", json!(1.5)),
        ("seats", json!("25")),
        ("exp", json!("never")),
        ("exp", json!(ISSUED)),
        ("exp", json!(1.9e9)),
        ("cust", json!("")),
        ("sub", json!("")),
        ("tier", json!("")),
        ("iat", json!(-1)),
    ] {
        let mut claims = good.clone();
        claims[field] = value.clone();
        assert_eq!(rejection(&forge(&claims.to_string())), Invalid::Claims, "{field}: {value}");
    }
    let twice = good.to_string().replacen('{', r#"{"tier":"pro","#, 1);
    assert_eq!(rejection(&forge(&twice)), Invalid::Claims, "a duplicate claim");
    let mut free = good.clone();
    free["tier"] = json!("essentials");
    assert_eq!(rejection(&forge(&free.to_string())), Invalid::FreeTier);
}

#[test]
fn time_decides_the_license_state() {
    for signer in [ed25519(), p256()] {
        let token = signed(&signer, |_| {});
        let state = |now: u64| match verifier().state(&token, now) {
            LicenseState::Licensed(_) => "licensed".to_owned(),
            LicenseState::Expiring { days, .. } => format!("expiring in {days}"),
            LicenseState::Expired { since, .. } => format!("expired at {since}"),
            LicenseState::Invalid(reason) => format!("invalid: {reason}"),
            LicenseState::WrongTenant { .. } => panic!("the license belongs to this tenant"),
        };
        for (now, expected) in [
            (
                ISSUED - 61,
                "invalid: it was issued 61 seconds in the future: set this machine's clock"
                    .to_owned(),
            ),
            (ISSUED - 60, "licensed".to_owned()),
            (ISSUED, "licensed".to_owned()),
            (EXPIRES - 7 * DAY, "licensed".to_owned()),
            (EXPIRES - 7 * DAY + 1, "expiring in 6".to_owned()),
            (EXPIRES - 1, "expiring in 0".to_owned()),
            (EXPIRES + 59, "expiring in 0".to_owned()),
            (EXPIRES + 60, format!("expired at {EXPIRES}")),
            (
                0,
                format!(
                    "invalid: it was issued {ISSUED} seconds in the future: \
                     set this machine's clock"
                ),
            ),
            (u64::MAX, format!("expired at {EXPIRES}")),
        ] {
            assert_eq!(state(now), expected, "{now}");
        }
    }
}

#[test]
fn license_has_the_signed_claims() {
    for (signer, seats) in [(ed25519(), Some(25)), (p256(), None)] {
        let token = signed(&signer, |claims| claims.terms.seats = seats);
        let LicenseState::Licensed(license) = verifier().state(&token, ISSUED) else {
            panic!("the license is valid")
        };
        assert_eq!((license.sub.as_str(), license.customer.as_str()), ("lic_1", "Ünïcode & Söhne"));
        assert_eq!((license.tier.as_str(), license.seats), ("pro", seats));
        assert_eq!((license.issued_at, license.expires_at), (ISSUED, EXPIRES));
    }
}
