//! The appliance: an installed machine of a paid tenant, and its credentials.

use crate::clock::Timestamp;
use crate::id::TenantId;
use crate::license::LicenseTerms;
use crate::secret::CredentialDigest;
use crate::text::ApplianceId;

/// An appliance. Its identity is (tenant, appliance id): the id alone may occur under many tenants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appliance {
    /// Whose it is.
    pub tenant_id: TenantId,
    /// What it calls itself.
    pub id: ApplianceId,
    /// When it was first registered.
    pub registered_at: Timestamp,
    /// When it last checked in.
    pub last_check_in_at: Option<Timestamp>,
    /// When an operator revoked it.
    pub revoked_at: Option<Timestamp>,
    /// The license last issued to it. The token itself is never kept.
    pub license: Option<IssuedLicense>,
}

/// What is remembered of an issued license.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuedLicense {
    /// What it says.
    pub terms: LicenseTerms,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// A credential of an appliance, as kept: several may be valid at once, until the newest is first
/// used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// The digest of the credential.
    pub digest: CredentialDigest,
    /// Whose it is.
    pub tenant_id: TenantId,
    /// Of which appliance.
    pub appliance_id: ApplianceId,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// When it was first used by a check-in.
    pub first_used_at: Option<Timestamp>,
}
