//! What one change is made under: its time, its ids, and who asked.

use uuid::Uuid;

use crate::audit::{Action, Actor, AuditEntry};
use crate::clock::Timestamp;
use crate::entropy::{self, Entropy};
use crate::id::TenantId;
use crate::refusal::Refusal;
use crate::store::{Decision, Write};

/// Drawn before a change and captured by its decision, which works on a clone: a retried
/// transaction decides the same thing, with the same ids.
#[derive(Clone, Debug)]
pub(crate) struct ChangeContext {
    pub(crate) now: Timestamp,
    actor: Actor,
    seed: [u8; 10],
    drawn: u8,
}

impl ChangeContext {
    pub(crate) fn new(now: Timestamp, actor: Actor, seed: [u8; 10]) -> Self {
        Self { now, actor, seed, drawn: 0 }
    }

    /// The next id of this change: time-ordered, and in the order they are drawn.
    pub(crate) fn draw<T: From<Uuid>>(&mut self) -> T {
        struct Fixed([u8; 10]);
        impl Entropy for Fixed {
            fn fill(&self, buffer: &mut [u8]) {
                buffer.copy_from_slice(&self.0[..buffer.len()]);
            }
        }
        let mut seed = self.seed;
        // Not the first byte: half of it becomes the UUID's version.
        seed[1] = self.drawn;
        self.drawn = self.drawn.wrapping_add(1);
        entropy::uuid(&Fixed(seed), self.now).into()
    }

    /// An audit line about a tenant.
    pub(crate) fn audit(
        &mut self,
        action: Action,
        tenant: Option<TenantId>,
        detail: &str,
    ) -> AuditEntry {
        AuditEntry {
            id: self.draw(),
            at: self.now,
            actor: self.actor.clone(),
            action,
            tenant_id: tenant,
            code_id: None,
            mail_id: None,
            detail: detail.to_owned(),
            count: 1,
        }
    }
}

/// A refusal that leaves an audit line, or none.
pub(crate) fn refuse<T>(refusal: Refusal, audit: Option<AuditEntry>) -> Decision<T> {
    let writes = audit.into_iter().map(Write::audit).collect();
    Decision::Commit { writes, outcome: Err(refusal) }
}
