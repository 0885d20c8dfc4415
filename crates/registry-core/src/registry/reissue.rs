//! Re-issuing a code: unused ones die, the new one brings the same tenant back.

use std::sync::Arc;

use crate::audit::{Action, Actor};
use crate::refusal::Refusal;
use crate::registry::code_issuance::{PreparedCode, PreviousCodes};
use crate::registry::idempotency::IdempotencyKey;
use crate::registry::{ChangeContext, Error, Registry, Settings, refuse};
use crate::results::Issued;
use crate::store::{Decision, ReissueFacts, TenantSelector};

/// A re-issue as asked for.
#[derive(Clone, Debug)]
pub struct Reissue {
    /// For which tenant. A contact means the newest of its tenants that is not cancelled.
    pub selector: TenantSelector,
    /// Whether several tenants of one contact are refused instead.
    pub strict: bool,
    /// Whether the code is mailed to the contact.
    pub send_email: bool,
    /// Whether it comes by mail only: whoever asks is not shown it.
    pub mail_only: bool,
    /// Under which key the answer is recorded.
    pub key: Option<IdempotencyKey>,
}

impl Registry {
    /// Supersedes the tenant's unconsumed codes and mints one for the same tenant, with its active
    /// entitlement, atomically against a racing redemption.
    pub async fn code_reissue(&self, reissue: Reissue, actor: Actor) -> Result<Issued, Error> {
        let mut change = self.change_context(actor);
        let prepared = self.prepare_code(&mut change, reissue.send_email).await?;
        let settings = self.settings.clone();
        let (how, now) = ((reissue.strict, reissue.mail_only), change.now);
        let decide = Arc::new(move |facts: &ReissueFacts| {
            decide(change.clone(), &prepared, how, &settings, facts)
        });
        let (replay, decide, opening) = self.recording(reissue.key, "", now, decide).into_parts();
        self.answered(
            self.ports.store.code_reissue(reissue.selector, replay, decide).await?,
            &opening,
        )
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
    } else if tenant.status.is_closed() {
        Some(Refusal::TenantSuspended)
    } else if mail_only && tenant.contact_email.is_none() {
        // The earlier codes would die, and nobody would see the new one.
        let problem = "is missing: nobody would be mailed the code".to_owned();
        Some(Refusal::Invalid { field: "contact_email", problem })
    } else {
        None
    };
    if let Some(refusal) = refusal {
        let entry = change.audit(Action::ReissueRefused, Some(tenant.id), refusal.word());
        return refuse(refusal, Some(entry));
    }
    let detail = if ambiguous { "the newest of several tenants of this contact" } else { "" };
    let entitlement = facts.entitlement.as_ref();
    let writes = prepared.writes(
        &mut change,
        (tenant, entitlement),
        settings,
        PreviousCodes::Superseded { detail },
    );
    Decision::Commit { writes, outcome: Ok(prepared.issued(tenant)) }
}
