//! The audit.

use registry_core::audit::{Action, AuditEntry};
use registry_core::store::{AuditQuery, StoreError};

use super::{Read, Script, Session, and_after, and_is};
use crate::statement::Statement;
use crate::table::{Part as _, Table as _};

/// Lists the audit entries that match a query.
pub struct ListAudit(pub AuditQuery);

impl Script for ListAudit {
    type Output = Vec<AuditEntry>;
    const IS_PLANNED_ANEW: bool = true;

    async fn run<S: Session>(&self, session: &mut S) -> Read<Vec<AuditEntry>> {
        let AuditQuery { tenant, action, limit, after } = self.0;
        let columns = AuditEntry::columns("audit");
        let rows = Statement::new(format!("SELECT {columns} FROM audit WHERE 1 = 1"));
        let rows = and_is(rows, "tenant_id", tenant);
        let rows = and_is(rows, "action", action.map(Action::as_str));
        let rows = and_after(rows, ("at", "id"), after.map(|it| (it.at, it.id)));
        let rows = rows.sql(" ORDER BY at DESC, id DESC LIMIT ").bind(i64::from(limit));
        session.load(rows).await
    }
}

/// Adds one to the count of an entry with the same key, or inserts it.
pub struct CountAudit(pub AuditEntry);

impl Script for CountAudit {
    type Output = ();

    async fn run<S: Session>(&self, session: &mut S) -> Read<()> {
        let same = match self.0.action {
            // Indexes of their own, which the previous release uses as well.
            Action::DownloadStarted | Action::DownloadRefused => {
                "(code_id, source, action, at) \
                 WHERE action IN ('download_started', 'download_refused')"
            }
            Action::UnknownCodes => "(source, at) WHERE action = 'unknown_codes'",
            _ => "(count_key) WHERE count_key IS NOT NULL",
        };
        let names = AuditEntry::TABLE.names().collect::<Vec<_>>().join(", ");
        let mut count = Statement::new(format!("INSERT INTO audit ({names}) VALUES ("));
        let values = self.0.values().map_err(|error| StoreError::Corrupt(error.to_string()))?;
        for (position, value) in values.into_iter().enumerate() {
            count = count.sql(if position == 0 { "" } else { ", " }).bind(value);
        }
        let count = count.sql(format!(
            ") ON CONFLICT {same} DO UPDATE SET count = audit.count + excluded.count"
        ));
        session.execute(count).await.map(drop)
    }
}
