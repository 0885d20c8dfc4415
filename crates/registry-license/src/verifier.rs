//! Verifies signatures before they leave: those of many licenses at once where the algorithm allows
//! it.

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use registry_core::license::{PublicKey, PublicKeyMaterial, SignError, VerifyingKey};
use registry_core::secret::LicenseToken;

/// The public half of a license key.
pub(crate) struct Verifier {
    public: PublicKey,
    key: Key,
}

enum Key {
    Ed25519(ed25519_dalek::VerifyingKey),
    P256(p256::ecdsa::VerifyingKey),
}

/// A compact JWS: the text that was signed, and the signature.
type Signed<'a> = (&'a [u8], Vec<u8>);

fn split(token: &str) -> Option<Signed<'_>> {
    let (message, signature) = token.rsplit_once('.')?;
    Some((message.as_bytes(), BASE64_URL_SAFE_NO_PAD.decode(signature).ok()?))
}

impl Verifier {
    /// Returns `None` if the key is not one of its algorithm.
    pub(crate) fn new(public: PublicKey) -> Option<Arc<Self>> {
        let key = match &public.material {
            PublicKeyMaterial::Ed25519 { x } => {
                ed25519_dalek::VerifyingKey::from_bytes(x).map(Key::Ed25519).ok()
            }
            PublicKeyMaterial::P256 { x, y } => {
                let point = [&[4][..], x, y].concat();
                p256::ecdsa::VerifyingKey::from_sec1_bytes(&point).map(Key::P256).ok()
            }
        };
        Some(Arc::new(Self { key: key?, public }))
    }

    pub(crate) fn public_key(&self) -> &PublicKey {
        &self.public
    }

    /// Verifies one token.
    pub(crate) fn check(&self, token: &str) -> Result<(), SignError> {
        if split(token).is_some_and(|signed| self.verifies(&signed)) {
            return Ok(());
        }
        let kid = &self.public.kid;
        Err(SignError(format!("a signature of key `{kid}` cannot be verified")))
    }

    fn verifies(&self, (message, signature): &Signed<'_>) -> bool {
        match &self.key {
            Key::Ed25519(key) => ed25519_dalek::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify_strict(message, &signature).is_ok()),
            Key::P256(key) => {
                use p256::ecdsa::signature::Verifier as _;
                p256::ecdsa::Signature::from_slice(signature)
                    .is_ok_and(|signature| key.verify(message, &signature).is_ok())
            }
        }
    }

    /// True if one verification of all signatures succeeds. P-256 has no such verification.
    fn verifies_at_once(&self, signed: &[Option<Signed<'_>>]) -> bool {
        let Key::Ed25519(key) = &self.key else { return false };
        let read = |signed: &Option<Signed<'_>>| {
            let (_, signature) = signed.as_ref()?;
            ed25519_dalek::Signature::from_slice(signature).ok()
        };
        let signatures: Option<Vec<_>> = signed.iter().map(read).collect();
        let Some(signatures) = signatures else { return false };
        let messages: Vec<_> = signed.iter().flatten().map(|(message, _)| *message).collect();
        let keys = vec![*key; signatures.len()];
        ed25519_dalek::verify_batch(&messages, &signatures, &keys).is_ok()
    }
}

impl VerifyingKey for Verifier {
    fn kid(&self) -> &str {
        &self.public.kid
    }

    fn verify(&self, licenses: &[&LicenseToken]) -> Vec<bool> {
        let signed: Vec<_> = licenses.iter().map(|token| split(token.expose())).collect();
        if signed.len() > 1 && self.verifies_at_once(&signed) {
            return vec![true; signed.len()];
        }
        let verifies = |signed: &Option<Signed<'_>>| {
            signed.as_ref().is_some_and(|signed| self.verifies(signed))
        };
        signed.iter().map(verifies).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use p256::elliptic_curve::SecretKey;
    use p256::pkcs8::{EncodePrivateKey as _, LineEnding};
    use registry_core::clock::Timestamp;
    use registry_core::license::{
        LicenseClaims, LicenseSigner as _, LicenseTerms, SignedLicense, verify,
    };
    use registry_core::secret::LicenseToken;

    use crate::signer::{Signer, ed25519_pem};

    fn license(signer: &Signer, number: usize) -> SignedLicense {
        let terms = LicenseTerms {
            sub: format!("lic_{number}"),
            customer: "Acme".to_owned(),
            tier: "pro".to_owned(),
            seats: None,
            tenant_id: None,
        };
        let at = |seconds| Timestamp::from_timestamp(seconds, 0).unwrap();
        let issuer = "appliance-registry".to_owned();
        let (issued_at, expires_at) = (at(1_800_000_000), at(1_802_678_400));
        signer.sign(&LicenseClaims { issuer, terms, issued_at, expires_at }).unwrap()
    }

    fn ed25519(number: u8) -> Signer {
        Signer::from_pem(&ed25519_pem(&[number; 32]), None).unwrap()
    }

    fn p256() -> Signer {
        let secret = SecretKey::<p256::NistP256>::from_slice(&[9; 32]).unwrap();
        Signer::from_pem(&secret.to_pkcs8_pem(LineEnding::LF).unwrap(), None).unwrap()
    }

    #[test]
    fn wrong_signature_is_found_among_valid_ones() {
        for signer in [ed25519(7), p256()] {
            for count in [1, 2, 32] {
                let mut licenses: Vec<_> =
                    (0..count).map(|number| license(&signer, number)).collect();
                assert!(verify(&licenses).iter().all(Result::is_ok), "{count}");
                let other = license(&signer, 99).token;
                let (message, _) = licenses[0].token.expose().rsplit_once('.').unwrap();
                let (_, signature) = other.expose().rsplit_once('.').unwrap();
                licenses[0].token = LicenseToken::new(format!("{message}.{signature}"));
                let verified: Vec<_> = verify(&licenses).iter().map(Result::is_ok).collect();
                let expected: Vec<_> = (0..count).map(|number| number > 0).collect();
                assert_eq!(verified, expected, "{count}");
            }
        }
    }

    #[test]
    fn text_without_signature_is_refused() {
        for text in ["", ".", "a.b", "a.b.!", "a.b.AAAA"] {
            let mut broken = license(&ed25519(7), 1);
            broken.token = LicenseToken::new(text.to_owned());
            assert!(broken.clone().verified().is_err(), "{text}");
            assert!(verify(&[license(&ed25519(7), 2), broken])[1].is_err(), "{text}");
        }
    }

    #[test]
    fn each_license_is_verified_with_its_own_key() {
        let (old, new) = (ed25519(7), ed25519(8));
        let mut licenses = vec![license(&old, 1), license(&new, 2), license(&old, 3)];
        assert!(verify(&licenses).iter().all(Result::is_ok));
        licenses[1].key = Arc::clone(&licenses[0].key);
        assert_eq!(
            verify(&licenses).iter().map(Result::is_ok).collect::<Vec<_>>(),
            [true, false, true]
        );
    }
}
