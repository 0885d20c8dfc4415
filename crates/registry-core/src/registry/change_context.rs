//! The context of one change: its time, its ids and its actor.

use uuid::Uuid;

use crate::audit::{Action, Actor, AuditDetail, AuditEntry};
use crate::clock::Timestamp;
use crate::entropy::{self, Entropy};
use crate::id::TenantId;
use crate::license::{LicenseClaims, LicenseSigner, SignError, SignedLicense};
use crate::refusal::Refusal;
use crate::secret::LicenseToken;
use crate::store::{Decision, Write};

/// Time, actor and random seed of one change. The context is created before the transaction. The
/// decision works on a clone of it, so a retried transaction decides the same, with the same ids.
#[derive(Clone, Debug)]
pub(crate) struct ChangeContext {
    pub(crate) now: Timestamp,
    actor: Actor,
    seed: [u8; 10],
    ids_issued: u8,
    unverified: Vec<SignedLicense>,
}

impl ChangeContext {
    pub(crate) fn new(now: Timestamp, actor: Actor, seed: [u8; 10]) -> Self {
        Self { now, actor, seed, ids_issued: 0, unverified: Vec::new() }
    }

    /// Returns a new time-ordered id. The ids of one change sort in the order of their creation.
    pub(crate) fn next_id<T: From<Uuid>>(&mut self) -> T {
        struct Fixed([u8; 10]);
        impl Entropy for Fixed {
            fn fill(&self, buffer: &mut [u8]) {
                buffer.copy_from_slice(&self.0[..buffer.len()]);
            }
        }
        let mut seed = self.seed;
        // Not the first byte: half of it is overwritten with the UUID's version.
        seed[1] = self.ids_issued;
        self.ids_issued = self.ids_issued.wrapping_add(1);
        entropy::uuid(&Fixed(seed), self.now).into()
    }

    /// Signs a license. [`commit`](Self::commit) has the store verify the signature.
    pub(crate) fn sign(
        &mut self,
        signer: &dyn LicenseSigner,
        claims: &LicenseClaims,
    ) -> Result<LicenseToken, SignError> {
        let license = signer.sign(claims)?;
        let token = license.token.clone();
        self.unverified.push(license);
        Ok(token)
    }

    /// Commits a change that is made, with the licenses that were signed for it.
    pub(crate) fn commit<T>(self, writes: Vec<Write>, result: T) -> Decision<T> {
        Decision::Commit { writes, outcome: Ok(result), unverified: self.unverified }
    }

    /// Creates an audit entry at the time of this change, by its actor.
    pub(crate) fn audit(
        &mut self,
        action: Action,
        tenant: Option<TenantId>,
        detail: AuditDetail,
    ) -> AuditEntry {
        AuditEntry {
            id: self.next_id(),
            at: self.now,
            actor: self.actor.clone(),
            action,
            tenant_id: tenant,
            code_id: None,
            mail_id: None,
            detail,
            count: 1,
        }
    }
}

/// Refuses a change. The audit entry, if any, is committed; nothing else is written.
pub(crate) fn refuse<T>(refusal: Refusal, audit: Option<AuditEntry>) -> Decision<T> {
    let writes = audit.into_iter().map(Write::audit).collect();
    Decision::commit(writes, Err(refusal))
}
