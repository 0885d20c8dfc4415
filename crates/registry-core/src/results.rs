//! What use cases answer, where it is more than a row: the values that carry secrets out, once.

use crate::clock::Timestamp;
use crate::edition::EditionName;
use crate::entitlement::Entitlement;
use crate::id::TenantId;
use crate::install_code::PlainCode;
use crate::secret::{DownloadLink, LicenseToken, PlainCredential};
use crate::text::ApplianceId;

/// What registering and re-issuing answer: the only time the code is shown.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The tenant.
    pub tenant_id: TenantId,
    /// Its new code.
    pub code: PlainCode,
    /// When the code ends.
    pub expires_at: Timestamp,
    /// Where the image is, if one is published and the blob store made a link.
    pub download: Option<DownloadLink>,
}

/// What a redemption answers.
#[derive(Clone, Debug)]
pub struct Redeemed {
    /// The tenant that the appliance now is of.
    pub tenant_id: TenantId,
    /// The edition that the code carries now.
    pub edition: EditionName,
    /// The company.
    pub company_name: String,
    /// The contact; empty for an adopted tenant.
    pub contact_email: String,
    /// For paid editions, always.
    pub licensed: Option<Licensed>,
}

/// What a paid appliance gets.
#[derive(Clone, Debug)]
pub struct Licensed {
    /// Its first license.
    pub token: LicenseToken,
    /// Its credential.
    pub credential: PlainCredential,
    /// Where it renews the license.
    pub check_in_url: String,
}

/// What a check-in answers.
#[derive(Clone, Debug)]
pub struct CheckedIn {
    /// How the appliance stands.
    pub status: LicenseStatus,
    /// When it should call again.
    pub next_check_in_at: Timestamp,
    /// The registry's time.
    pub now: Timestamp,
}

/// An entitlement after a change.
#[derive(Clone, Debug)]
pub struct EntitlementChanged {
    /// The entitlement.
    pub entitlement: Entitlement,
    /// Its license with its end, where one was asked for.
    pub license: Option<(LicenseToken, Timestamp)>,
    /// Its activation code with its end, where one was asked for.
    pub code: Option<(PlainCode, Timestamp)>,
}

/// A license that was signed for a subscription.
#[derive(Clone, Debug)]
pub struct SignedLicense {
    /// The license.
    pub token: LicenseToken,
    /// When it ends.
    pub expires_at: Timestamp,
    /// Its `sub`.
    pub sub: String,
}

/// An activation code: the only time it is shown.
#[derive(Clone, Debug)]
pub struct IssuedActivation {
    /// The code.
    pub code: PlainCode,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// How an appliance stands.
#[derive(Clone, Debug)]
pub enum LicenseStatus {
    /// It is entitled; where a new license is due, here it is, with its end.
    Licensed(Option<(LicenseToken, Timestamp)>),
    /// What it was entitled to has ended. It keeps its license to that one's end.
    Revoked,
}

/// What a credential opens, as a service is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialStatus {
    /// The tenant of its appliance.
    pub tenant_id: TenantId,
    /// The edition that the tenant is entitled to now.
    pub edition: EditionName,
    /// The appliance.
    pub appliance_id: ApplianceId,
    /// Whether the tenant has an active entitlement.
    pub entitlement_active: bool,
    /// Whether the appliance may use connected services: entitled, and its tenant neither suspended
    /// nor cancelled.
    pub connected_eligible: bool,
}
