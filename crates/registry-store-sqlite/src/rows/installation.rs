//! Where: codes, appliances and credentials.

use diesel::prelude::{AsChangeset, Insertable, Queryable, Selectable};
use registry_core::appliance::{Appliance, Credential, IssuedLicense};
use registry_core::install_code::{CodeKind, Consumption, InstallCode};
use registry_core::license::LicenseTerms;
use registry_core::secret::{CodeDigest, CredentialDigest, KeyId};
use registry_core::store::StoreError;
use registry_core::text::ApplianceId;

use super::{Read, corrupt, digest, id, ids, micros, number, time, times};
use crate::schema::{appliances, credentials, install_codes};

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = install_codes)]
pub(crate) struct CodeRow {
    id: String,
    kind: String,
    tenant_id: Option<String>,
    entitlement_id: Option<String>,
    digest_key_id: String,
    digest: Vec<u8>,
    last_four: String,
    issued_at: i64,
    expires_at: i64,
    consumed_at: Option<i64>,
    consumed_by: Option<String>,
    superseded_at: Option<i64>,
}

impl From<&InstallCode> for CodeRow {
    fn from(code: &InstallCode) -> Self {
        Self {
            id: code.id.to_string(),
            kind: code.kind.to_string(),
            tenant_id: code.tenant_id.map(|id| id.to_string()),
            entitlement_id: code.entitlement_id.map(|id| id.to_string()),
            digest_key_id: code.digest.key_id.0.clone(),
            digest: code.digest.bytes.to_vec(),
            last_four: code.last_four.clone(),
            issued_at: code.issued_at.timestamp_micros(),
            expires_at: code.expires_at.timestamp_micros(),
            consumed_at: micros(code.consumed.as_ref().map(|consumption| consumption.at)),
            consumed_by: code.consumed.as_ref().map(|consumption| consumption.by.to_string()),
            superseded_at: micros(code.superseded_at),
        }
    }
}

impl TryFrom<CodeRow> for InstallCode {
    type Error = StoreError;

    fn try_from(row: CodeRow) -> Read<Self> {
        let consumed = times(row.consumed_at)?.zip(row.consumed_by.map(ApplianceId::from_stored));
        Ok(Self {
            id: id(&row.id)?,
            kind: CodeKind::from_name(&row.kind).ok_or_else(|| corrupt("kind of code"))?,
            tenant_id: ids(row.tenant_id.as_ref())?,
            entitlement_id: ids(row.entitlement_id.as_ref())?,
            digest: CodeDigest { key_id: KeyId(row.digest_key_id), bytes: digest(&row.digest)? },
            last_four: row.last_four,
            issued_at: time(row.issued_at)?,
            expires_at: time(row.expires_at)?,
            consumed: consumed.map(|(at, by)| Consumption { at, by }),
            superseded_at: times(row.superseded_at)?,
        })
    }
}

#[derive(Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = appliances, treat_none_as_null = true)]
pub(crate) struct ApplianceRow {
    tenant_id: String,
    id: String,
    registered_at: i64,
    last_check_in_at: Option<i64>,
    revoked_at: Option<i64>,
    license_sub: Option<String>,
    license_customer: Option<String>,
    license_tier: Option<String>,
    license_seats: Option<i32>,
    license_expires_at: Option<i64>,
}

impl TryFrom<&Appliance> for ApplianceRow {
    type Error = StoreError;

    fn try_from(appliance: &Appliance) -> Read<Self> {
        let license = appliance.license.as_ref();
        let terms = license.map(|license| &license.terms);
        Ok(Self {
            tenant_id: appliance.tenant_id.to_string(),
            id: appliance.id.to_string(),
            registered_at: appliance.registered_at.timestamp_micros(),
            last_check_in_at: micros(appliance.last_check_in_at),
            revoked_at: micros(appliance.revoked_at),
            license_sub: terms.map(|terms| terms.sub.clone()),
            license_customer: terms.map(|terms| terms.customer.clone()),
            license_tier: terms.map(|terms| terms.tier.clone()),
            license_seats: terms.and_then(|terms| terms.seats).map(number).transpose()?,
            license_expires_at: micros(license.map(|license| license.expires_at)),
        })
    }
}

impl TryFrom<ApplianceRow> for Appliance {
    type Error = StoreError;

    fn try_from(row: ApplianceRow) -> Read<Self> {
        let tenant_id = id(&row.tenant_id)?;
        let license =
            match (row.license_sub, row.license_customer, row.license_tier, row.license_expires_at)
            {
                (Some(sub), Some(customer), Some(tier), Some(expires_at)) => {
                    let seats = row.license_seats.map(number).transpose()?;
                    let terms =
                        LicenseTerms { sub, customer, tier, seats, tenant_id: Some(tenant_id) };
                    Some(IssuedLicense { terms, expires_at: time(expires_at)? })
                }
                (None, None, None, None) => None,
                _ => return Err(corrupt("license")),
            };
        Ok(Self {
            tenant_id,
            id: ApplianceId::from_stored(row.id),
            registered_at: time(row.registered_at)?,
            last_check_in_at: times(row.last_check_in_at)?,
            revoked_at: times(row.revoked_at)?,
            license,
        })
    }
}

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = credentials)]
pub(crate) struct CredentialRow {
    digest: Vec<u8>,
    tenant_id: String,
    appliance_id: String,
    issued_at: i64,
    first_used_at: Option<i64>,
}

impl From<&Credential> for CredentialRow {
    fn from(credential: &Credential) -> Self {
        Self {
            digest: credential.digest.0.to_vec(),
            tenant_id: credential.tenant_id.to_string(),
            appliance_id: credential.appliance_id.to_string(),
            issued_at: credential.issued_at.timestamp_micros(),
            first_used_at: micros(credential.first_used_at),
        }
    }
}

impl TryFrom<CredentialRow> for Credential {
    type Error = StoreError;

    fn try_from(row: CredentialRow) -> Read<Self> {
        Ok(Self {
            digest: CredentialDigest(digest(&row.digest)?),
            tenant_id: id(&row.tenant_id)?,
            appliance_id: ApplianceId::from_stored(row.appliance_id),
            issued_at: time(row.issued_at)?,
            first_used_at: times(row.first_used_at)?,
        })
    }
}
