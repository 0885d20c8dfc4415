use registry_core::clock::Timestamp;
use registry_core::id::{CodeId, EntitlementId, TenantId};
use registry_core::install_code::{CodeKind, Consumption, InstallCode};
use registry_core::secret::{CodeDigest, KeyId};
use registry_core::text::ApplianceId;

use crate::table::table;

// Of the code itself, only the digest and the last characters are stored.
table!(
    InstallCode of "install_codes", key ["id"] {
        id: CodeId,
        kind: CodeKind,
        tenant_id: Option<TenantId>,
        entitlement_id: Option<EntitlementId>,
        last_four: String,
        issued_at: Timestamp,
        expires_at: Timestamp,
        superseded_at: Option<Timestamp>,
    } and |code| {
        digest_key_id: KeyId = code.digest.key_id,
        digest: [u8; 32] = code.digest.bytes,
        consumed_at: Option<Timestamp> = code.consumed.as_ref().map(|it| it.at),
        consumed_by: Option<ApplianceId> = code.consumed.as_ref().map(|it| it.by.clone()),
    } as {
        digest: CodeDigest { key_id: digest_key_id, bytes: digest },
        consumed: consumed_at.zip(consumed_by).map(|(at, by)| Consumption { at, by }),
    }
);
