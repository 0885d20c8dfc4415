//! Ending what a customer has paid for.

use std::sync::Arc;

use crate::audit::{Action, Actor};
use crate::entitlement::Entitlement;
use crate::refusal::Refusal;
use crate::registry::{Error, Registry, Stamp, refuse};
use crate::store::{Decision, EntitlementSelector, Write};

impl Registry {
    /// Revokes an entitlement. Repeating it changes nothing, and answers the same.
    pub async fn entitlement_revoke(&self, selector: EntitlementSelector, actor: Actor) -> Result<Entitlement, Error> {
        let stamp = self.stamp(actor);
        let decide = Arc::new(move |fact: &Option<Entitlement>| decide(stamp.clone(), fact.as_ref()));
        self.ports.store.entitlement_change(selector, None, decide).await?.into_result()
    }
}

fn decide(mut stamp: Stamp, fact: Option<&Entitlement>) -> Decision<Entitlement> {
    let Some(entitlement) = fact.cloned() else { return refuse(Refusal::EntitlementNotFound, None) };
    if !entitlement.is_active() {
        return Decision::Commit { writes: vec![], outcome: Ok(entitlement) };
    }
    let revoked = Entitlement { revoked_at: Some(stamp.now), ..entitlement };
    let entry = stamp.audit(Action::EntitlementRevoked, revoked.tenant_id, revoked.edition.as_str());
    let writes = vec![Write::PutEntitlement(Box::new(revoked.clone())), Write::audit(entry)];
    Decision::Commit { writes, outcome: Ok(revoked) }
}
