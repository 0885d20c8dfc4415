//! Lists and shows tenants: by key, never by offset.

use std::collections::HashMap;

use registry_core::appliance::Appliance;
use registry_core::clock::Timestamp;
use registry_core::entitlement::Entitlement;
use registry_core::id::{CodeId, TenantId};
use registry_core::install_code::InstallCode;
use registry_core::secret::CredentialDigest;
use registry_core::store::{
    CredentialFacts, OverdueAppliance, StoreError, TenantQuery, TenantRecord,
};
use registry_core::tenant::{Tenant, TenantStatus};

use super::{Script, Session, and_after, and_is, is_one_of};
use crate::kind::{self, CheckIn, Kind as _};
use crate::statement::{Dialect, Record, Statement};
use crate::table::{Part as _, Read};
use crate::tables::{ApplianceRow, CodeRow, EntitlementRow, TenantRow};
use crate::types::SqlId;
use crate::value::Value;

/// Lists the tenants that match a query.
pub struct ListTenants(pub TenantQuery);

impl Script for ListTenants {
    type Output = Vec<TenantRecord>;
    const IS_SNAPSHOT: bool = true;
    const IS_PLANNED_ANEW: bool = true;

    async fn run<S: Session>(&self, session: &mut S) -> Read<Vec<TenantRecord>> {
        let query = &self.0;
        let columns = TenantRow::columns("tenants");
        let mut rows = Statement::new(format!("SELECT {columns} FROM tenants WHERE 1 = 1"));
        rows = and_is(
            rows,
            "deployment",
            query.deployment.map(registry_core::tenant::DeploymentType::as_str),
        );
        rows =
            and_is(rows, "status", query.status.map(registry_core::tenant::TenantStatus::as_str));
        rows = and_is(
            rows,
            "edition",
            query.edition.as_ref().map(registry_core::edition::EditionName::as_str),
        );
        rows = and_is(
            rows,
            "product",
            query.product.as_ref().map(registry_core::text::ProductCode::as_str),
        );
        let contact = query.contact.as_ref().map(registry_core::text::EmailAddress::folded);
        rows = and_is(rows, "contact_email_folded", contact);
        if let Some(text) = &query.text {
            rows = match session.dialect() {
                Dialect::Sqlite => {
                    rows.sql(" AND instr(search_text, ").bind(text.as_str()).sql(") > 0")
                }
                Dialect::Postgres => search(rows, text, has_index_by_part(session).await?),
            };
        }
        rows = and_after(rows, ("registered_at", "id"), query.after.map(|it| (it.at, it.id)));
        let newest_first = " ORDER BY registered_at DESC, id DESC LIMIT ";
        let rows = rows.sql(newest_first).bind(i64::from(query.limit));
        let tenants = session.load::<TenantRow>(rows).await?;
        let tenants = tenants.into_iter().map(Tenant::try_from).collect::<Read<_>>()?;
        records(session, tenants, true).await
    }
}

/// Appends a search in PostgreSQL. Without an index for any part of a name, it finds only the
/// beginnings, for which an ordinary index suffices.
fn search<R>(rows: Statement<R>, text: &str, by_part: bool) -> Statement<R> {
    let text = escaped(text);
    if by_part {
        return rows.sql(" AND search_text LIKE ").bind(format!("%{text}%"));
    }
    let beginning = format!("{text}%");
    rows.sql(" AND (search_text LIKE ")
        .bind(beginning.clone())
        .sql(" OR contact_email_folded LIKE ")
        .bind(beginning)
        .sql(")")
}

/// Returns a text as `LIKE` takes it literally.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_")
}

/// Returns whether PostgreSQL has a complete index for searches by any part of a name.
async fn has_index_by_part<S: Session>(session: &mut S) -> Read<bool> {
    let complete = "SELECT count(*) FROM pg_index \
                    WHERE indexrelid = to_regclass('tenants_by_part') AND indisvalid";
    Ok(session.load::<i64>(Statement::new(complete)).await? == [1])
}

/// Shows one tenant with everything that belongs to it.
pub struct ShowTenant(pub TenantId);

impl Script for ShowTenant {
    type Output = Option<TenantRecord>;
    const IS_SNAPSHOT: bool = true;

    async fn run<S: Session>(&self, session: &mut S) -> Read<Option<TenantRecord>> {
        let columns = TenantRow::columns("tenants");
        let row = Statement::new(format!("SELECT {columns} FROM tenants WHERE id = "));
        let tenants = session.load::<TenantRow>(row.bind(self.0)).await?;
        let tenants = tenants.into_iter().map(Tenant::try_from).collect::<Read<_>>()?;
        Ok(records(session, tenants, false).await?.pop())
    }
}

fn of_tenants<R: Record>(
    session: &impl Session,
    columns: &str,
    table: &str,
    tenants: &[Tenant],
) -> Statement<R> {
    let rows = Statement::new(format!("SELECT {columns} FROM {table} WHERE "));
    let ids = tenants.iter().map(|tenant| Value::from(tenant.id));
    is_one_of(rows, session.dialect(), "tenant_id", ids)
}

/// Loads what belongs to each tenant. With `newest_code_only`, each record has one install code:
/// the unused one, or else the newest.
async fn records<S: Session>(
    session: &mut S,
    tenants: Vec<Tenant>,
    newest_code_only: bool,
) -> Read<Vec<TenantRecord>> {
    if tenants.is_empty() {
        return Ok(Vec::new());
    }
    let columns = EntitlementRow::columns("entitlements");
    let entitlements = of_tenants::<EntitlementRow>(session, &columns, "entitlements", &tenants)
        .sql(" ORDER BY created_at, id");
    let columns = ApplianceRow::columns("appliances");
    let appliances = of_tenants::<ApplianceRow>(session, &columns, "appliances", &tenants)
        .sql(" ORDER BY registered_at, id");
    let columns = CodeRow::columns("install_codes");
    let codes = if newest_code_only {
        let ranked = "(SELECT *, row_number() OVER (PARTITION BY tenant_id ORDER BY \
                      CASE WHEN consumed_at IS NULL AND superseded_at IS NULL THEN 0 ELSE 1 END, \
                      issued_at DESC, id DESC) AS place FROM install_codes WHERE kind = 'install' AND ";
        let rows = Statement::new(format!("SELECT {columns} FROM {ranked}"));
        let ids = tenants.iter().map(|tenant| Value::from(tenant.id));
        is_one_of(rows, session.dialect(), "tenant_id", ids)
            .sql(") AS install_codes WHERE place = 1")
    } else {
        of_tenants::<CodeRow>(session, &columns, "install_codes", &tenants)
            .sql(" ORDER BY issued_at DESC, id DESC")
    };
    let loaded = session.load_three((entitlements, codes, appliances)).await?;
    let mut entitlements: Groups<Entitlement> = by_tenant(loaded.0, |row| row.tenant_id)?;
    let mut codes: Groups<InstallCode> = by_tenant(loaded.1, |row| row.tenant_id)?;
    let mut appliances: Groups<Appliance> = by_tenant(loaded.2, |row| Some(row.tenant_id))?;
    let record = |tenant: Tenant| TenantRecord {
        entitlements: entitlements.remove(&tenant.id.into()).unwrap_or_default(),
        codes: codes.remove(&tenant.id.into()).unwrap_or_default(),
        appliances: appliances.remove(&tenant.id.into()).unwrap_or_default(),
        tenant,
    };
    Ok(tenants.into_iter().map(record).collect())
}

type Groups<T> = HashMap<SqlId, Vec<T>>;

fn by_tenant<R, T: TryFrom<R, Error = StoreError>>(
    rows: Vec<R>,
    tenant: impl Fn(&R) -> Option<SqlId>,
) -> Read<Groups<T>> {
    let mut grouped = Groups::new();
    for row in rows {
        if let Some(tenant) = tenant(&row) {
            grouped.entry(tenant).or_default().push(T::try_from(row)?);
        }
    }
    Ok(grouped)
}

/// Lists licensed appliances that have not checked in since a time.
pub struct OverdueAppliances {
    /// The time.
    pub since: Timestamp,
    /// Maximum number of appliances.
    pub limit: u32,
}

type Overdue = (TenantRow, ApplianceRow);

impl Record for Overdue {
    type Sql = (<TenantRow as Record>::Sql, <ApplianceRow as Record>::Sql);
}

impl Script for OverdueAppliances {
    type Output = Vec<OverdueAppliance>;
    const IS_PLANNED_ANEW: bool = true;

    async fn run<S: Session>(&self, session: &mut S) -> Read<Vec<OverdueAppliance>> {
        let last_seen = "coalesce(appliances.last_check_in_at, appliances.registered_at)";
        let closed = TenantStatus::CLOSED.map(|status| format!("'{status}'")).join(", ");
        let rows = Statement::<Overdue>::new(format!(
            "SELECT {}, {} FROM appliances JOIN tenants ON tenants.id = appliances.tenant_id \
             WHERE appliances.license_sub IS NOT NULL AND appliances.revoked_at IS NULL \
             AND tenants.status NOT IN ({closed}) AND {last_seen} < ",
            TenantRow::columns("tenants"),
            ApplianceRow::columns("appliances"),
        ));
        let order = format!(" ORDER BY {last_seen}, appliances.tenant_id, appliances.id LIMIT ");
        let rows = rows.bind(self.since).sql(order).bind(i64::from(self.limit));
        let overdue = session.load(rows).await?.into_iter().map(|(tenant, appliance)| {
            Ok(OverdueAppliance { tenant: tenant.try_into()?, appliance: appliance.try_into()? })
        });
        overdue.collect()
    }
}

/// Shows an install code with its tenant.
pub struct ShowCode(pub CodeId);

type CodeOfTenant = (CodeRow, TenantRow);

impl Record for CodeOfTenant {
    type Sql = (<CodeRow as Record>::Sql, <TenantRow as Record>::Sql);
}

impl Script for ShowCode {
    type Output = Option<(InstallCode, Tenant)>;

    async fn run<S: Session>(&self, session: &mut S) -> Read<Self::Output> {
        let row = Statement::<CodeOfTenant>::new(format!(
            "SELECT {}, {} FROM install_codes JOIN tenants ON tenants.id = install_codes.tenant_id \
             WHERE install_codes.id = ",
            CodeRow::columns("install_codes"),
            TenantRow::columns("tenants"),
        ));
        let found = session.load(row.bind(self.0)).await?.pop();
        found.map(|(code, tenant)| Ok((code.try_into()?, tenant.try_into()?))).transpose()
    }
}

/// Shows a credential with its appliance, tenant and entitlement.
pub struct ShowCredential(pub CredentialDigest);

impl Script for ShowCredential {
    type Output = Option<CredentialFacts>;

    async fn run<S: Session>(&self, session: &mut S) -> Read<Option<CredentialFacts>> {
        let key = CheckIn { digest: self.0, at: None };
        let found = session.load(kind::load::<CheckIn>(session.dialect(), &key.keys())).await?;
        key.facts(found)
    }
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn search_takes_wildcards_literally() {
        for (text, pattern) in
            [("100%", "100\\%"), ("e_c", "e\\_c"), ("a\\b", "a\\\\b"), ("plain", "plain")]
        {
            assert_eq!(escaped(text), pattern);
        }
    }
}
