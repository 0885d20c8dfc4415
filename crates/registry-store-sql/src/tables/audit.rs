use registry_core::audit::{Action, Actor, AuditDetail, AuditEntry};
use registry_core::clock::Timestamp;
use registry_core::id::{AuditId, CodeId, MailId, TenantId};

use crate::table::table;

table!(
    AuditEntry of "audit", key ["id"] {
        id: AuditId,
        at: Timestamp,
        action: Action,
        tenant_id: Option<TenantId>,
        code_id: Option<CodeId>,
        mail_id: Option<MailId>,
        detail: AuditDetail,
        count: u32,
    } and |entry| {
        actor: String = entry.actor.name,
        source: String = entry.actor.source,
        // Of the others, an index of their own decides: two would race.
        count_key: Option<[u8; 32]> = entry.count_key().filter(|_| !has_own_index(entry.action)),
    } as {
        actor: Actor { name: actor, source },
    }
);

/// True for the counted actions of the first release, whose rows are found by other columns.
fn has_own_index(action: Action) -> bool {
    matches!(action, Action::UnknownCodes | Action::DownloadStarted | Action::DownloadRefused)
}
