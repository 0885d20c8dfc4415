//! Licenses: what they say, and the port that signs them.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use chrono::TimeDelta;

use crate::clock::Timestamp;
use crate::edition::{EditionCatalogue, EditionName};
use crate::entitlement::Entitlement;
use crate::id::TenantId;
use crate::offline::OfflineAnswer;
use crate::secret::{AnswerToken, LicenseToken};

/// What a license grants, and to whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LicenseTerms {
    /// The `sub`, the same over all renewals.
    pub sub: String,
    /// The customer, never empty.
    pub customer: String,
    /// The tier.
    pub tier: String,
    /// How many seats; `None` is unlimited.
    pub seats: Option<u32>,
    /// The tenant it is for, its `aud`; none where nobody knows it yet.
    pub tenant_id: Option<TenantId>,
}

impl LicenseTerms {
    /// The terms that an entitlement grants to a tenant.
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

/// An entitlement names an edition that the configuration has no license tier for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the configuration has no license tier for edition `{0}`")]
pub struct NoTier(pub EditionName);

/// The claims of a license about to be signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LicenseClaims {
    /// The `iss`.
    pub issuer: String,
    /// What it grants.
    pub terms: LicenseTerms,
    /// The `iat`, in whole seconds when signed.
    pub issued_at: Timestamp,
    /// The `exp`, in whole seconds when signed.
    pub expires_at: Timestamp,
}

/// The settings that all licenses share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LicensePolicy {
    /// The `iss` of every license.
    pub issuer: String,
    /// How long a connected appliance's license lives: 31 days by default, renewed daily.
    pub connected_lifetime: TimeDelta,
    /// How long an air-gapped appliance's license lives: 365 days by default, renewed by hand.
    pub airgap_lifetime: TimeDelta,
}

impl Default for LicensePolicy {
    fn default() -> Self {
        let (connected_lifetime, airgap_lifetime) = (TimeDelta::days(31), TimeDelta::days(365));
        Self { issuer: "appliance-registry".to_owned(), connected_lifetime, airgap_lifetime }
    }
}

impl LicensePolicy {
    /// The claims of a license issued at `now` that lives so long.
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

/// A key that licenses can be verified with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    /// Its id, the `kid` of the licenses it signed.
    pub kid: String,
    /// The key.
    pub material: PublicKeyMaterial,
}

/// The two kinds of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublicKeyMaterial {
    /// `EdDSA` over Ed25519 (RFC 8037).
    Ed25519 {
        /// The public key.
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
    /// The members of a JSON Web Key that depend on the kind of key (RFC 7518 §6.2, RFC 8037 §2).
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

/// What a JSON Web Key says of a key, each under the standard's name; coordinates are base64url
/// without padding.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the standard's")]
pub struct JwkMaterial {
    pub kty: &'static str,
    pub crv: &'static str,
    pub alg: &'static str,
    pub x: String,
    pub y: Option<String>,
}

/// A license could not be signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("signing the license failed: {0}")]
pub struct SignError(pub String);

/// The port to the signing keys. In-process and synchronous: it runs inside a decision, in
/// microseconds.
pub trait LicenseSigner: Send + Sync {
    /// Signs a license with the active key. MUST write `exp` and `iat` in whole seconds, `aud` as a
    /// plain string, and no `nbf`.
    fn sign(&self, claims: &LicenseClaims) -> Result<LicenseToken, SignError>;

    /// Signs an answer for an appliance without a network, with the key that licenses are signed
    /// with, as a compact JWS of a type of its own: MUST NOT be taken for a license.
    fn sign_answer(&self, answer: &OfflineAnswer) -> Result<AnswerToken, SignError>;

    /// Every key that licenses in the field may still be verified with.
    fn public_keys(&self) -> Vec<PublicKey>;
}
