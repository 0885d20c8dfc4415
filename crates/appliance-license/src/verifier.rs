//! Verifies a license for one tenant at one point in time.

use ed25519_dalek::Signature as Ed25519Signature;
use p256::ecdsa::Signature as P256Signature;
use p256::ecdsa::signature::Verifier as _;

use crate::claims::{Claims, Header, Parts};
use crate::keys::{Key, TrustedKeys};

/// Tolerated difference between the clocks of registry and appliance, in seconds.
const MAX_SKEW: u64 = 60;

/// The `typ` of a license.
const LICENSE_TYPE: &str = "JWT";

const DAY: u64 = 24 * 60 * 60;

/// The free tier of the fleet in the field. The registry never signs a license for it, because
/// those appliances would treat such a license as missing (R-license-3).
const FREE_TIER: &str = "essentials";

/// A license that the registry signed for this tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct License {
    /// The `sub` claim. Renewals keep it.
    pub sub: String,
    /// Name of the customer.
    pub customer: String,
    /// The tier.
    pub tier: String,
    /// Number of seats; `None` is unlimited.
    pub seats: Option<u32>,
    /// Time of issue, in Unix seconds.
    pub issued_at: u64,
    /// Expiry time, in Unix seconds.
    pub expires_at: u64,
}

/// Result of verifying a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LicenseState {
    /// The license is valid.
    Licensed(License),
    /// The license is valid and expires soon: a check-in is overdue.
    Expiring {
        /// The license.
        license: License,
        /// Whole days until the license expires.
        days: u64,
    },
    /// The license has expired.
    Expired {
        /// The expired license.
        license: License,
        /// Expiry time, in Unix seconds.
        since: u64,
    },
    /// The license is genuine, but belongs to another tenant.
    WrongTenant {
        /// The tenant in the license.
        tenant_id: String,
    },
    /// The token is not a valid license.
    Invalid(Invalid),
}

/// Reason why a token is not a valid license.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// The text does not have the form of a license token.
    #[error("it is not a license token, or it was cut off")]
    Malformed,
    /// The signature algorithm is not accepted, or does not belong to the key.
    #[error("it is signed with `{0}`, which is not accepted for its key")]
    Algorithm(String),
    /// The header has no `kid`.
    #[error("it does not name its key")]
    NoKey,
    /// The key is not one of the trusted keys.
    #[error("its key `{0}` is not trusted here; a check-in or a newer key set may add it")]
    UnknownKey(String),
    /// The signature does not match: the token was altered.
    #[error("its signature does not match: it was altered")]
    Signature,
    /// Another registry issued it.
    #[error("it was issued by `{0}`")]
    Issuer(String),
    /// A claim is missing or has a value that is not allowed.
    #[error("its claims are not valid for a license")]
    Claims,
    /// The license is for the free tier, which needs no license.
    #[error("it is for the free tier, which has no licenses")]
    FreeTier,
    /// The license was issued in the future: one of the two clocks is wrong.
    #[error("it was issued {seconds} seconds in the future: set this machine's clock")]
    FromTheFuture {
        /// Seconds from now to the time of issue.
        seconds: u64,
    },
}

impl TrustedKeys {
    /// Verifies a compact JWS of the registry that is not a license, and returns its payload. The
    /// `typ` keeps one kind of token from passing for another (RFC 8725 §3.11).
    pub fn payload(&self, token: &str, typ: &str) -> Result<Vec<u8>, Invalid> {
        self.verified(token, typ)?.payload().ok_or(Invalid::Malformed)
    }

    fn verified<'token>(
        &self,
        token: &'token str,
        expected: &str,
    ) -> Result<Parts<'token>, Invalid> {
        let parts = Parts::parse(token).ok_or(Invalid::Malformed)?;
        let Header { alg, kid, typ, crit } = &parts.header;
        if *crit || !typ.eq_ignore_ascii_case(expected) {
            return Err(Invalid::Malformed);
        }
        // Checked before the lookup of the key: `none` and the like have no key.
        if !matches!(alg.as_str(), "EdDSA" | "ES256") {
            return Err(Invalid::Algorithm(alg.clone()));
        }
        let kid = kid.as_deref().ok_or(Invalid::NoKey)?;
        let key = self.find(kid).ok_or_else(|| Invalid::UnknownKey(kid.to_owned()))?;
        let message = parts.signed.as_bytes();
        let verified = match (key, alg.as_str()) {
            (Key::Ed25519(key), "EdDSA") => {
                key.verify_strict(message, &Ed25519Signature::from_bytes(&parts.signature)).is_ok()
            }
            (Key::P256(key), "ES256") => P256Signature::from_slice(&parts.signature)
                .is_ok_and(|signature| key.verify(message, &signature).is_ok()),
            // The key decides on the algorithm, never the token.
            _ => return Err(Invalid::Algorithm(alg.clone())),
        };
        if verified { Ok(parts) } else { Err(Invalid::Signature) }
    }
}

/// Verifies licenses for one appliance.
#[derive(Clone, Debug)]
pub struct Verifier {
    keys: TrustedKeys,
    issuer: String,
    tenant_id: String,
    expiring_days: u64,
}

impl Verifier {
    /// Creates a verifier for the tenant that this appliance belongs to. It accepts licenses of
    /// this issuer that are signed with one of these keys.
    #[must_use]
    pub fn new(keys: TrustedKeys, issuer: impl Into<String>, tenant_id: &str) -> Self {
        Self {
            keys,
            issuer: issuer.into(),
            tenant_id: tenant_id.to_ascii_lowercase(),
            expiring_days: 7,
        }
    }

    /// Sets the number of days before expiry from which a license is reported as
    /// [`LicenseState::Expiring`]. The default is 7.
    #[must_use]
    pub fn expiring_days(mut self, days: u64) -> Self {
        self.expiring_days = days;
        self
    }

    /// Verifies `token` at `now`, in Unix seconds. The signature is checked before any claim is
    /// read.
    #[must_use]
    pub fn state(&self, token: &str, now: u64) -> LicenseState {
        match self.claims(token) {
            Ok(claims) => self.evaluate(claims, now),
            Err(reason) => LicenseState::Invalid(reason),
        }
    }

    fn claims(&self, token: &str) -> Result<Claims, Invalid> {
        self.keys.verified(token, LICENSE_TYPE)?.claims().ok_or(Invalid::Claims)
    }

    fn evaluate(&self, claims: Claims, now: u64) -> LicenseState {
        let Claims { iss, sub, aud, cust, tier, seats, iat, exp } = claims;
        if iss != self.issuer {
            return LicenseState::Invalid(Invalid::Issuer(iss));
        }
        if sub.is_empty() || cust.is_empty() || tier.is_empty() || seats == Some(0) || exp <= iat {
            return LicenseState::Invalid(Invalid::Claims);
        }
        if tier == FREE_TIER {
            return LicenseState::Invalid(Invalid::FreeTier);
        }
        if aud != self.tenant_id {
            return LicenseState::WrongTenant { tenant_id: aud };
        }
        if iat > now.saturating_add(MAX_SKEW) {
            return LicenseState::Invalid(Invalid::FromTheFuture { seconds: iat - now });
        }
        let license = License { sub, customer: cust, tier, seats, issued_at: iat, expires_at: exp };
        if now >= exp.saturating_add(MAX_SKEW) {
            return LicenseState::Expired { license, since: exp };
        }
        let days = exp.saturating_sub(now) / DAY;
        if days < self.expiring_days {
            LicenseState::Expiring { license, days }
        } else {
            LicenseState::Licensed(license)
        }
    }
}
