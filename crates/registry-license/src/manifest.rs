//! The key that signs release manifests. It is always an Ed25519 key, because `openssl` alone can
//! verify its signatures.

use ed25519_dalek::pkcs8::spki::EncodePublicKey as _;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey as _, Error as PkcsError};
use ed25519_dalek::{Signer as _, SigningKey};
use registry_core::release::ManifestSigner;

/// Private key that signs release manifests.
pub struct ManifestKey {
    key: SigningKey,
    public_pem: String,
}

/// Error of a text that is not an Ed25519 private key.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the file is not an Ed25519 private key in unencrypted PKCS#8 PEM: create one with \
     `openssl genpkey -algorithm ed25519`"
)]
pub struct NotAManifestKey;

impl ManifestKey {
    /// Reads a private key from PKCS#8 PEM.
    pub fn from_pem(pem: &str) -> Result<Self, NotAManifestKey> {
        let read = |pem: &str| -> Result<Self, PkcsError> {
            let key = SigningKey::from_pkcs8_pem(pem)?;
            let public_pem = key
                .verifying_key()
                .to_public_key_pem(LineEnding::LF)
                .map_err(PkcsError::PublicKey)?;
            Ok(Self { key, public_pem })
        };
        read(pem).map_err(|_| NotAManifestKey)
    }
}

impl ManifestSigner for ManifestKey {
    fn sign(&self, manifest: &[u8]) -> [u8; 64] {
        self.key.sign(manifest).to_bytes()
    }

    fn public_key_pem(&self) -> String {
        self.public_pem.clone()
    }
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::pkcs8::DecodePublicKey as _;
    use ed25519_dalek::{Signature, VerifyingKey};

    use super::*;
    use crate::{ed25519_pem, p256_pem};

    #[test]
    fn signature_covers_exact_bytes() {
        let key = ManifestKey::from_pem(&ed25519_pem(&[3; 32])).unwrap();
        let public = VerifyingKey::from_public_key_pem(&key.public_key_pem()).unwrap();
        let signature = Signature::from_bytes(&key.sign(b"{}"));
        assert!(public.verify_strict(b"{}", &signature).is_ok());
        assert!(public.verify_strict(b"{ }", &signature).is_err());
    }

    #[test]
    fn other_keys_are_refused() {
        for pem in ["", "not PEM", &*p256_pem(&[3; 32]).unwrap()] {
            assert!(ManifestKey::from_pem(pem).is_err(), "{pem}");
        }
    }
}
