//! Decisions: what core decides, and what comes of it.

use std::sync::Arc;

use crate::license::{NoTier, SignError};
use crate::refusal::Refusal;
use crate::secret::Sealed;
use crate::store::write::Write;

/// What a decision comes to.
#[derive(Debug)]
pub enum Decision<T> {
    /// Write these, even where the outcome is a refusal: its audit must last.
    Commit {
        /// The writes, in order.
        writes: Vec<Write>,
        /// What the caller gets.
        outcome: Result<T, Refusal>,
    },
    /// Write nothing; the caller answers 5xx and nothing was spent.
    Abort(DecideError),
}

/// A decision function. It is called again where a transaction has to be tried again, so whatever
/// it needs that is not a fact (ids, secrets, the time) is drawn before and captured.
pub type Decide<F, T> = Arc<dyn Fn(&F) -> Decision<T> + Send + Sync>;

/// Why a decision could not be made. Our trouble, never the caller's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecideError {
    /// Signing failed.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// An entitlement names an edition without a tier.
    #[error(transparent)]
    NoTier(#[from] NoTier),
    /// The rows contradict each other.
    #[error("the database is damaged: {0}")]
    Damaged(&'static str),
    /// The answer to be replayed could not be sealed or read.
    #[error("the stored answer cannot be replayed: {0}")]
    Replay(String),
}

/// What came of a store method that decides.
#[derive(Debug)]
pub enum Outcome<T> {
    /// Done now.
    Done(T),
    /// Done before, under the same idempotency key: the sealed answer of then.
    Replayed(Sealed),
    /// Refused.
    Refused(Refusal),
    /// The decision aborted; nothing was written.
    Aborted(DecideError),
}
