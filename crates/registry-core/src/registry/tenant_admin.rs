//! What operators do to a tenant and its appliances: suspend, resume, cancel, revoke.

use std::sync::Arc;

use crate::appliance::Appliance;
use crate::audit::{Action, Actor};
use crate::id::TenantId;
use crate::refusal::Refusal;
use crate::registry::{ChangeContext, Error, Registry, refuse};
use crate::store::{Decision, TenantFacts, TenantKey, Write};
use crate::tenant::{Tenant, TenantStatus};
use crate::text::ApplianceId;

/// What becomes of a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TenantEdit {
    /// Put on hold: no code is redeemed or re-issued, check-ins answer `revoked`.
    Suspend,
    /// As it was before it was suspended or cancelled.
    Resume,
    /// Ended: as suspended, and passed over where a contact is asked for.
    Cancel,
}

impl Registry {
    /// Suspends, resumes or cancels a tenant. Repeating it changes nothing, and answers the same.
    pub async fn tenant_edit(
        &self,
        id: TenantId,
        edit: TenantEdit,
        actor: Actor,
    ) -> Result<Tenant, Error> {
        let change = self.change_context(actor);
        let decide = Arc::new(move |facts: &TenantFacts| decide(change.clone(), edit, facts));
        let key = TenantKey { id, appliance: None };
        self.ports.store.tenant_change(key, decide).await?.into_result()
    }

    /// Revokes an appliance and all of its credentials. Repeating it changes nothing.
    pub async fn appliance_revoke(
        &self,
        id: TenantId,
        appliance: ApplianceId,
        actor: Actor,
    ) -> Result<Tenant, Error> {
        let change = self.change_context(actor);
        let decide = Arc::new(move |facts: &TenantFacts| decide_revoke(change.clone(), facts));
        let key = TenantKey { id, appliance: Some(appliance) };
        self.ports.store.tenant_change(key, decide).await?.into_result()
    }
}

fn decide(mut change: ChangeContext, edit: TenantEdit, facts: &TenantFacts) -> Decision<Tenant> {
    let Some(before) = &facts.tenant else { return refuse(Refusal::TenantNotFound, None) };
    // A tenant that was active before is active again at its next check-in.
    let open = if before.installed_at.is_some() {
        TenantStatus::Installed
    } else {
        TenantStatus::Registered
    };
    let (status, action) = match edit {
        TenantEdit::Suspend => (TenantStatus::Suspended, Action::TenantSuspended),
        TenantEdit::Cancel => (TenantStatus::Cancelled, Action::TenantCancelled),
        TenantEdit::Resume if before.status.is_closed() => (open, Action::TenantResumed),
        TenantEdit::Resume => (before.status, Action::TenantResumed),
    };
    if status == before.status {
        return Decision::Commit { writes: vec![], outcome: Ok(before.clone()) };
    }
    let after = Tenant { status, updated_at: change.now, ..before.clone() };
    let entry = change.audit(action, Some(after.id), before.status.as_str());
    let writes = vec![Write::PutTenant(Box::new(after.clone())), Write::audit(entry)];
    Decision::Commit { writes, outcome: Ok(after) }
}

fn decide_revoke(mut change: ChangeContext, facts: &TenantFacts) -> Decision<Tenant> {
    let Some(tenant) = &facts.tenant else { return refuse(Refusal::TenantNotFound, None) };
    let Some(appliance) = &facts.appliance else { return refuse(Refusal::ApplianceNotFound, None) };
    let mut writes = Vec::new();
    if appliance.revoked_at.is_none() {
        let revoked = Appliance { revoked_at: Some(change.now), ..appliance.clone() };
        let entry = change.audit(Action::ApplianceRevoked, Some(tenant.id), revoked.id.as_str());
        // Its credentials stay, and are refused because of it: so the refusal can be told from a
        // guess in the audit.
        writes = vec![Write::PutAppliance(Box::new(revoked)), Write::audit(entry)];
    }
    Decision::Commit { writes, outcome: Ok(tenant.clone()) }
}
