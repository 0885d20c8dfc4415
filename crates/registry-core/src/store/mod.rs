//! The storage port. Each method is coarse: one transaction around one pure decision.
//!
//! For every method, an implementation MUST:
//! - behave as if the facts were locked while the decision runs;
//! - call the decision again only if nothing of an earlier call was committed, and never after a
//!   commit whose result it did not receive ([`StoreError::Unconfirmed`]);
//! - verify the signatures of decisions before it commits them ([`Decision::verify`]);
//! - apply all writes of a [`Decision::Commit`], or none of them, and none of a
//!   [`Decision::Abort`]. No decision writes one row twice. A store can choose the order, if a row
//!   exists before others refer to it, and a unique value is free before it is taken;
//! - complete a transaction that it has begun, even if the caller is cancelled;
//! - await nothing but the database between begin and commit.
//!
//! The conformance suite of registry-testkit checks these rules and every MUST below on each
//! implementation.

mod decision;
mod facts;
mod port;
mod write;

pub use decision::{Decide, DecideError, Decision, Outcome};

pub use facts::{
    AuditQuery, CredentialFacts, EntitlementFacts, EntitlementKey, EntitlementSelector,
    ListedRelease, OverdueAppliance, RedeemFacts, RedeemKey, ReissueFacts, ReleaseFacts,
    RetentionKind, TenantFacts, TenantKey, TenantQuery, TenantRecord, TenantSelector,
};
pub use port::{Changes, Directory, Keys, Outbox, Releases, Retention, SignIns, Store};
pub use write::{Replay, ReplayRecord, SignInWrite, Write};

/// Errors of the store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Other transactions interfered too often or for too long. A retry helps.
    #[error("the database is busy: {0}")]
    Contended(String),
    /// The database cannot be reached.
    #[error("the database is unavailable: {0}")]
    Unavailable(String),
    /// The database did not confirm a commit, so the change may or may not have been made. A caller
    /// with an idempotency key can repeat the request.
    #[error("the database did not confirm the change, which may have been made or not: {0}")]
    Unconfirmed(String),
    /// The database has invalid content, or a write violated one of its constraints.
    #[error("the database rejected the change or is damaged: {0}")]
    Corrupt(String),
}
