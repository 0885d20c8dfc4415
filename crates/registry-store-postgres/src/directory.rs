//! Lists and shows tenants: by key, never by offset, and with plans made for the values that were
//! asked for.

use std::collections::HashMap;

use diesel::dsl::sql;
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::Timestamptz;
use diesel_async::{
    AnsiTransactionManager, AsyncPgConnection, RunQueryDsl, TransactionManager as _,
};
use registry_core::appliance::Appliance;
use registry_core::clock::Timestamp;
use registry_core::entitlement::Entitlement;
use registry_core::id::TenantId;
use registry_core::install_code::InstallCode;
use registry_core::pagination::Cursor;
use registry_core::store::{OverdueAppliance, StoreError, TenantQuery, TenantRecord};
use registry_core::tenant::{Tenant, TenantStatus};
use uuid::Uuid;

use crate::failure::failure;
use crate::migrations;
use crate::rows::{ApplianceRow, CodeRow, EntitlementRow, TenantRow};
use crate::schema::{appliances, entitlements, install_codes, tenants};

/// The tenants that fit, each with what hangs on it, all of one moment.
pub(crate) async fn list(
    connection: &mut AsyncPgConnection,
    query: &TenantQuery,
) -> Result<Vec<TenantRecord>, StoreError> {
    begin(connection).await?;
    let read = list_in_txn(connection, query).await;
    end(connection, read).await
}

/// One tenant with everything, of one moment.
pub(crate) async fn show(
    connection: &mut AsyncPgConnection,
    id: TenantId,
) -> Result<Option<TenantRecord>, StoreError> {
    begin(connection).await?;
    let read = show_in_txn(connection, id).await;
    end(connection, read).await
}

async fn begin(connection: &mut AsyncPgConnection) -> Result<(), StoreError> {
    let begun = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
    AnsiTransactionManager::begin_transaction_sql(connection, begun)
        .await
        .map_err(|error| failure(&error))
}

async fn end<T>(
    connection: &mut AsyncPgConnection,
    read: Result<T, StoreError>,
) -> Result<T, StoreError> {
    // Nothing was written: ending it one way or the other is the same, and what failed first is
    // what counts.
    let ended = AnsiTransactionManager::rollback_transaction(connection).await;
    let read = read?;
    ended.map_err(|error| failure(&error))?;
    Ok(read)
}

async fn show_in_txn(
    connection: &mut AsyncPgConnection,
    id: TenantId,
) -> Result<Option<TenantRecord>, StoreError> {
    let row =
        tenants::table.find(id.0).select(TenantRow::as_select()).first(connection).await.optional();
    let tenant = row.map_err(|error| failure(&error))?.map(Tenant::try_from).transpose()?;
    Ok(records(connection, tenant.into_iter().collect(), false).await?.pop())
}

async fn list_in_txn(
    connection: &mut AsyncPgConnection,
    query: &TenantQuery,
) -> Result<Vec<TenantRecord>, StoreError> {
    let mut rows = tenants::table.select(TenantRow::as_select()).into_boxed::<Pg>();
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
        let text = escaped(text);
        rows = if finds_parts(connection).await? {
            rows.filter(tenants::search_text.like(format!("%{text}%")))
        } else {
            let beginning = format!("{text}%");
            let by_company = tenants::search_text.like(beginning.clone());
            rows.filter(
                by_company.or(tenants::contact_email_folded.assume_not_null().like(beginning)),
            )
        };
    }
    if let Some(Cursor { at, id }) = query.after {
        // Written so that an index finds the place, instead of passing over all that stand before
        // it.
        let later = tenants::registered_at.lt(at).or(tenants::id.lt(id.0));
        rows = rows.filter(tenants::registered_at.le(at).and(later));
    }
    let rows =
        rows.order((tenants::registered_at.desc(), tenants::id.desc())).limit(query.limit.into());
    let rows: Vec<TenantRow> =
        PlannedAnew(rows).load(connection).await.map_err(|error| failure(&error))?;
    let tenants = rows.into_iter().map(Tenant::try_from).collect::<Result<_, _>>()?;
    records(connection, tenants, true).await
}

/// Lists licensed appliances that have not checked in since then.
pub(crate) async fn overdue(
    connection: &mut AsyncPgConnection,
    since: Timestamp,
    limit: u32,
) -> Result<Vec<OverdueAppliance>, StoreError> {
    let heard =
        || sql::<Timestamptz>("coalesce(appliances.last_check_in_at, appliances.registered_at)");
    let rows = appliances::table
        .inner_join(tenants::table.on(tenants::id.eq(appliances::tenant_id)))
        .filter(appliances::license_sub.is_not_null().and(appliances::revoked_at.is_null()))
        .filter(
            tenants::status
                .ne_all(TenantStatus::CLOSED.map(TenantStatus::as_str))
                .and(heard().lt(since)),
        )
        .order((heard(), appliances::tenant_id, appliances::id))
        .limit(limit.into())
        .select((TenantRow::as_select(), ApplianceRow::as_select()))
        .load::<(TenantRow, ApplianceRow)>(connection)
        .await
        .map_err(|error| failure(&error))?;
    let read = |(tenant, appliance)| {
        Ok(OverdueAppliance {
            tenant: Tenant::try_from(tenant)?,
            appliance: Appliance::try_from(appliance)?,
        })
    };
    rows.into_iter().map(read).collect()
}

/// A text as `LIKE` takes it literally.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_")
}

/// Whether any part of a name is quick to find, by an index that is whole; else only beginnings are
/// looked for, which an ordinary index serves.
async fn finds_parts(connection: &mut AsyncPgConnection) -> Result<bool, StoreError> {
    let state = migrations::search_state(connection).await.map_err(|error| failure(&error))?;
    Ok(state == Some(true))
}

/// A query that is planned each time it is asked. A plan that is kept has to fit every value: for a
/// search by part of a name, and for a filter that few rows pass, that is the wrong one.
struct PlannedAnew<Q>(Q);

impl<Q: QueryFragment<Pg>> QueryFragment<Pg> for PlannedAnew<Q> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.unsafe_to_cache_prepared();
        self.0.walk_ast(out)
    }
}

impl<Q> QueryId for PlannedAnew<Q> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<Q: Query> Query for PlannedAnew<Q> {
    type SqlType = Q::SqlType;
}

/// Hangs on each tenant what belongs to it.
async fn records(
    connection: &mut AsyncPgConnection,
    tenants: Vec<Tenant>,
    newest_code_only: bool,
) -> Result<Vec<TenantRecord>, StoreError> {
    let ids: Vec<Uuid> = tenants.iter().map(|tenant| tenant.id.0).collect();
    // All three are on their way together.
    let (mut first, mut second, mut third) = (&*connection, &*connection, &*connection);
    let entitlements = entitlements::table
        .filter(entitlements::tenant_id.eq_any(&ids))
        .order((entitlements::created_at, entitlements::id))
        .select(EntitlementRow::as_select())
        .load::<EntitlementRow>(&mut first);
    let appliances = appliances::table
        .filter(appliances::tenant_id.eq_any(&ids))
        .order((appliances::registered_at, appliances::id))
        .select(ApplianceRow::as_select())
        .load::<ApplianceRow>(&mut second);
    let codes = install_codes::table.filter(install_codes::tenant_id.eq_any(&ids));
    let newest_first =
        (install_codes::tenant_id, install_codes::issued_at.desc(), install_codes::id.desc());
    let codes = async {
        if newest_code_only {
            let install_codes_only = codes.filter(install_codes::kind.eq("install"));
            let is_unused =
                install_codes::consumed_at.is_null().and(install_codes::superseded_at.is_null());
            let newest = install_codes_only.distinct_on(install_codes::tenant_id).order((
                install_codes::tenant_id,
                is_unused.desc(),
                install_codes::issued_at.desc(),
                install_codes::id.desc(),
            ));
            newest.select(CodeRow::as_select()).load::<CodeRow>(&mut third).await
        } else {
            codes.order(newest_first).select(CodeRow::as_select()).load::<CodeRow>(&mut third).await
        }
    };
    let loaded = futures_util::future::try_join3(entitlements, codes, appliances).await;
    let (entitlements, codes, appliances) = loaded.map_err(|error| failure(&error))?;
    let mut entitlements: Groups<Entitlement> = by_tenant(entitlements, |row| row.tenant_id)?;
    let mut codes: Groups<InstallCode> = by_tenant(codes, |row| row.tenant_id)?;
    let mut appliances: Groups<Appliance> = by_tenant(appliances, |row| Some(row.tenant_id))?;
    let record = |tenant: Tenant| TenantRecord {
        entitlements: entitlements.remove(&tenant.id.0).unwrap_or_default(),
        codes: codes.remove(&tenant.id.0).unwrap_or_default(),
        appliances: appliances.remove(&tenant.id.0).unwrap_or_default(),
        tenant,
    };
    Ok(tenants.into_iter().map(record).collect())
}

type Groups<T> = HashMap<Uuid, Vec<T>>;

fn by_tenant<R, T: TryFrom<R, Error = StoreError>>(
    rows: Vec<R>,
    tenant: impl Fn(&R) -> Option<Uuid>,
) -> Result<Groups<T>, StoreError> {
    let mut grouped = Groups::new();
    for row in rows {
        if let Some(tenant) = tenant(&row) {
            grouped.entry(tenant).or_default().push(T::try_from(row)?);
        }
    }
    Ok(grouped)
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn a_search_takes_wildcards_literally() {
        for (text, pattern) in
            [("100%", "100\\%"), ("e_c", "e\\_c"), ("a\\b", "a\\\\b"), ("plain", "plain")]
        {
            assert_eq!(escaped(text), pattern);
        }
    }
}
