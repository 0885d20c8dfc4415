//! Changes that operators make to a tenant and its appliances: suspend, resume, cancel, revoke.

use std::sync::Arc;

use crate::appliance::Appliance;
use crate::audit::{Action, Actor, AuditDetail};
use crate::id::TenantId;
use crate::refusal::Refusal;
use crate::registry::{ChangeContext, Error, Registry, refuse};
use crate::store::{Decision, TenantFacts, TenantKey, Write};
use crate::tenant::{Tenant, TenantStatus};
use crate::text::ApplianceId;

/// A change of a tenant's status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TenantEdit {
    /// Suspend the tenant: its codes are not redeemed or re-issued, and check-ins return `revoked`.
    Suspend,
    /// Restore the status from before the tenant was suspended or cancelled.
    Resume,
    /// Cancel the tenant: like a suspension, and the tenant is skipped when a contact selects the
    /// tenant for a re-issue.
    Cancel,
}

impl Registry {
    /// Suspends, resumes or cancels a tenant. Repeating a change writes nothing and returns the
    /// same tenant.
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

    /// Revokes an appliance and all of its credentials. Repeating the call writes nothing.
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
    // A tenant that was active before becomes active again at its next check-in.
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
        return Decision::commit(vec![], Ok(before.clone()));
    }
    let after = Tenant { status, updated_at: change.now, ..before.clone() };
    let entry = change.audit(action, Some(after.id), AuditDetail::value(before.status.as_str()));
    let writes = vec![Write::UpdateTenant(Box::new(after.clone())), Write::audit(entry)];
    Decision::commit(writes, Ok(after))
}

fn decide_revoke(mut change: ChangeContext, facts: &TenantFacts) -> Decision<Tenant> {
    let Some(tenant) = &facts.tenant else { return refuse(Refusal::TenantNotFound, None) };
    let Some(appliance) = &facts.appliance else { return refuse(Refusal::ApplianceNotFound, None) };
    let mut writes = Vec::new();
    if appliance.revoked_at.is_none() {
        let revoked = Appliance { revoked_at: Some(change.now), ..appliance.clone() };
        let entry = change.audit(
            Action::ApplianceRevoked,
            Some(tenant.id),
            AuditDetail::appliance(&revoked.id),
        );
        // The credentials stay stored and are refused because the appliance is revoked. This way
        // the audit shows a revoked appliance, and not an unknown credential.
        writes = vec![Write::PutAppliance(Box::new(revoked)), Write::audit(entry)];
    }
    Decision::commit(writes, Ok(tenant.clone()))
}
