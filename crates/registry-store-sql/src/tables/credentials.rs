use registry_core::appliance::Credential;
use registry_core::clock::Timestamp;
use registry_core::id::TenantId;
use registry_core::secret::CredentialDigest;
use registry_core::text::ApplianceId;

use crate::table::table;

table!(
    Credential of "credentials", key ["digest"] {
        digest: CredentialDigest,
        tenant_id: TenantId,
        appliance_id: ApplianceId,
        registration: u32,
        issued_at: Timestamp,
        first_used_at: Option<Timestamp>,
        replaced_at: Option<Timestamp>,
        sequence: Option<u32>,
        source: Option<String>,
        previous_source: Option<String>,
        source_since: Option<Timestamp>,
    }
);
