//! Credentials of appliances. The credential itself is not stored, only its digest.

use registry_core::appliance::Credential;
use registry_core::secret::CredentialDigest;
use registry_core::store::StoreError;
use registry_core::text::ApplianceId;

use crate::table::{Read, digest, table};
use crate::types::{SqlId, SqlTime};

table!(
    /// A row of `credentials`.
    CredentialRow of "credentials", key ["digest"] {
        digest: Vec<u8>,
        tenant_id: SqlId,
        appliance_id: String,
        issued_at: SqlTime,
        first_used_at: Option<SqlTime>,
    }
);

impl From<&Credential> for CredentialRow {
    fn from(credential: &Credential) -> Self {
        Self {
            digest: credential.digest.0.to_vec(),
            tenant_id: credential.tenant_id.into(),
            appliance_id: credential.appliance_id.to_string(),
            issued_at: credential.issued_at.into(),
            first_used_at: credential.first_used_at.map(Into::into),
        }
    }
}

impl TryFrom<CredentialRow> for Credential {
    type Error = StoreError;

    fn try_from(row: CredentialRow) -> Read<Self> {
        Ok(Self {
            digest: CredentialDigest(digest(&row.digest)?),
            tenant_id: row.tenant_id.into(),
            appliance_id: ApplianceId::from_stored(row.appliance_id),
            issued_at: row.issued_at.into(),
            first_used_at: row.first_used_at.map(Into::into),
        })
    }
}
