//! Install codes and activation codes. The code itself is not stored, only its digest.

use registry_core::install_code::{CodeKind, Consumption, InstallCode};
use registry_core::secret::{CodeDigest, KeyId};
use registry_core::store::StoreError;
use registry_core::text::ApplianceId;

use crate::table::{Read, corrupt, digest, table};
use crate::types::{SqlId, SqlTime};

table!(
    /// A row of `install_codes`.
    CodeRow of "install_codes", key ["id"] {
        id: SqlId,
        kind: String,
        tenant_id: Option<SqlId>,
        entitlement_id: Option<SqlId>,
        digest_key_id: String,
        digest: Vec<u8>,
        last_four: String,
        issued_at: SqlTime,
        expires_at: SqlTime,
        consumed_at: Option<SqlTime>,
        consumed_by: Option<String>,
        superseded_at: Option<SqlTime>,
    }
);

impl From<&InstallCode> for CodeRow {
    fn from(code: &InstallCode) -> Self {
        Self {
            id: code.id.into(),
            kind: code.kind.to_string(),
            tenant_id: code.tenant_id.map(Into::into),
            entitlement_id: code.entitlement_id.map(Into::into),
            digest_key_id: code.digest.key_id.0.clone(),
            digest: code.digest.bytes.to_vec(),
            last_four: code.last_four.clone(),
            issued_at: code.issued_at.into(),
            expires_at: code.expires_at.into(),
            consumed_at: code.consumed.as_ref().map(|consumption| consumption.at.into()),
            consumed_by: code.consumed.as_ref().map(|consumption| consumption.by.to_string()),
            superseded_at: code.superseded_at.map(Into::into),
        }
    }
}

impl TryFrom<CodeRow> for InstallCode {
    type Error = StoreError;

    fn try_from(row: CodeRow) -> Read<Self> {
        let consumed = row.consumed_at.zip(row.consumed_by.map(ApplianceId::from_stored));
        Ok(Self {
            id: row.id.into(),
            kind: CodeKind::from_name(&row.kind).ok_or_else(|| corrupt("kind of code"))?,
            tenant_id: row.tenant_id.map(Into::into),
            entitlement_id: row.entitlement_id.map(Into::into),
            digest: CodeDigest { key_id: KeyId(row.digest_key_id), bytes: digest(&row.digest)? },
            last_four: row.last_four,
            issued_at: row.issued_at.into(),
            expires_at: row.expires_at.into(),
            consumed: consumed.map(|(at, by)| Consumption { at: at.into(), by }),
            superseded_at: row.superseded_at.map(Into::into),
        })
    }
}
