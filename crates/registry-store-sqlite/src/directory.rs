//! Lists and shows tenants.

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{Bool, Text};
use registry_core::appliance::Appliance;
use registry_core::entitlement::Entitlement;
use registry_core::id::TenantId;
use registry_core::install_code::{CodeKind, InstallCode};
use registry_core::registry::directory::TenantQuery;
use registry_core::store::{StoreError, TenantRecord};
use registry_core::tenant::Tenant;

use crate::facts::{all, tenant};
use crate::rows::{ApplianceRow, CodeRow, EntitlementRow, TenantRow};
use crate::schema::{appliances, entitlements, install_codes, tenants};

pub(crate) fn list(connection: &mut SqliteConnection, query: &TenantQuery) -> Result<Vec<TenantRecord>, StoreError> {
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
    if let Some(text) = &query.text {
        rows = rows.filter(sql::<Bool>("instr(search_text, ").bind::<Text, _>(text).sql(") > 0"));
    }
    if let Some(place) = query.after {
        let (at, id) = (place.registered_at.timestamp_micros(), place.id.to_string());
        let later = tenants::registered_at.lt(at).or(tenants::registered_at.eq(at).and(tenants::id.lt(id)));
        rows = rows.filter(later);
    }
    let rows = rows.order((tenants::registered_at.desc(), tenants::id.desc())).limit(i64::from(query.limit));
    let tenants = all(rows.load(connection))?;
    let mut records = records(connection, tenants)?;
    for record in &mut records {
        record.codes.retain(|code| code.kind == CodeKind::Install);
        record.codes.truncate(1);
    }
    Ok(records)
}

pub(crate) fn show(connection: &mut SqliteConnection, id: TenantId) -> Result<Option<TenantRecord>, StoreError> {
    let tenant = tenant(connection, id)?;
    Ok(records(connection, tenant.into_iter().collect())?.pop())
}

/// Hangs on each tenant what belongs to it.
fn records(connection: &mut SqliteConnection, tenants: Vec<Tenant>) -> Result<Vec<TenantRecord>, StoreError> {
    let ids: Vec<String> = tenants.iter().map(|tenant| tenant.id.to_string()).collect();
    let entitlements: Vec<Entitlement> = all(entitlements::table
        .filter(entitlements::tenant_id.eq_any(&ids))
        .order((entitlements::created_at, entitlements::id))
        .select(EntitlementRow::as_select())
        .load(connection))?;
    let codes: Vec<InstallCode> = all(install_codes::table
        .filter(install_codes::tenant_id.eq_any(&ids))
        .order((install_codes::issued_at.desc(), install_codes::id.desc()))
        .select(CodeRow::as_select())
        .load(connection))?;
    let appliances: Vec<Appliance> = all(appliances::table
        .filter(appliances::tenant_id.eq_any(&ids))
        .order((appliances::registered_at, appliances::id))
        .select(ApplianceRow::as_select())
        .load(connection))?;
    let record = |tenant: Tenant| {
        let id = tenant.id;
        TenantRecord {
            tenant,
            entitlements: entitlements.iter().filter(|row| row.tenant_id == Some(id)).cloned().collect(),
            codes: codes.iter().filter(|row| row.tenant_id == Some(id)).cloned().collect(),
            appliances: appliances.iter().filter(|row| row.tenant_id == id).cloned().collect(),
        }
    };
    Ok(tenants.into_iter().map(record).collect())
}
