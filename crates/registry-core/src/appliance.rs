//! The appliance, an installed machine of a paid tenant, and its credentials.

use crate::clock::Timestamp;
use crate::id::TenantId;
use crate::license::LicenseTerms;
use crate::secret::CredentialDigest;
use crate::text::ApplianceId;

/// An appliance. The identity is (tenant, appliance id), because the id alone may occur under many
/// tenants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appliance {
    /// The tenant that owns the appliance.
    pub tenant_id: TenantId,
    /// The appliance's own name for itself.
    pub id: ApplianceId,
    /// Time of the first registration.
    pub registered_at: Timestamp,
    /// Time of the last check-in.
    pub last_check_in_at: Option<Timestamp>,
    /// Time of the revocation by an operator.
    pub revoked_at: Option<Timestamp>,
    /// The last license issued to the appliance. The signed token is never stored.
    pub license: Option<IssuedLicense>,
}

/// The stored part of an issued license.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuedLicense {
    /// The terms of the license.
    pub terms: LicenseTerms,
    /// Expiry of the license.
    pub expires_at: Timestamp,
}

/// A stored credential of an appliance. Several may be valid at once, until a check-in first uses
/// the newest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// Digest of the credential.
    pub digest: CredentialDigest,
    /// The tenant that owns the appliance.
    pub tenant_id: TenantId,
    /// The appliance.
    pub appliance_id: ApplianceId,
    /// Time of issue.
    pub issued_at: Timestamp,
    /// Time of the first check-in with this credential.
    pub first_used_at: Option<Timestamp>,
}
