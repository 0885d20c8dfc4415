//! Decisions, and their outcomes.

use std::sync::Arc;

use crate::license::{NoTier, SignError, SignedLicense, verify};
use crate::refusal::Refusal;
use crate::secret::Sealed;
use crate::store::write::Write;

/// The result of a decision function.
#[derive(Debug)]
pub enum Decision<T> {
    /// Commit these writes. A refusal may have writes, too: its audit entry must persist.
    Commit {
        /// The writes, in order.
        writes: Vec<Write>,
        /// The result for the caller.
        outcome: Result<T, Refusal>,
        /// Licenses in the outcome whose signatures are not verified yet. Verifying those of many
        /// decisions at once takes less time.
        unverified: Vec<SignedLicense>,
    },
    /// Write nothing. The caller responds with a 5xx status, and nothing is consumed.
    Abort(DecideError),
}

impl<T> Decision<T> {
    /// Commits these writes. Nothing in the outcome was signed.
    #[must_use]
    pub fn commit(writes: Vec<Write>, outcome: Result<T, Refusal>) -> Self {
        Self::Commit { writes, outcome, unverified: Vec::new() }
    }

    /// Verifies the signatures of all decisions, and aborts those with a wrong one. A store MUST
    /// call this before it commits.
    pub fn verify(decisions: &mut [Self]) {
        let licenses = decisions.iter_mut().enumerate().flat_map(|(index, decision)| {
            let licenses = match decision {
                Self::Commit { unverified, .. } => std::mem::take(unverified),
                Self::Abort(_) => Vec::new(),
            };
            licenses.into_iter().map(move |license| (index, license))
        });
        let (owners, licenses): (Vec<usize>, Vec<SignedLicense>) = licenses.unzip();
        for (owner, verified) in owners.into_iter().zip(verify(&licenses)) {
            if let (Err(error), Some(decision)) = (verified, decisions.get_mut(owner)) {
                *decision = Self::Abort(error.into());
            }
        }
    }
}

/// A decision function. The store calls it again if it has to retry the transaction. All inputs
/// that are not facts (ids, secrets, the time) are therefore drawn beforehand and captured.
pub type Decide<F, T> = Arc<dyn Fn(&F) -> Decision<T> + Send + Sync>;

/// Reasons why a decision could not be made. The fault is the registry's, never the caller's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecideError {
    /// Signing a license failed.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The configuration has no license tier for the edition of an entitlement.
    #[error(transparent)]
    NoTier(#[from] NoTier),
    /// The rows contradict each other.
    #[error("the database is damaged: {0}")]
    Damaged(&'static str),
    /// The response to be replayed could not be sealed or opened.
    #[error("the stored response cannot be replayed: {0}")]
    Replay(String),
}

/// The outcome of a store method that takes a decision.
#[derive(Debug)]
pub enum Outcome<T> {
    /// The decision was made and committed now.
    Done(T),
    /// The request was handled before, under the same idempotency key. Holds the sealed response.
    Replayed(Sealed),
    /// The decision refused the request.
    Refused(Refusal),
    /// The decision aborted; nothing was written.
    Aborted(DecideError),
}
