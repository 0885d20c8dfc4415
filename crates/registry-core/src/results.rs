//! Results of use cases that are more than a row. They carry new secrets to the caller, once.

use crate::clock::Timestamp;
use crate::edition::EditionName;
use crate::entitlement::Entitlement;
use crate::id::TenantId;
use crate::install_code::PlainCode;
use crate::secret::{DownloadLink, LicenseToken, PlainCredential};
use crate::text::ApplianceId;

/// Result of a registration or a re-issue. The code is shown only here and in its mail.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The tenant.
    pub tenant_id: TenantId,
    /// The new code.
    pub code: PlainCode,
    /// Expiry of the code.
    pub expires_at: Timestamp,
    /// Download link of the image, if one is published and the blob store returned a link.
    pub download: Option<DownloadLink>,
}

/// Result of a redemption.
#[derive(Clone, Debug)]
pub struct Redeemed {
    /// The tenant of the appliance.
    pub tenant_id: TenantId,
    /// The edition that the code grants now.
    pub edition: EditionName,
    /// Name of the company.
    pub company_name: String,
    /// Email address of the contact; empty for an adopted tenant.
    pub contact_email: String,
    /// License and credential; always present for paid editions, never for free ones.
    pub licensed: Option<Licensed>,
}

/// License and credential of an appliance with a paid edition.
#[derive(Clone, Debug)]
pub struct Licensed {
    /// The first license.
    pub token: LicenseToken,
    /// The appliance's credential.
    pub credential: PlainCredential,
    /// The absolute URL for check-ins, which renew the license.
    pub check_in_url: String,
}

/// Result of a check-in.
#[derive(Clone, Debug)]
pub struct CheckedIn {
    /// License status of the appliance.
    pub status: LicenseStatus,
    /// Time of the next check-in.
    pub next_check_in_at: Timestamp,
    /// Current time of the registry.
    pub now: Timestamp,
}

/// Result of a change to an entitlement.
#[derive(Clone, Debug)]
pub struct EntitlementChanged {
    /// The entitlement after the change.
    pub entitlement: Entitlement,
    /// License and its expiry, if one was requested.
    pub license: Option<(LicenseToken, Timestamp)>,
    /// Activation code and its expiry, if one was requested.
    pub code: Option<(PlainCode, Timestamp)>,
}

/// Result of signing a license for a subscription.
#[derive(Clone, Debug)]
pub struct SignedLicense {
    /// The license.
    pub token: LicenseToken,
    /// Expiry of the license.
    pub expires_at: Timestamp,
    /// The `sub` of the license.
    pub sub: String,
}

/// A new activation code. The code is shown only here.
#[derive(Clone, Debug)]
pub struct IssuedActivation {
    /// The code.
    pub code: PlainCode,
    /// Expiry of the code.
    pub expires_at: Timestamp,
}

/// License status of an appliance.
#[derive(Clone, Debug)]
pub enum LicenseStatus {
    /// The appliance is entitled. Holds a new license with its expiry, if one is due.
    Licensed(Option<(LicenseToken, Timestamp)>),
    /// The entitlement has ended. The appliance keeps its license until that expires.
    Revoked,
}

/// The status of a credential, for services that verify it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialStatus {
    /// The tenant of the appliance.
    pub tenant_id: TenantId,
    /// The edition that the tenant is entitled to now.
    pub edition: EditionName,
    /// The appliance.
    pub appliance_id: ApplianceId,
    /// True if the tenant has an active entitlement.
    pub entitlement_active: bool,
    /// True if the appliance may use connected services: the tenant has an active entitlement, and
    /// is neither suspended nor cancelled.
    pub connected_eligible: bool,
}
