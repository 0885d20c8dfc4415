//! Lists and shows tenants.

use std::collections::HashMap;

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Text};
use registry_core::appliance::Appliance;
use registry_core::clock::Timestamp;
use registry_core::entitlement::Entitlement;
use registry_core::id::TenantId;
use registry_core::install_code::InstallCode;
use registry_core::store::{OverdueAppliance, StoreError, TenantQuery, TenantRecord};
use registry_core::tenant::{Tenant, TenantStatus};

use crate::connection::failure;
use crate::facts::{all, tenant};
use crate::rows::{ApplianceRow, CodeRow, EntitlementRow, TenantRow};
use crate::schema::{appliances, entitlements, install_codes, tenants};

pub(crate) fn list(
    connection: &mut SqliteConnection,
    query: &TenantQuery,
) -> Result<Vec<TenantRecord>, StoreError> {
    let mut rows = tenants::table.select(TenantRow::as_select()).into_boxed();
    if let Some(deployment) = query.deployment {
        rows = rows.filter(tenants::deployment.eq(deployment.as_str()));
    }
    if let Some(status) = query.status {
        rows = rows.filter(tenants::status.eq(status.as_str()));
    }
    if let Some(edition) = &query.edition {
        rows = rows.filter(tenants::edition.eq(edition.as_str()));
    }
    if let Some(product) = &query.product {
        rows = rows.filter(tenants::product.eq(product.as_str()));
    }
    if let Some(contact) = &query.contact {
        rows = rows.filter(tenants::contact_email_folded.eq(contact.folded()));
    }
    if let Some(text) = &query.text {
        rows = rows.filter(sql::<Bool>("instr(search_text, ").bind::<Text, _>(text).sql(") > 0"));
    }
    if let Some(place) = query.after {
        let (at, id) = (place.at.timestamp_micros(), place.id.to_string());
        let later =
            tenants::registered_at.lt(at).or(tenants::registered_at.eq(at).and(tenants::id.lt(id)));
        rows = rows.filter(later);
    }
    let rows = rows
        .order((tenants::registered_at.desc(), tenants::id.desc()))
        .limit(i64::from(query.limit));
    let tenants = all(rows.load(connection))?;
    records(connection, tenants, true)
}

pub(crate) fn show(
    connection: &mut SqliteConnection,
    id: TenantId,
) -> Result<Option<TenantRecord>, StoreError> {
    let tenant = tenant(connection, id)?;
    Ok(records(connection, tenant.into_iter().collect(), false)?.pop())
}

/// The unused install code of each tenant, and its newest one.
const NEWEST: &str = "install_codes.kind = 'install' AND (install_codes.consumed_at IS NULL AND \
                      install_codes.superseded_at IS NULL OR install_codes.issued_at = (SELECT max(newer.issued_at) \
                      FROM install_codes AS newer WHERE newer.tenant_id = install_codes.tenant_id \
                      AND newer.kind = 'install'))";

/// Hangs on each tenant what belongs to it.
fn records(
    connection: &mut SqliteConnection,
    tenants: Vec<Tenant>,
    newest_code_only: bool,
) -> Result<Vec<TenantRecord>, StoreError> {
    let ids: Vec<String> = tenants.iter().map(|tenant| tenant.id.to_string()).collect();
    let entitlements: Vec<Entitlement> = all(entitlements::table
        .filter(entitlements::tenant_id.eq_any(&ids))
        .order((entitlements::created_at, entitlements::id))
        .select(EntitlementRow::as_select())
        .load(connection))?;
    let mut codes = install_codes::table.select(CodeRow::as_select()).into_boxed();
    if newest_code_only {
        codes = codes.filter(sql::<Bool>(NEWEST));
    }
    let codes = codes.filter(install_codes::tenant_id.eq_any(&ids));
    let codes: Vec<InstallCode> = all(codes
        .order((install_codes::issued_at.desc(), install_codes::id.desc()))
        .load(connection))?;
    let appliances: Vec<Appliance> = all(appliances::table
        .filter(appliances::tenant_id.eq_any(&ids))
        .order((appliances::registered_at, appliances::id))
        .select(ApplianceRow::as_select())
        .load(connection))?;
    let mut entitlements = by_tenant(entitlements, |entitlement| entitlement.tenant_id);
    let mut codes = by_tenant(codes, |code| code.tenant_id);
    let mut appliances = by_tenant(appliances, |appliance| Some(appliance.tenant_id));
    let record = |tenant: Tenant| TenantRecord {
        entitlements: entitlements.remove(&tenant.id).unwrap_or_default(),
        codes: codes.remove(&tenant.id).unwrap_or_default(),
        appliances: appliances.remove(&tenant.id).unwrap_or_default(),
        tenant,
    };
    Ok(tenants.into_iter().map(record).collect())
}

fn by_tenant<T>(
    rows: Vec<T>,
    tenant: impl Fn(&T) -> Option<TenantId>,
) -> HashMap<TenantId, Vec<T>> {
    let mut grouped: HashMap<TenantId, Vec<T>> = HashMap::new();
    for row in rows {
        if let Some(tenant) = tenant(&row) {
            grouped.entry(tenant).or_default().push(row);
        }
    }
    grouped
}

/// Lists licensed appliances that have not checked in since then.
pub(crate) fn overdue(
    connection: &mut SqliteConnection,
    since: Timestamp,
    limit: u32,
) -> Result<Vec<OverdueAppliance>, StoreError> {
    let heard = || sql::<BigInt>("coalesce(appliances.last_check_in_at, appliances.registered_at)");
    let rows = appliances::table
        .inner_join(tenants::table.on(tenants::id.eq(appliances::tenant_id)))
        .filter(appliances::license_sub.is_not_null().and(appliances::revoked_at.is_null()))
        .filter(
            tenants::status
                .ne_all(TenantStatus::CLOSED.map(TenantStatus::as_str))
                .and(heard().lt(since.timestamp_micros())),
        )
        .order((heard(), appliances::tenant_id, appliances::id))
        .limit(limit.into())
        .select((TenantRow::as_select(), ApplianceRow::as_select()))
        .load::<(TenantRow, ApplianceRow)>(connection)
        .map_err(|error| failure(&error))?;
    let read = |(tenant, appliance)| {
        Ok(OverdueAppliance {
            tenant: Tenant::try_from(tenant)?,
            appliance: Appliance::try_from(appliance)?,
        })
    };
    rows.into_iter().map(read).collect()
}
