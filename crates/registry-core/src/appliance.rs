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
    /// Number of times that the appliance was registered.
    pub registrations: u32,
    /// Last time at which a check-in showed that two machines use this identity, to the hour.
    pub duplicate_seen_at: Option<Timestamp>,
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
    /// Number of the registration that issued it. Orders the credentials of an appliance, even if
    /// the clock was set.
    pub registration: u32,
    /// Time of issue.
    pub issued_at: Timestamp,
    /// Time of the first check-in with this credential.
    pub first_used_at: Option<Timestamp>,
    /// Time at which a newer credential was first used, if no check-in with this one came since.
    pub replaced_at: Option<Timestamp>,
    /// Number of the last check-in, as the appliance counts them, if it sends the number.
    pub sequence: Option<u32>,
    /// Source of the last check-in.
    pub source: Option<String>,
    /// Source of the check-ins before those from `source`.
    pub previous_source: Option<String>,
    /// Time of the first check-in from `source`.
    pub source_since: Option<Timestamp>,
}

impl Credential {
    /// Returns a credential that was not used yet.
    #[must_use]
    pub fn unused(
        digest: CredentialDigest,
        (tenant_id, appliance_id): (TenantId, ApplianceId),
        registration: u32,
        issued_at: Timestamp,
    ) -> Self {
        Self {
            digest,
            tenant_id,
            appliance_id,
            registration,
            issued_at,
            first_used_at: None,
            replaced_at: None,
            sequence: None,
            source: None,
            previous_source: None,
            source_since: None,
        }
    }
}

impl Appliance {
    /// Returns an appliance that has not been registered yet.
    #[must_use]
    pub fn new(tenant_id: TenantId, id: ApplianceId, registered_at: Timestamp) -> Self {
        Self {
            tenant_id,
            id,
            registered_at,
            last_check_in_at: None,
            revoked_at: None,
            registrations: 0,
            duplicate_seen_at: None,
            license: None,
        }
    }
}
