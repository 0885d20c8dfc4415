//! A database that was restored from a backup. A code that was live in the backup may have been
//! redeemed since: then it would have two winners, on two machines.

use crate::audit::{Action, Actor, AuditDetail};
use crate::id::{CodeId, TenantId};
use crate::registry::retention::BATCH;
use crate::registry::{Error, Registry};

/// A code that was superseded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SupersededCode {
    /// The code.
    pub id: CodeId,
    /// Its last four characters.
    pub last_four: String,
    /// Its tenant. An activation code may have none.
    pub tenant_id: Option<TenantId>,
    /// Name of the tenant's company.
    pub company_name: Option<String>,
}

impl Registry {
    /// Supersedes all unused codes, with an audit entry for each, and returns them. Their customers
    /// need re-issued codes.
    pub async fn codes_supersede_unused(&self, actor: Actor) -> Result<Vec<SupersededCode>, Error> {
        let mut superseded = Vec::new();
        loop {
            let codes = self.ports.store.supersede_unused_codes(self.now(), BATCH).await?;
            if codes.is_empty() {
                return Ok(superseded);
            }
            for code in codes {
                let mut change = self.change_context(actor.clone());
                let detail = AuditDetail::reason("restored");
                let mut entry = change.audit(Action::CodeSuperseded, code.tenant_id, detail);
                entry.code_id = Some(code.id);
                self.ports.store.audit_count(entry).await?;
                let owner = self.ports.store.code_show(code.id).await?.map(|(_, tenant)| tenant);
                superseded.push(SupersededCode {
                    id: code.id,
                    last_four: code.last_four,
                    tenant_id: code.tenant_id,
                    company_name: owner.map(|tenant| tenant.company_name.to_string()),
                });
            }
        }
    }
}
