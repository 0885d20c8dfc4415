//! Where: codes, appliances and credentials.

use registry_core::appliance::{Appliance, Credential, IssuedLicense};
use registry_core::clock::Timestamp;
use registry_core::install_code::{CodeKind, Consumption, InstallCode};
use registry_core::license::LicenseTerms;
use registry_core::secret::{CodeDigest, CredentialDigest, KeyId};
use registry_core::store::StoreError;
use registry_core::text::ApplianceId;
use uuid::Uuid;

use super::{Read, corrupt, digest, number, row};
use crate::schema::{appliances, credentials, install_codes};

row!(
    CodeRow of install_codes {
        id: Uuid,
        kind: String,
        tenant_id: Option<Uuid>,
        entitlement_id: Option<Uuid>,
        digest_key_id: String,
        digest: Vec<u8>,
        last_four: String,
        issued_at: Timestamp,
        expires_at: Timestamp,
        consumed_at: Option<Timestamp>,
        consumed_by: Option<String>,
        superseded_at: Option<Timestamp>,
    }
);

impl From<&InstallCode> for CodeRow {
    fn from(code: &InstallCode) -> Self {
        Self {
            id: code.id.0,
            kind: code.kind.to_string(),
            tenant_id: code.tenant_id.map(|id| id.0),
            entitlement_id: code.entitlement_id.map(|id| id.0),
            digest_key_id: code.digest.key_id.0.clone(),
            digest: code.digest.bytes.to_vec(),
            last_four: code.last_four.clone(),
            issued_at: code.issued_at,
            expires_at: code.expires_at,
            consumed_at: code.consumed.as_ref().map(|consumption| consumption.at),
            consumed_by: code.consumed.as_ref().map(|consumption| consumption.by.to_string()),
            superseded_at: code.superseded_at,
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
            issued_at: row.issued_at,
            expires_at: row.expires_at,
            consumed: consumed.map(|(at, by)| Consumption { at, by }),
            superseded_at: row.superseded_at,
        })
    }
}

row!(
    ApplianceRow of appliances {
        tenant_id: Uuid,
        id: String,
        registered_at: Timestamp,
        last_check_in_at: Option<Timestamp>,
        revoked_at: Option<Timestamp>,
        license_sub: Option<String>,
        license_customer: Option<String>,
        license_tier: Option<String>,
        license_seats: Option<i32>,
        license_expires_at: Option<Timestamp>,
    }
);

impl TryFrom<&Appliance> for ApplianceRow {
    type Error = StoreError;

    fn try_from(appliance: &Appliance) -> Read<Self> {
        let license = appliance.license.as_ref();
        let terms = license.map(|license| &license.terms);
        Ok(Self {
            tenant_id: appliance.tenant_id.0,
            id: appliance.id.to_string(),
            registered_at: appliance.registered_at,
            last_check_in_at: appliance.last_check_in_at,
            revoked_at: appliance.revoked_at,
            license_sub: terms.map(|terms| terms.sub.clone()),
            license_customer: terms.map(|terms| terms.customer.clone()),
            license_tier: terms.map(|terms| terms.tier.clone()),
            license_seats: terms.and_then(|terms| terms.seats).map(number).transpose()?,
            license_expires_at: license.map(|license| license.expires_at),
        })
    }
}

impl TryFrom<ApplianceRow> for Appliance {
    type Error = StoreError;

    fn try_from(row: ApplianceRow) -> Read<Self> {
        let tenant_id = row.tenant_id.into();
        let license =
            match (row.license_sub, row.license_customer, row.license_tier, row.license_expires_at)
            {
                (Some(sub), Some(customer), Some(tier), Some(expires_at)) => {
                    let seats = row.license_seats.map(number).transpose()?;
                    let terms =
                        LicenseTerms { sub, customer, tier, seats, tenant_id: Some(tenant_id) };
                    Some(IssuedLicense { terms, expires_at })
                }
                (None, None, None, None) => None,
                _ => return Err(corrupt("license")),
            };
        Ok(Self {
            tenant_id,
            id: ApplianceId::from_stored(row.id),
            registered_at: row.registered_at,
            last_check_in_at: row.last_check_in_at,
            revoked_at: row.revoked_at,
            license,
        })
    }
}

row!(
    CredentialRow of credentials {
        digest: Vec<u8>,
        tenant_id: Uuid,
        appliance_id: String,
        issued_at: Timestamp,
        first_used_at: Option<Timestamp>,
    }
);

impl From<&Credential> for CredentialRow {
    fn from(credential: &Credential) -> Self {
        Self {
            digest: credential.digest.0.to_vec(),
            tenant_id: credential.tenant_id.0,
            appliance_id: credential.appliance_id.to_string(),
            issued_at: credential.issued_at,
            first_used_at: credential.first_used_at,
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
            issued_at: row.issued_at,
            first_used_at: row.first_used_at,
        })
    }
}
