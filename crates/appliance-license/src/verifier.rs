//! What a license is worth now, here.

use ed25519_dalek::Signature as Ed25519Signature;
use p256::ecdsa::Signature as P256Signature;
use p256::ecdsa::signature::Verifier as _;

use crate::claims::{Claims, Header, Parts};
use crate::keys::{Key, TrustedKeys};

/// How far the clocks of registry and appliance may be apart, in seconds.
const SKEW: u64 = 60;

/// The `typ` of a license; one that has none is one too.
const LICENSE_TYPE: &str = "JWT";

const DAY: u64 = 24 * 60 * 60;

/// The free tier of the fleet in the field: a license for it would be taken for none, so it is
/// never signed.
const FREE: &str = "essentials";

/// A license that was signed by the registry, for this tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct License {
    /// Its `sub`, the same over all renewals.
    pub sub: String,
    /// The customer it names.
    pub customer: String,
    /// The tier.
    pub tier: String,
    /// How many seats; `None` is unlimited.
    pub seats: Option<u32>,
    /// When it was issued, in Unix seconds.
    pub issued_at: u64,
    /// When it ends, in Unix seconds.
    pub expires_at: u64,
}

/// What a token is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LicenseState {
    /// It holds.
    Licensed(License),
    /// It holds, and ends soon: a check-in is overdue.
    Expiring {
        /// The license.
        license: License,
        /// How many whole days are left.
        days: u64,
    },
    /// It has ended.
    Expired {
        /// The license as it was.
        license: License,
        /// Since when, in Unix seconds.
        since: u64,
    },
    /// It is good, and another tenant's.
    WrongTenant {
        /// Whose.
        tenant_id: String,
    },
    /// It is no license.
    Invalid(Invalid),
}

/// Why a token is no license.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// It does not have the form of one.
    #[error("it is not a license token, or was cut off")]
    Malformed,
    /// It is signed in a way that is not accepted, or not the way of its key.
    #[error("it is signed with `{0}`, which is not accepted for its key")]
    Algorithm(String),
    /// It names no key.
    #[error("it does not name its key")]
    NoKey,
    /// Its key is not trusted here.
    #[error("its key `{0}` is not known here; a check-in or a fresh key set may bring it")]
    UnknownKey(String),
    /// The signature does not fit: it was altered.
    #[error("its signature does not fit: it was altered")]
    Signature,
    /// Another registry issued it.
    #[error("it was issued by `{0}`")]
    Issuer(String),
    /// A claim is missing, or has a value that it cannot have.
    #[error("its claims are not those of a license")]
    Claims,
    /// It is for a tier that needs no license.
    #[error("it is for the free tier, which has no licenses")]
    FreeTier,
    /// It was issued in the future: one of the two clocks is wrong.
    #[error("it was issued {seconds} seconds from now: set this machine's clock")]
    FromTheFuture {
        /// How far.
        seconds: u64,
    },
}

impl TrustedKeys {
    /// What another text of the registry says, a compact JWS of this `typ` (RFC 8725 §3.11): its
    /// payload, once its signature was found good. It is no license.
    pub fn payload(&self, token: &str, typ: &str) -> Result<Vec<u8>, Invalid> {
        self.verified(token, typ)?.payload().ok_or(Invalid::Malformed)
    }

    fn verified<'token>(
        &self,
        token: &'token str,
        expected: &str,
    ) -> Result<Parts<'token>, Invalid> {
        let parts = Parts::read(token).ok_or(Invalid::Malformed)?;
        let Header { alg, kid, typ, crit } = &parts.header;
        let typ = typ.as_deref().unwrap_or(LICENSE_TYPE);
        if crit.is_some() || !typ.eq_ignore_ascii_case(expected) {
            return Err(Invalid::Malformed);
        }
        // Before the key is looked up: `none` and the like have nothing to look for.
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
            // The key decides, never the token.
            _ => return Err(Invalid::Algorithm(alg.clone())),
        };
        if verified { Ok(parts) } else { Err(Invalid::Signature) }
    }
}

/// Tells what tokens are worth on one appliance.
#[derive(Clone, Debug)]
pub struct Verifier {
    keys: TrustedKeys,
    issuer: String,
    tenant_id: String,
    expiring_days: u64,
}

impl Verifier {
    /// For the tenant that this appliance is bound to, and licenses of this issuer, signed with
    /// these keys.
    #[must_use]
    pub fn new(keys: TrustedKeys, issuer: impl Into<String>, tenant_id: &str) -> Self {
        Self {
            keys,
            issuer: issuer.into(),
            tenant_id: tenant_id.to_ascii_lowercase(),
            expiring_days: 7,
        }
    }

    /// Calls a license *expiring* when fewer than this many days are left; 7 unless set.
    #[must_use]
    pub fn expiring_days(mut self, days: u64) -> Self {
        self.expiring_days = days;
        self
    }

    /// What `token` is worth at `now`, in Unix seconds. The signature is checked before anything is
    /// believed.
    #[must_use]
    pub fn state(&self, token: &str, now: u64) -> LicenseState {
        match self.claims(token) {
            Ok(claims) => self.judge(claims, now),
            Err(reason) => LicenseState::Invalid(reason),
        }
    }

    fn claims(&self, token: &str) -> Result<Claims, Invalid> {
        self.keys.verified(token, LICENSE_TYPE)?.claims().ok_or(Invalid::Claims)
    }

    fn judge(&self, claims: Claims, now: u64) -> LicenseState {
        let Claims { iss, sub, aud, cust, tier, seats, iat, exp } = claims;
        if iss != self.issuer {
            return LicenseState::Invalid(Invalid::Issuer(iss));
        }
        if sub.is_empty() || cust.is_empty() || tier.is_empty() || seats == Some(0) || exp <= iat {
            return LicenseState::Invalid(Invalid::Claims);
        }
        if tier == FREE {
            return LicenseState::Invalid(Invalid::FreeTier);
        }
        if aud != self.tenant_id {
            return LicenseState::WrongTenant { tenant_id: aud };
        }
        if iat > now.saturating_add(SKEW) {
            return LicenseState::Invalid(Invalid::FromTheFuture { seconds: iat - now });
        }
        let license = License { sub, customer: cust, tier, seats, issued_at: iat, expires_at: exp };
        if now >= exp.saturating_add(SKEW) {
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
