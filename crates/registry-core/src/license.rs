//! Licenses: their contents, and the port that signs them.

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use chrono::TimeDelta;

use crate::clock::Timestamp;
use crate::edition::{EditionCatalogue, EditionName};
use crate::entitlement::Entitlement;
use crate::id::TenantId;
use crate::offline::OfflineAnswer;
use crate::secret::{AnswerToken, LicenseToken};

/// The rights that a license grants, and their holder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LicenseTerms {
    /// The `sub`, the same for all renewals.
    pub sub: String,
    /// Name of the customer; never empty.
    pub customer: String,
    /// The license tier.
    pub tier: String,
    /// Number of seats; `None` is unlimited.
    pub seats: Option<u32>,
    /// The tenant, written as `aud`; `None` while the entitlement is not bound to one.
    pub tenant_id: Option<TenantId>,
}

impl LicenseTerms {
    /// Returns the terms that an entitlement grants to a tenant.
    pub fn of(
        entitlement: &Entitlement,
        tenant: Option<TenantId>,
        editions: &EditionCatalogue,
    ) -> Result<Self, NoTier> {
        let tier = editions
            .tier(&entitlement.edition)
            .ok_or_else(|| NoTier(entitlement.edition.clone()))?;
        Ok(Self {
            sub: entitlement.license_sub.clone(),
            customer: entitlement.customer.as_str().to_owned(),
            tier: tier.to_owned(),
            seats: entitlement.seats,
            tenant_id: tenant,
        })
    }
}

/// The configuration has no license tier for the edition of an entitlement.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the configuration has no license tier for edition `{0}`")]
pub struct NoTier(pub EditionName);

/// The claims of a license about to be signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LicenseClaims {
    /// The `iss`.
    pub issuer: String,
    /// The terms.
    pub terms: LicenseTerms,
    /// The `iat`, signed in whole seconds.
    pub issued_at: Timestamp,
    /// The `exp`, signed in whole seconds.
    pub expires_at: Timestamp,
}

/// Settings that all licenses share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LicensePolicy {
    /// The `iss` of every license.
    pub issuer: String,
    /// Lifetime of a connected appliance's license: 31 days by default, renewed daily.
    pub lifetime: TimeDelta,
    /// Lifetime of an air-gapped appliance's license: 365 days by default, renewed by hand.
    pub airgap_lifetime: TimeDelta,
    /// Interval between two check-ins of an appliance, before jitter.
    pub check_in_interval: TimeDelta,
}

impl Default for LicensePolicy {
    fn default() -> Self {
        Self {
            issuer: "appliance-registry".to_owned(),
            lifetime: TimeDelta::days(31),
            airgap_lifetime: TimeDelta::days(365),
            check_in_interval: TimeDelta::days(1),
        }
    }
}

impl LicensePolicy {
    /// Returns the claims of a license that is issued at `now` and valid for `lifetime`.
    #[must_use]
    pub fn claims(
        &self,
        terms: LicenseTerms,
        now: Timestamp,
        lifetime: TimeDelta,
    ) -> LicenseClaims {
        LicenseClaims {
            issuer: self.issuer.clone(),
            terms,
            issued_at: now,
            expires_at: now + lifetime,
        }
    }
}

/// A public key that verifies licenses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    /// Id of the key: the `kid` of the licenses that it signed.
    pub kid: String,
    /// The key itself.
    pub material: PublicKeyMaterial,
}

/// A public key, by algorithm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublicKeyMaterial {
    /// `EdDSA` over Ed25519 (RFC 8037).
    Ed25519 {
        /// The 32 bytes of the public key.
        x: [u8; 32],
    },
    /// `ES256` (RFC 7518 §3.4).
    P256 {
        /// The point's x coordinate, big-endian.
        x: [u8; 32],
        /// The point's y coordinate, big-endian.
        y: [u8; 32],
    },
}

impl PublicKeyMaterial {
    /// Returns the members of a JSON Web Key that depend on the algorithm (RFC 7518 §6.2, RFC 8037
    /// §2).
    #[must_use]
    pub fn jwk(&self) -> JwkMaterial {
        let text = |coordinate: &[u8; 32]| BASE64_URL_SAFE_NO_PAD.encode(coordinate);
        match self {
            Self::Ed25519 { x } => {
                JwkMaterial { kty: "OKP", crv: "Ed25519", alg: "EdDSA", x: text(x), y: None }
            }
            Self::P256 { x, y } => {
                JwkMaterial { kty: "EC", crv: "P-256", alg: "ES256", x: text(x), y: Some(text(y)) }
            }
        }
    }
}

/// Members of a JSON Web Key, under their standard names. Coordinates are base64url without
/// padding.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the standard's")]
pub struct JwkMaterial {
    pub kty: &'static str,
    pub crv: &'static str,
    pub alg: &'static str,
    pub x: String,
    pub y: Option<String>,
}

/// Signing a license, a response or a key set failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("signing failed: {0}")]
pub struct SignError(pub String);

/// A license whose signature is not verified yet. A key that was damaged in memory must not issue
/// licenses that every appliance refuses, so the signature is verified before the license leaves.
#[derive(Clone)]
pub struct SignedLicense {
    /// The license.
    pub token: LicenseToken,
    /// The key that signed it.
    pub key: Arc<dyn VerifyingKey>,
}

impl SignedLicense {
    /// Verifies the signature, and returns the license.
    pub fn verified(self) -> Result<LicenseToken, SignError> {
        verify(std::slice::from_ref(&self)).into_iter().collect::<Result<Vec<_>, _>>()?;
        Ok(self.token)
    }
}

impl std::fmt::Debug for SignedLicense {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SignedLicense").field("kid", &self.key.kid()).finish_non_exhaustive()
    }
}

/// The port to the public half of a key that signed licenses.
pub trait VerifyingKey: Send + Sync {
    /// Returns the id of the key.
    fn kid(&self) -> &str;

    /// Returns for each license whether this key verifies its signature.
    fn verify(&self, licenses: &[&LicenseToken]) -> Vec<bool>;
}

/// Verifies the signatures of licenses, those of one key at once.
#[must_use]
pub fn verify(licenses: &[SignedLicense]) -> Vec<Result<(), SignError>> {
    let wrong = |license: &SignedLicense| {
        let kid = license.key.kid();
        let problem = "cannot be verified with its public key";
        Err(SignError(format!("a signature of key `{kid}` {problem}")))
    };
    let mut results: Vec<_> = licenses.iter().map(wrong).collect();
    for (first, SignedLicense { key, .. }) in licenses.iter().enumerate() {
        let is_same = |other: &SignedLicense| Arc::ptr_eq(&other.key, key);
        if licenses.iter().take(first).any(is_same) {
            continue;
        }
        let of_key: Vec<_> = licenses.iter().enumerate().filter(|(_, it)| is_same(it)).collect();
        let tokens: Vec<_> = of_key.iter().map(|(_, it)| &it.token).collect();
        for ((index, _), is_valid) in of_key.iter().zip(key.verify(&tokens)) {
            if is_valid {
                results[*index] = Ok(());
            }
        }
    }
    results
}

/// The port to the signing keys. In-process and synchronous, because decisions call it: a signature
/// takes microseconds.
pub trait LicenseSigner: Send + Sync {
    /// Signs a license with the active key. MUST write `exp` and `iat` in whole seconds and `aud`
    /// as a plain string, and MUST NOT write `nbf`.
    fn sign(&self, claims: &LicenseClaims) -> Result<SignedLicense, SignError>;

    /// Signs a response for an appliance without a network, with the active license key, as a
    /// compact JWS. Its type MUST differ from a license's: nothing may take a response for a
    /// license.
    fn sign_answer(&self, answer: &OfflineAnswer) -> Result<AnswerToken, SignError>;

    /// Returns every key that may still have to verify a license in the field.
    fn public_keys(&self) -> Vec<PublicKey>;

    /// Signs the set of all public keys with each of these keys, as a compact JWS with the claims
    /// `iss`, `iat` and `keys`. An appliance that trusts one of the keys can then trust the whole
    /// set. The type MUST differ from a license's. A signature may be up to a minute older than
    /// `now`.
    fn signed_key_sets(&self, issuer: &str, now: Timestamp) -> Result<Vec<String>, SignError>;
}
