//! Re-issue of an install code: the tenant gets a new code, and its unused codes are replaced.

use std::sync::Arc;

use crate::audit::{Action, Actor, AuditDetail};
use crate::refusal::Refusal;
use crate::registry::code_issuance::{PreparedCode, PreviousCodes};
use crate::registry::idempotency::IdempotencyKey;
use crate::registry::{ChangeContext, Error, Registry, Settings, refuse};
use crate::results::Issued;
use crate::store::{Decision, ReissueFacts, TenantSelector};

/// A request to re-issue a code.
#[derive(Clone, Debug)]
pub struct Reissue {
    /// The tenant. A contact selects the preferred of the contact's tenants that are not cancelled
    /// ([`Tenant::preference`](crate::tenant::Tenant::preference)).
    pub selector: TenantSelector,
    /// True if a contact with several tenants is refused.
    pub strict: bool,
    /// True if the code is mailed to the contact.
    pub send_email: bool,
    /// True if the caller does not show the code, so that the mail is the only way to get it.
    pub mail_only: bool,
    /// The idempotency key under which the response is recorded.
    pub key: Option<IdempotencyKey>,
}

impl Registry {
    /// Supersedes the tenant's unconsumed codes and issues a new code with the tenant's active
    /// entitlement. Both are one transaction, atomic against a racing redemption.
    pub async fn code_reissue(&self, reissue: Reissue, actor: Actor) -> Result<Issued, Error> {
        let mut change = self.change_context(actor);
        let prepared = self.prepare_code(&mut change, reissue.send_email).await?;
        let settings = self.settings.clone();
        let (options, asked) = ((reissue.strict, reissue.mail_only), change.clone());
        let decide = Arc::new(move |facts: &ReissueFacts| {
            decide(change.clone(), &prepared, options, &settings, facts)
        });
        let store = &self.ports.store;
        self.idempotent(reissue.key, "", &asked, decide, |replay, decide| {
            store.code_reissue(reissue.selector, replay, decide)
        })
        .await
    }
}

fn decide(
    mut change: ChangeContext,
    prepared: &PreparedCode,
    (strict, mail_only): (bool, bool),
    settings: &Settings,
    facts: &ReissueFacts,
) -> Decision<Issued> {
    let Some(tenant) = facts.tenants.first() else { return refuse(Refusal::TenantNotFound, None) };
    let ambiguous = facts.tenants.len() > 1;
    let refusal = if strict && ambiguous {
        Some(Refusal::AmbiguousContact)
    } else if let Err(refusal) = tenant.check_open() {
        Some(refusal)
    } else if mail_only && tenant.contact_email.is_none() {
        // The earlier codes would be replaced, and nobody would see the new one.
        let problem = "is missing, so the code cannot be mailed".to_owned();
        Some(Refusal::Invalid { field: "contact_email", problem })
    } else {
        None
    };
    if let Some(refusal) = refusal {
        let entry = change.audit(
            Action::ReissueRefused,
            Some(tenant.id),
            AuditDetail::reason(refusal.reason()),
        );
        return refuse(refusal, Some(entry));
    }
    let reason = ambiguous.then_some("newest_of_several");
    let entitlement = facts.entitlement.as_ref();
    let writes = prepared.writes(
        &mut change,
        (tenant, entitlement),
        settings,
        PreviousCodes::Superseded { reason },
    );
    Decision::commit(writes, Ok(prepared.issued(tenant)))
}
