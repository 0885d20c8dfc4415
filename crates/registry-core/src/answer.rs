//! What use cases answer, where it is more than a row: the values that carry secrets out, once.

use crate::clock::Timestamp;
use crate::edition::EditionName;
use crate::id::TenantId;
use crate::install_code::PlainCode;
use crate::secret::{DownloadLink, LicenseToken, PlainCredential};

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
