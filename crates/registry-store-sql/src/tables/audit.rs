//! Audit entries.

use registry_core::audit::{Action, Actor, AuditDetail, AuditEntry};
use registry_core::store::StoreError;

use crate::table::{Read, corrupt, number, table};
use crate::types::{SqlId, SqlTime};

table!(
    /// A row of `audit`.
    AuditRow of "audit", key ["id"] {
        id: SqlId,
        at: SqlTime,
        actor: String,
        source: String,
        action: String,
        tenant_id: Option<SqlId>,
        code_id: Option<SqlId>,
        mail_id: Option<SqlId>,
        detail: String,
        count: i32,
    }
);

impl TryFrom<&AuditEntry> for AuditRow {
    type Error = StoreError;

    fn try_from(entry: &AuditEntry) -> Read<Self> {
        Ok(Self {
            id: entry.id.into(),
            at: entry.at.into(),
            actor: entry.actor.name.clone(),
            source: entry.actor.source.clone(),
            action: entry.action.to_string(),
            tenant_id: entry.tenant_id.map(Into::into),
            code_id: entry.code_id.map(Into::into),
            mail_id: entry.mail_id.map(Into::into),
            detail: entry.detail.to_stored(),
            count: number(entry.count)?,
        })
    }
}

impl TryFrom<AuditRow> for AuditEntry {
    type Error = StoreError;

    fn try_from(row: AuditRow) -> Read<Self> {
        Ok(Self {
            id: row.id.into(),
            at: row.at.into(),
            actor: Actor { name: row.actor, source: row.source },
            action: Action::from_name(&row.action).ok_or_else(|| corrupt("action"))?,
            tenant_id: row.tenant_id.map(Into::into),
            code_id: row.code_id.map(Into::into),
            mail_id: row.mail_id.map(Into::into),
            detail: AuditDetail::from_stored(&row.detail),
            count: number(row.count)?,
        })
    }
}
