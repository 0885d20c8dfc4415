//! Changes of an entitlement by an operator or service: revoke it, restore it, change its seats.

use std::sync::Arc;

use crate::audit::{Action, Actor, AuditDetail};
use crate::entitlement::Entitlement;
use crate::refusal::Refusal;
use crate::registry::idempotency::IdempotencyKey;
use crate::registry::{ChangeContext, Error, Registry, Settings, refuse};
use crate::results::EntitlementChanged;
use crate::store::{Decision, EntitlementFacts, EntitlementKey, EntitlementSelector, Write};
use crate::tenant::Tenant;

/// A change of an entitlement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntitlementEdit {
    /// The entitlement ends.
    Revoke,
    /// A revoked entitlement becomes active again.
    Restore,
    /// New number of seats; `None` means unlimited.
    Seats(Option<u32>),
    /// The entitlement leaves its tenant, which becomes a free one again: an activation code that
    /// was not bound had named a tenant of somebody else.
    Unbind,
}

impl Registry {
    /// Returns an entitlement.
    pub async fn entitlement_show(
        &self,
        selector: EntitlementSelector,
    ) -> Result<Entitlement, Error> {
        let show = |facts: &EntitlementFacts| match facts.entitlement.clone() {
            None => refuse(Refusal::EntitlementNotFound, None),
            Some(entitlement) => {
                let unchanged = EntitlementChanged { entitlement, license: None, code: None };
                Decision::commit(vec![], Ok(unchanged))
            }
        };
        let key = EntitlementKey { selector, tenant_id: None };
        let unchanged =
            self.ports.store.entitlement_change(key, None, Arc::new(show)).await?.into_result()?;
        Ok(unchanged.entitlement)
    }

    /// Changes an entitlement. Repeating a change writes nothing and returns the same entitlement.
    pub async fn entitlement_edit(
        &self,
        selector: EntitlementSelector,
        edit: EntitlementEdit,
        key: Option<IdempotencyKey>,
        actor: Actor,
    ) -> Result<Entitlement, Error> {
        let change = self.change_context(actor);
        let asked = change.clone();
        let settings = self.settings.clone();
        let decide = Arc::new(move |facts: &EntitlementFacts| {
            decide(change.clone(), edit, &settings, facts)
        });
        let (entitlement, store) =
            (EntitlementKey { selector, tenant_id: None }, &self.ports.store);
        let changed = self.idempotent(key, "", &asked, decide, |replay, decide| {
            store.entitlement_change(entitlement, replay, decide)
        });
        Ok(changed.await?.entitlement)
    }
}

fn decide(
    mut change: ChangeContext,
    edit: EntitlementEdit,
    settings: &Settings,
    facts: &EntitlementFacts,
) -> Decision<EntitlementChanged> {
    let Some(before) = &facts.entitlement else {
        return refuse(Refusal::EntitlementNotFound, None);
    };
    let other = facts.tenant_entitlement.as_ref().filter(|other| other.id != before.id);
    if edit == EntitlementEdit::Restore && other.is_some() {
        let refusal = Refusal::AlreadyEntitled;
        let entry = change.audit(
            Action::EntitlementRefused,
            before.tenant_id,
            AuditDetail::reason(refusal.reason()),
        );
        return refuse(refusal, Some(entry));
    }
    let (action, after) = match edit {
        EntitlementEdit::Revoke => {
            let since = before.revoked_at.unwrap_or(change.now);
            (Action::EntitlementRevoked, Entitlement { revoked_at: Some(since), ..before.clone() })
        }
        EntitlementEdit::Restore => {
            (Action::EntitlementRestored, Entitlement { revoked_at: None, ..before.clone() })
        }
        EntitlementEdit::Seats(seats) => {
            (Action::EntitlementChanged, Entitlement { seats, ..before.clone() })
        }
        EntitlementEdit::Unbind => {
            (Action::EntitlementUnbound, Entitlement { tenant_id: None, ..before.clone() })
        }
    };
    let mut writes = Vec::new();
    if after != *before {
        let seats =
            || after.seats.map_or("unlimited seats".to_owned(), |seats| format!("{seats} seats"));
        let detail =
            if action == Action::EntitlementChanged { seats() } else { after.edition.to_string() };
        writes.push(Write::entitlement(false, after.clone()));
        // After a restore, appliances that received `revoked` get a new license at their next
        // check-in (wire contract, R-check-in-3).
        let restored = after.tenant_id.filter(|_| edit == EntitlementEdit::Restore);
        writes.extend(restored.map(|tenant| Write::ClearLicenses { tenant }));
        if edit == EntitlementEdit::Unbind
            && other.is_none()
            && let Some(tenant) = &facts.tenant
        {
            let edition = settings.editions.free().clone();
            let free = Tenant { edition, updated_at: change.now, ..tenant.clone() };
            writes.push(Write::UpdateTenant(Box::new(free)));
            // Codes that carry the entitlement would bring it back.
            writes.push(Write::SupersedeCodes { tenant: tenant.id, at: change.now });
            let (entitlement, at) = (before.id, change.now);
            writes.push(Write::SupersedeActivationCodes { entitlement, at });
        }
        writes.push(Write::audit(change.audit(
            action,
            before.tenant_id,
            AuditDetail::value(&detail),
        )));
    }
    Decision::commit(
        writes,
        Ok(EntitlementChanged { entitlement: after, license: None, code: None }),
    )
}
