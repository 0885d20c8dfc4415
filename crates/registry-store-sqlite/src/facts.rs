//! Loads what decisions are made on.

use diesel::prelude::*;
use registry_core::appliance::{Appliance, Credential};
use registry_core::clock::Timestamp;
use registry_core::entitlement::Entitlement;
use registry_core::id::{CodeId, TenantId};
use registry_core::install_code::InstallCode;
use registry_core::refusal::Refusal;
use registry_core::secret::{CredentialDigest, KeyId, Sealed};
use registry_core::store::{
    CredentialFacts, EntitlementFacts, EntitlementKey, EntitlementSelector, Outcome, RedeemFacts,
    RedeemKey, RegisterFacts, ReissueFacts, Replay, StoreError, TenantFacts, TenantKey,
    TenantSelector,
};
use registry_core::tenant::Tenant;
use registry_core::text::SubscriptionId;

use crate::connection::failure;
use crate::rows::{ApplianceRow, CodeRow, CredentialRow, EntitlementRow, TenantRow};
use crate::schema::{appliances, credentials, entitlements, install_codes, replays, tenants};

/// Turns one row, where there is one, into its domain value.
pub(crate) fn one<R, T: TryFrom<R, Error = StoreError>>(
    row: QueryResult<Option<R>>,
) -> Result<Option<T>, StoreError> {
    row.map_err(|error| failure(&error))?.map(T::try_from).transpose()
}

/// Turns rows into their domain values.
pub(crate) fn all<R, T: TryFrom<R, Error = StoreError>>(
    rows: QueryResult<Vec<R>>,
) -> Result<Vec<T>, StoreError> {
    rows.map_err(|error| failure(&error))?.into_iter().map(T::try_from).collect()
}

/// What a request with an idempotency key was answered before.
pub(crate) fn replayed<T>(
    connection: &mut SqliteConnection,
    replay: Option<&Replay>,
) -> Result<Option<Outcome<T>>, StoreError> {
    let Some(Replay { scope, key_digest, fingerprint, now }) = replay else { return Ok(None) };
    let record: Option<(Vec<u8>, String, Vec<u8>)> = replays::table
        .find((scope, key_digest.as_slice()))
        .filter(replays::expires_at.gt(now.timestamp_micros()))
        .select((replays::fingerprint, replays::sealed_key_id, replays::sealed))
        .first(connection)
        .optional()
        .map_err(|error| failure(&error))?;
    Ok(record.map(|(recorded, key_id, bytes)| {
        if recorded == fingerprint {
            Outcome::Replayed(Sealed { key_id: KeyId(key_id), bytes })
        } else {
            Outcome::Refused(Refusal::KeyReused)
        }
    }))
}

pub(crate) fn register(
    connection: &mut SqliteConnection,
    subscription: Option<&SubscriptionId>,
) -> Result<RegisterFacts, StoreError> {
    let Some(subscription) = subscription else { return Ok(RegisterFacts::default()) };
    let entitlement =
        entitlement(connection, &EntitlementSelector::Subscription(subscription.clone()))?;
    let bound = entitlement.as_ref().and_then(|entitlement| entitlement.tenant_id);
    let tenant = match bound {
        Some(id) => tenant(connection, id)?,
        None => one(tenants::table
            .filter(tenants::subscription.eq(subscription.as_str()))
            .select(TenantRow::as_select())
            .first(connection)
            .optional())?,
    };
    let tenant_entitlement = match &tenant {
        None => None,
        Some(tenant) => active_entitlement(connection, tenant.id)?,
    };
    Ok(RegisterFacts { tenant, entitlement, tenant_entitlement })
}

pub(crate) fn redeem(
    connection: &mut SqliteConnection,
    key: &RedeemKey,
) -> Result<RedeemFacts, StoreError> {
    let mut code: Option<InstallCode> = None;
    for digest in &key.digests {
        let same = install_codes::digest
            .eq(digest.bytes.as_slice())
            .and(install_codes::digest_key_id.eq(&digest.key_id.0));
        let found = install_codes::table
            .filter(same)
            .select(CodeRow::as_select())
            .first(connection)
            .optional();
        code = code.or(one(found)?);
    }
    let Some(code) = code else { return Ok(RedeemFacts::default()) };
    let entitlement = match code.entitlement_id {
        None => None,
        Some(id) => entitlement(connection, &EntitlementSelector::Id(id))?,
    };
    let bound = entitlement.as_ref().and_then(|entitlement| entitlement.tenant_id);
    let mut facts = RedeemFacts { code: Some(code), entitlement, ..RedeemFacts::default() };
    let owner = facts.code.as_ref().and_then(|code| code.tenant_id).or(bound).or(key.tenant_id);
    if let Some(id) = owner {
        facts.tenant = tenant(connection, id)?;
        facts.tenant_entitlement = active_entitlement(connection, id)?;
        let appliance = appliances::table.find((id.to_string(), key.appliance_id.as_str()));
        facts.appliance = one::<_, Appliance>(
            appliance.select(ApplianceRow::as_select()).first(connection).optional(),
        )?;
    }
    Ok(facts)
}

pub(crate) fn tenant_change(
    connection: &mut SqliteConnection,
    key: &TenantKey,
) -> Result<TenantFacts, StoreError> {
    let appliance = match &key.appliance {
        None => None,
        Some(id) => {
            let row = appliances::table
                .find((key.id.to_string(), id.as_str()))
                .select(ApplianceRow::as_select());
            one(row.first(connection).optional())?
        }
    };
    Ok(TenantFacts { tenant: tenant(connection, key.id)?, appliance })
}

/// Records a check-in.
pub(crate) fn touch(
    connection: &mut SqliteConnection,
    digest: CredentialDigest,
    now: Timestamp,
) -> Result<(), StoreError> {
    let theirs = credentials::table
        .find(digest.0.as_slice())
        .select((credentials::tenant_id, credentials::appliance_id));
    let key: Option<(String, String)> =
        theirs.first(connection).optional().map_err(|error| failure(&error))?;
    let Some(key) = key else { return Ok(()) };
    let earlier = appliances::last_check_in_at
        .is_null()
        .or(appliances::last_check_in_at.lt(now.timestamp_micros()));
    let touched = diesel::update(appliances::table.find(key).filter(earlier))
        .set(appliances::last_check_in_at.eq(now.timestamp_micros()))
        .execute(connection);
    touched.map(drop).map_err(|error| failure(&error))
}

pub(crate) fn credential(
    connection: &mut SqliteConnection,
    digest: CredentialDigest,
) -> Result<Option<CredentialFacts>, StoreError> {
    let row = credentials::table.find(digest.0.as_slice()).select(CredentialRow::as_select());
    let Some(credential) = one::<_, Credential>(row.first(connection).optional())? else {
        return Ok(None);
    };
    let key = (credential.tenant_id.to_string(), credential.appliance_id.as_str());
    let row = appliances::table.find(key).select(ApplianceRow::as_select());
    let appliance: Option<Appliance> = one(row.first(connection).optional())?;
    let tenant = tenant(connection, credential.tenant_id)?;
    let entitlement = active_entitlement(connection, credential.tenant_id)?;
    let damage = || StoreError::Corrupt("a credential has no appliance".to_owned());
    let (appliance, tenant) = appliance.zip(tenant).ok_or_else(damage)?;
    Ok(Some(CredentialFacts { credential, appliance, tenant, entitlement }))
}

pub(crate) fn reissue(
    connection: &mut SqliteConnection,
    selector: &TenantSelector,
) -> Result<ReissueFacts, StoreError> {
    let tenants: Vec<Tenant> = match selector {
        TenantSelector::Id(id) => tenant(connection, *id)?.into_iter().collect(),
        TenantSelector::Contact(contact) => all(tenants::table
            .filter(
                tenants::contact_email_folded
                    .eq(contact.folded())
                    .and(tenants::status.ne("cancelled")),
            )
            .order((tenants::registered_at.desc(), tenants::id.desc()))
            .limit(2)
            .select(TenantRow::as_select())
            .load(connection))?,
    };
    let entitlement = match tenants.first() {
        None => None,
        Some(tenant) => active_entitlement(connection, tenant.id)?,
    };
    Ok(ReissueFacts { tenants, entitlement })
}

pub(crate) fn entitlement_change(
    connection: &mut SqliteConnection,
    key: &EntitlementKey,
) -> Result<EntitlementFacts, StoreError> {
    let entitlement = entitlement(connection, &key.selector)?;
    let owner =
        entitlement.as_ref().and_then(|entitlement| entitlement.tenant_id).or(key.tenant_id);
    let Some(id) = owner else {
        return Ok(EntitlementFacts { entitlement, ..EntitlementFacts::default() });
    };
    let tenant = tenant(connection, id)?;
    let tenant_entitlement = active_entitlement(connection, id)?;
    Ok(EntitlementFacts { entitlement, tenant, tenant_entitlement })
}

fn entitlement(
    connection: &mut SqliteConnection,
    selector: &EntitlementSelector,
) -> Result<Option<Entitlement>, StoreError> {
    let query = entitlements::table.select(EntitlementRow::as_select()).into_boxed();
    let query = match selector {
        EntitlementSelector::Id(id) => query.filter(entitlements::id.eq(id.to_string())),
        EntitlementSelector::Subscription(subscription) => {
            query.filter(entitlements::subscription.eq(subscription.as_str().to_owned()))
        }
    };
    one(query.first(connection).optional())
}

fn active_entitlement(
    connection: &mut SqliteConnection,
    id: TenantId,
) -> Result<Option<Entitlement>, StoreError> {
    let active = entitlements::tenant_id.eq(id.to_string()).and(entitlements::revoked_at.is_null());
    one(entitlements::table
        .filter(active)
        .select(EntitlementRow::as_select())
        .first(connection)
        .optional())
}

pub(crate) fn tenant(
    connection: &mut SqliteConnection,
    id: TenantId,
) -> Result<Option<Tenant>, StoreError> {
    one(tenants::table
        .find(id.to_string())
        .select(TenantRow::as_select())
        .first(connection)
        .optional())
}

pub(crate) fn code(
    connection: &mut SqliteConnection,
    id: CodeId,
) -> Result<Option<(InstallCode, Tenant)>, StoreError> {
    let code = install_codes::table
        .find(id.to_string())
        .select(CodeRow::as_select())
        .first(connection)
        .optional();
    let Some(code) = one::<_, InstallCode>(code)? else { return Ok(None) };
    let owner = code.tenant_id.map(|id| tenant(connection, id)).transpose()?.flatten();
    Ok(owner.map(|tenant| (code, tenant)))
}
