//! Lists and shows tenants: by key, never by offset.

use registry_core::appliance::Appliance;
use registry_core::clock::Timestamp;
use registry_core::edition::EditionName;
use registry_core::entitlement::Entitlement;
use registry_core::id::{CodeId, TenantId};
use registry_core::install_code::InstallCode;
use registry_core::secret::CredentialDigest;
use registry_core::store::{
    CredentialFacts, OverdueAppliance, Replay, ReplayRecord, TenantQuery, TenantRecord,
};
use registry_core::tenant::{DeploymentType, Tenant, TenantStatus};
use registry_core::text::{EmailAddress, ProductCode};

use super::{Read, Script, Session, and_after, and_is, is_one_of};
use crate::kind::{self, CheckIn, Kind as _};
use crate::statement::{Dialect, Statement};
use crate::table::{Part as _, Table, parts};

/// Lists the tenants that match a query.
pub struct ListTenants(pub TenantQuery);

impl Script for ListTenants {
    type Output = Vec<TenantRecord>;
    const IS_SNAPSHOT: bool = true;
    const IS_PLANNED_ANEW: bool = true;

    async fn run<S: Session>(&self, session: &mut S) -> Read<Vec<TenantRecord>> {
        let query = &self.0;
        let columns = Tenant::columns("tenants");
        let mut rows = Statement::new(format!("SELECT {columns} FROM tenants WHERE 1 = 1"));
        rows = and_is(rows, "deployment", query.deployment.map(DeploymentType::as_str));
        rows = and_is(rows, "status", query.status.map(TenantStatus::as_str));
        rows = and_is(rows, "edition", query.edition.as_ref().map(EditionName::as_str));
        rows = and_is(rows, "product", query.product.as_ref().map(ProductCode::as_str));
        let contact = query.contact.as_ref().map(EmailAddress::folded);
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
        let tenants = session.load(rows).await?;
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
        let columns = Tenant::columns("tenants");
        let row = Statement::new(format!("SELECT {columns} FROM tenants WHERE id = "));
        let tenants = session.load(row.bind(self.0)).await?;
        Ok(records(session, tenants, false).await?.pop())
    }
}

/// Selects the rows of a table, or of a selection in its place, that belong to tenants.
fn of_tenants<T: Table>(session: &impl Session, from: &str, tenants: &[Tenant]) -> Statement<T> {
    let columns = T::columns(T::TABLE.name);
    let rows = Statement::new(format!("SELECT {columns} FROM {from} WHERE "));
    let ids = tenants.iter().map(|tenant| tenant.id.into());
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
    let entitlements =
        of_tenants(session, "entitlements", &tenants).sql(" ORDER BY created_at, id");
    let appliances = of_tenants(session, "appliances", &tenants).sql(" ORDER BY registered_at, id");
    let codes = if newest_code_only {
        let ranked = "(SELECT *, row_number() OVER (PARTITION BY tenant_id ORDER BY \
                      CASE WHEN consumed_at IS NULL AND superseded_at IS NULL THEN 0 ELSE 1 END, \
                      issued_at DESC, id DESC) AS place FROM install_codes WHERE kind = 'install' AND ";
        let columns = InstallCode::columns("install_codes");
        let rows = Statement::new(format!("SELECT {columns} FROM {ranked}"));
        let ids = tenants.iter().map(|tenant| tenant.id.into());
        is_one_of(rows, session.dialect(), "tenant_id", ids)
            .sql(") AS install_codes WHERE place = 1")
    } else {
        of_tenants(session, "install_codes", &tenants).sql(" ORDER BY issued_at DESC, id DESC")
    };
    let loaded = session.load_three((entitlements, codes, appliances)).await?;
    let (mut entitlements, mut codes, mut appliances) = loaded;
    let record = |tenant: Tenant| TenantRecord {
        entitlements: taken(&mut entitlements, |it: &Entitlement| it.tenant_id == Some(tenant.id)),
        codes: taken(&mut codes, |it: &InstallCode| it.tenant_id == Some(tenant.id)),
        appliances: taken(&mut appliances, |it: &Appliance| it.tenant_id == tenant.id),
        tenant,
    };
    Ok(tenants.into_iter().map(record).collect())
}

/// Removes the selected rows, and returns them.
fn taken<T>(rows: &mut Vec<T>, is_selected: impl Fn(&T) -> bool) -> Vec<T> {
    rows.extract_if(.., |row| is_selected(row)).collect()
}

/// Lists licensed appliances that have not checked in since a time.
pub struct OverdueAppliances {
    /// The time.
    pub since: Timestamp,
    /// Maximum number of appliances.
    pub limit: u32,
}

parts!(
    /// An appliance with its tenant.
    Overdue { tenants: Tenant, appliances: Appliance }
);

impl Script for OverdueAppliances {
    type Output = Vec<OverdueAppliance>;
    const IS_PLANNED_ANEW: bool = true;

    async fn run<S: Session>(&self, session: &mut S) -> Read<Vec<OverdueAppliance>> {
        let last_seen = "coalesce(appliances.last_check_in_at, appliances.registered_at)";
        let closed = TenantStatus::CLOSED.map(|status| format!("'{status}'")).join(", ");
        let rows = Statement::<Overdue>::new(format!(
            "SELECT {} FROM appliances JOIN tenants ON tenants.id = appliances.tenant_id \
             WHERE appliances.license_sub IS NOT NULL AND appliances.revoked_at IS NULL \
             AND tenants.status NOT IN ({closed}) AND {last_seen} < ",
            Overdue::columns(),
        ));
        let order = format!(" ORDER BY {last_seen}, appliances.tenant_id, appliances.id LIMIT ");
        let rows = rows.bind(self.since).sql(order).bind(i64::from(self.limit));
        let overdue = session.load(rows).await?.into_iter();
        let listed =
            overdue.map(|it| OverdueAppliance { tenant: it.tenants, appliance: it.appliances });
        Ok(listed.collect())
    }
}

/// Shows an install code with its tenant.
pub struct ShowCode(pub CodeId);

parts!(
    /// A code with its tenant.
    CodeOfTenant { install_codes: InstallCode, tenants: Tenant }
);

impl Script for ShowCode {
    type Output = Option<(InstallCode, Tenant)>;

    async fn run<S: Session>(&self, session: &mut S) -> Read<Self::Output> {
        let row = Statement::<CodeOfTenant>::new(format!(
            "SELECT {} FROM install_codes JOIN tenants ON tenants.id = install_codes.tenant_id \
             WHERE install_codes.id = ",
            CodeOfTenant::columns(),
        ));
        let found = session.load(row.bind(self.0)).await?.pop();
        Ok(found.map(|it| (it.install_codes, it.tenants)))
    }
}

/// Shows the record of a response, even if it has expired.
pub struct ShowReplay(pub Replay);

impl Script for ShowReplay {
    type Output = Option<ReplayRecord>;

    async fn run<S: Session>(&self, session: &mut S) -> Read<Option<ReplayRecord>> {
        let columns = ReplayRecord::columns("replays");
        let row =
            Statement::<ReplayRecord>::new(format!("SELECT {columns} FROM replays WHERE scope = "));
        let row = row.bind(self.0.scope.as_str()).sql(" AND key_digest = ").bind(self.0.key_digest);
        Ok(session.load(row).await?.pop())
    }
}

/// Returns the tenant of the entitlement whose licenses have this `sub`.
pub struct LicenseTenant(pub String);

impl Script for LicenseTenant {
    type Output = Option<TenantId>;

    async fn run<S: Session>(&self, session: &mut S) -> Read<Option<TenantId>> {
        let columns = Entitlement::columns("entitlements");
        let row = Statement::<Entitlement>::new(format!(
            "SELECT {columns} FROM entitlements WHERE license_sub = "
        ));
        let found = session.load(row.bind(self.0.as_str())).await?.pop();
        Ok(found.and_then(|it| it.tenant_id))
    }
}

/// Shows a credential with its appliance, tenant and entitlement.
pub struct ShowCredential(pub CredentialDigest);

impl Script for ShowCredential {
    type Output = Option<CredentialFacts>;

    async fn run<S: Session>(&self, session: &mut S) -> Read<Option<CredentialFacts>> {
        let key = CheckIn { digest: self.0, at: None };
        let found = session.load(kind::load::<CheckIn>(session.dialect(), &key.keys())).await?;
        Ok(key.facts(found))
    }
}
