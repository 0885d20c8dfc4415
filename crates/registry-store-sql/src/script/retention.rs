//! Rows that are deleted some time after their end.

use registry_core::clock::Timestamp;
use registry_core::entropy::uuid_floor;
use registry_core::install_code::InstallCode;
use registry_core::store::RetentionKind;
use uuid::Uuid;

use super::{Read, Script, Session, is_one_of};
use crate::statement::{Dialect, Statement};
use crate::table::Part as _;
use crate::value::Value;

/// Counts the rows of a kind that ended before a time.
pub struct CountExpired {
    /// The kind.
    pub kind: RetentionKind,
    /// The time.
    pub before: Timestamp,
}

/// Deletes rows of a kind that ended before a time.
pub struct DeleteExpired {
    /// The kind.
    pub kind: RetentionKind,
    /// The time.
    pub before: Timestamp,
    /// Maximum number of rows.
    pub limit: u32,
}

/// Returns the table of a kind, and the columns of its key.
fn table(kind: RetentionKind) -> (&'static str, &'static str) {
    match kind {
        RetentionKind::Replays => ("replays", "scope, key_digest"),
        RetentionKind::Mails => ("mails", "id"),
        RetentionKind::Codes => ("install_codes", "id"),
        RetentionKind::Audit => ("audit", "id"),
        RetentionKind::SignIns => ("sign_ins", "digest"),
        RetentionKind::UnusedTenants => ("tenants", "id"),
    }
}

/// Appends the condition that a row has ended. Ids are in order of time, so the key of a table
/// finds old rows.
fn and_ended<R>(rows: Statement<R>, kind: RetentionKind, before: Timestamp) -> Statement<R> {
    let by_id = |rows: Statement<R>| rows.sql("id < ").bind(uuid_floor(before));
    match kind {
        RetentionKind::Replays | RetentionKind::SignIns => rows.sql("expires_at < ").bind(before),
        RetentionKind::Codes => rows.sql("consumed_at IS NULL AND expires_at < ").bind(before),
        RetentionKind::Mails => {
            by_id(rows).sql(" AND state <> 'queued' AND settled_at < ").bind(before)
        }
        RetentionKind::Audit => by_id(rows).sql(" AND at < ").bind(before),
        RetentionKind::UnusedTenants => rows
            .sql("origin = 'sign_up' AND status = 'registered' AND registered_at < ")
            .bind(before)
            .sql(
                " AND NOT EXISTS (SELECT 1 FROM entitlements \
                 WHERE entitlements.tenant_id = tenants.id) \
                 AND NOT EXISTS (SELECT 1 FROM install_codes \
                 WHERE install_codes.tenant_id = tenants.id \
                 AND (consumed_at IS NOT NULL OR expires_at >= ",
            )
            .bind(before)
            .sql("))"),
    }
}

impl Script for CountExpired {
    type Output = u64;

    async fn run<S: Session>(&self, session: &mut S) -> Read<u64> {
        let (table, _) = table(self.kind);
        let rows = Statement::new(format!("SELECT count(*) FROM {table} WHERE "));
        let count = session.load::<i64>(and_ended(rows, self.kind, self.before)).await?;
        Ok(count.into_iter().sum::<i64>().unsigned_abs())
    }
}

impl Script for DeleteExpired {
    type Output = u64;

    /// Passes over rows that other transactions hold, so that two processes share the work. The
    /// selection is materialized: a plan that ran it again and again would exceed the limit.
    async fn run<S: Session>(&self, session: &mut S) -> Read<u64> {
        if self.kind == RetentionKind::UnusedTenants {
            return self.delete_tenants(session).await;
        }
        let (table, key) = table(self.kind);
        let skip = match session.dialect() {
            Dialect::Postgres => " FOR UPDATE SKIP LOCKED",
            Dialect::Sqlite => "",
        };
        let expired = format!("WITH expired AS MATERIALIZED (SELECT {key} FROM {table} WHERE ");
        let delete = and_ended(Statement::new(expired), self.kind, self.before)
            .sql(" LIMIT ")
            .bind(i64::from(self.limit))
            .sql(format!(
                "{skip}) DELETE FROM {table} WHERE ({key}) IN (SELECT {key} FROM expired)"
            ));
        session.execute(delete).await
    }
}

impl DeleteExpired {
    /// Deletes tenants, after their mails and codes. A tenant that got another code meanwhile stays.
    async fn delete_tenants<S: Session>(&self, session: &mut S) -> Read<u64> {
        let ended = Statement::<(i64, Option<Uuid>)>::new(
            "SELECT CAST(1 AS BIGINT), id FROM tenants WHERE ",
        );
        let ended = and_ended(ended, self.kind, self.before).sql(" LIMIT ");
        let ended = session.load(ended.bind(i64::from(self.limit))).await?;
        let ids: Vec<Uuid> = ended.into_iter().filter_map(|(_, id)| id).collect();
        if ids.is_empty() {
            return Ok(0);
        }
        let values = || ids.iter().map(|id| Value::from(*id));
        let dialect = session.dialect();
        let mails = Statement::new("DELETE FROM mails WHERE ");
        session.execute(is_one_of(mails, dialect, "tenant_id", values())).await?;
        let codes =
            Statement::new("DELETE FROM install_codes WHERE consumed_at IS NULL AND expires_at < ");
        let codes = codes.bind(self.before).sql(" AND ");
        session.execute(is_one_of(codes, dialect, "tenant_id", values())).await?;
        let tenants =
            and_ended(Statement::new("DELETE FROM tenants WHERE "), self.kind, self.before);
        session.execute(is_one_of(tenants.sql(" AND "), dialect, "id", values())).await
    }
}

/// Supersedes unused codes.
pub struct SupersedeUnusedCodes {
    /// The time.
    pub at: Timestamp,
    /// Maximum number of codes.
    pub limit: u32,
}

impl Script for SupersedeUnusedCodes {
    type Output = Vec<InstallCode>;

    async fn run<S: Session>(&self, session: &mut S) -> Read<Vec<InstallCode>> {
        let supersede = Statement::new("UPDATE install_codes SET superseded_at = ")
            .bind(self.at)
            .sql(
                " WHERE id IN (SELECT id FROM install_codes \
                 WHERE consumed_at IS NULL AND superseded_at IS NULL LIMIT ",
            )
            .bind(i64::from(self.limit))
            .sql(") RETURNING ")
            .sql(InstallCode::columns("install_codes"));
        session.load(supersede).await
    }
}
