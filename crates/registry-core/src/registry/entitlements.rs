//! Ending what a customer has paid for, restoring it, and changing its seats.

use std::sync::Arc;

use crate::audit::{Action, Actor};
use crate::entitlement::Entitlement;
use crate::refusal::Refusal;
use crate::registry::idempotency::IdempotencyKey;
use crate::registry::{ChangeContext, Error, Registry, refuse};
use crate::results::EntitlementChanged;
use crate::store::{Decision, EntitlementFacts, EntitlementKey, EntitlementSelector, Write};

/// What becomes of an entitlement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntitlementEdit {
    /// It holds no more.
    Revoke,
    /// It holds again.
    Restore,
    /// It has so many seats; `None` is unlimited.
    Seats(Option<u32>),
}

impl Registry {
    /// An entitlement.
    pub async fn entitlement_show(
        &self,
        selector: EntitlementSelector,
    ) -> Result<Entitlement, Error> {
        let show = |facts: &EntitlementFacts| match facts.entitlement.clone() {
            None => refuse(Refusal::EntitlementNotFound, None),
            Some(entitlement) => {
                let shown = EntitlementChanged { entitlement, license: None, code: None };
                Decision::Commit { writes: vec![], outcome: Ok(shown) }
            }
        };
        let key = EntitlementKey { selector, tenant_id: None };
        let shown =
            self.ports.store.entitlement_change(key, None, Arc::new(show)).await?.into_result()?;
        Ok(shown.entitlement)
    }

    /// Changes an entitlement. Repeating it changes nothing, and answers the same.
    pub async fn entitlement_edit(
        &self,
        selector: EntitlementSelector,
        edit: EntitlementEdit,
        key: Option<IdempotencyKey>,
        actor: Actor,
    ) -> Result<Entitlement, Error> {
        let change = self.change_context(actor);
        let now = change.now;
        let decide = Arc::new(move |facts: &EntitlementFacts| decide(change.clone(), edit, facts));
        let (replay, decide, opening) = self.recording(key, "", now, decide).into_parts();
        let key = EntitlementKey { selector, tenant_id: None };
        let outcome = self.ports.store.entitlement_change(key, replay, decide).await?;
        Ok(self.answered(outcome, &opening)?.entitlement)
    }
}

fn decide(
    mut change: ChangeContext,
    edit: EntitlementEdit,
    facts: &EntitlementFacts,
) -> Decision<EntitlementChanged> {
    let Some(before) = &facts.entitlement else {
        return refuse(Refusal::EntitlementNotFound, None);
    };
    let other = facts.tenant_entitlement.as_ref().filter(|other| other.id != before.id);
    if edit == EntitlementEdit::Restore && other.is_some() {
        let refusal = Refusal::AlreadyEntitled;
        let entry = change.audit(Action::EntitlementRefused, before.tenant_id, refusal.word());
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
    };
    let mut writes = Vec::new();
    if after != *before {
        let seats =
            || after.seats.map_or("unlimited seats".to_owned(), |seats| format!("{seats} seats"));
        let detail =
            if action == Action::EntitlementChanged { seats() } else { after.edition.to_string() };
        writes.push(Write::PutEntitlement(Box::new(after.clone())));
        // An appliance that was told `revoked` is told otherwise by a new license (wire contract,
        // R-check-in-3).
        let restored = after.tenant_id.filter(|_| edit == EntitlementEdit::Restore);
        writes.extend(restored.map(|tenant| Write::ForgetLicenses { tenant }));
        writes.push(Write::audit(change.audit(action, after.tenant_id, &detail)));
    }
    Decision::Commit {
        writes,
        outcome: Ok(EntitlementChanged { entitlement: after, license: None, code: None }),
    }
}
