//! The storage port: coarse methods, each one transaction, each around a pure decision.
//!
//! What every implementation MUST do, whatever the method:
//! - behave as if the facts were held while the decision runs: by locks in the order tenant,
//!   entitlement, code, appliance, or by a guarded write that lands only if the facts still hold,
//!   else decides again (at most 3 times, then [`StoreError::Contended`]);
//! - apply all writes of [`Decision::Commit`] in their order, or none, and none of a
//!   [`Decision::Abort`];
//! - finish what it began when the caller goes away;
//! - await nothing but the database between begin and commit.
//!
//! The conformance suite of registry-testkit holds every implementation against these, and the
//! MUSTs below.

mod decision;
mod facts;
mod write;

use async_trait::async_trait;

use crate::audit::AuditEntry;
use crate::blob::BlobKey;
use crate::clock::Timestamp;
use crate::id::{CodeId, MailId, TenantId};
use crate::install_code::InstallCode;
use crate::mail::{DeliveryOutcome, MailQuery, QueuedMail};
use crate::release::Release;
use crate::results::{CheckedIn, EntitlementChanged, Issued, Redeemed};
use crate::secret::{CredentialDigest, KeyId};
use crate::tenant::Tenant;
use crate::text::{Channel, SubscriptionId};

use crate::secret::SignInDigest;
use crate::sign_in::SignIn;
pub use decision::{Decide, DecideError, Decision, Outcome};

pub use facts::{
    AuditQuery, CredentialFacts, EntitlementFacts, EntitlementKey, EntitlementSelector,
    ListedRelease, RedeemFacts, RedeemKey, RegisterFacts, ReissueFacts, ReleaseFacts,
    RetentionKind, SilentAppliance, TenantFacts, TenantKey, TenantQuery, TenantRecord,
    TenantSelector,
};
pub use write::{Replay, ReplayRecord, SignInWrite, Write};

/// Why the store did not answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Others were in the way, too often or too long; trying again helps.
    #[error("the database is busy: {0}")]
    Contended(String),
    /// It cannot be reached.
    #[error("the database is unavailable: {0}")]
    Unavailable(String),
    /// It holds what it must not hold, or a write broke one of its constraints.
    #[error("the database refused or is damaged: {0}")]
    Corrupt(String),
}

/// The store.
#[async_trait]
pub trait Store: Send + Sync {
    /// Registers a tenant, or finds it again by its subscription. Two registrations of one
    /// subscription MUST see each other: the second decides with the first one's tenant.
    async fn tenant_register(
        &self,
        subscription: Option<SubscriptionId>,
        replay: Option<Replay>,
        decide: Decide<RegisterFacts, Issued>,
    ) -> Result<Outcome<Issued>, StoreError>;

    /// Redeems a code. However many race for one, exactly one decision that consumes it MUST be
    /// committed.
    async fn code_redeem(
        &self,
        key: RedeemKey,
        replay: Option<Replay>,
        decide: Decide<RedeemFacts, Redeemed>,
    ) -> Result<Outcome<Redeemed>, StoreError>;

    /// Re-issues a tenant's code. It MUST be atomic against a racing redemption.
    async fn code_reissue(
        &self,
        selector: TenantSelector,
        replay: Option<Replay>,
        decide: Decide<ReissueFacts, Issued>,
    ) -> Result<Outcome<Issued>, StoreError>;

    /// Changes an entitlement, or grants one. Two changes of one subscription MUST see each other.
    async fn entitlement_change(
        &self,
        key: EntitlementKey,
        replay: Option<Replay>,
        decide: Decide<EntitlementFacts, EntitlementChanged>,
    ) -> Result<Outcome<EntitlementChanged>, StoreError>;

    /// Changes a tenant, or an appliance of it.
    async fn tenant_change(
        &self,
        key: TenantKey,
        decide: Decide<TenantFacts, Tenant>,
    ) -> Result<Outcome<Tenant>, StoreError>;

    /// Checks an appliance in. MUST record `now` as its last check-in, unless it was later,
    /// whatever is decided; the facts are those after that. Where the decision aborts, that record
    /// MAY last.
    async fn check_in(
        &self,
        digest: CredentialDigest,
        now: Timestamp,
        replay: Option<Replay>,
        decide: Decide<Option<CredentialFacts>, CheckedIn>,
    ) -> Result<Outcome<CheckedIn>, StoreError>;

    /// What a credential opens. MUST write nothing.
    async fn credential_show(
        &self,
        digest: CredentialDigest,
    ) -> Result<Option<CredentialFacts>, StoreError>;

    /// Changes the releases of a channel. Two changes of one channel MUST see each other.
    async fn release_change(
        &self,
        channel: Channel,
        decide: Decide<ReleaseFacts, Release>,
    ) -> Result<Outcome<Release>, StoreError>;

    /// The current release of a channel. MUST NOT be one that was yanked.
    async fn release_current(&self, channel: Channel) -> Result<Option<Release>, StoreError>;

    /// All releases, of a channel or of all, newest first (ties by descending id).
    async fn release_list(
        &self,
        channel: Option<Channel>,
    ) -> Result<Vec<ListedRelease>, StoreError>;

    /// The release whose file has this key.
    async fn release_of_file(&self, key: BlobKey) -> Result<Option<Release>, StoreError>;

    /// The install code with this id, and its tenant. MUST write nothing.
    async fn code_show(&self, id: CodeId) -> Result<Option<(InstallCode, Tenant)>, StoreError>;

    /// The tenants that fit the query, newest registration first (ties by descending id), at most
    /// `query.limit`, after `query.after`. Of the codes each record has the newest install code
    /// only. Paging MUST NOT skip or repeat a tenant that was there all the time.
    async fn tenant_list(&self, query: TenantQuery) -> Result<Vec<TenantRecord>, StoreError>;

    /// One tenant with everything.
    async fn tenant_show(&self, id: TenantId) -> Result<Option<TenantRecord>, StoreError>;

    /// Licensed appliances that are not revoked, of tenants that are not closed, and were not heard
    /// of since `since`: by their last check-in, or else their registration. Those that were silent
    /// for longest come first (ties by tenant and id), at most `limit`.
    async fn appliances_silent(
        &self,
        since: Timestamp,
        limit: u32,
    ) -> Result<Vec<SilentAppliance>, StoreError>;

    /// The lines of the audit that fit the query, newest first (ties by descending id), at most
    /// `query.limit`.
    async fn audit_list(&self, query: AuditQuery) -> Result<Vec<AuditEntry>, StoreError>;

    /// Counts an event into the one line of its action, source, code and time, and adds the line
    /// where there is none. Its action MUST be one that
    /// [`Action::is_counted`](crate::audit::Action::is_counted).
    async fn audit_count(&self, entry: AuditEntry) -> Result<(), StoreError>;

    /// Leases the oldest of the queued mails that are due at `now`: no other lease MUST return it
    /// before `until`, or before it is settled.
    async fn mail_lease(
        &self,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Option<QueuedMail>, StoreError>;

    /// Settles a mail that was leased until `until`. A sent one MUST lose its secret, and what an
    /// earlier try said. One that was discarded meanwhile stays discarded, unless it was sent. One
    /// that others have leased meanwhile MUST NOT become due by it.
    async fn mail_settle(
        &self,
        id: MailId,
        until: Timestamp,
        settlement: DeliveryOutcome,
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// The mails that fit the query, newest first (ties by descending id), at most `query.limit`.
    async fn mail_list(&self, query: MailQuery) -> Result<Vec<QueuedMail>, StoreError>;

    /// Changes a mail of the outbox.
    async fn mail_change(
        &self,
        id: MailId,
        decide: Decide<Option<QueuedMail>, QueuedMail>,
    ) -> Result<Outcome<QueuedMail>, StoreError>;

    /// A link or a session, also one that has ended. MUST write nothing.
    async fn sign_in_show(&self, digest: SignInDigest) -> Result<Option<SignIn>, StoreError>;

    /// Changes a link or a session, or makes one. Two changes of one MUST see each other: of those
    /// who race for a link, exactly one finds it.
    async fn sign_in_change(
        &self,
        digest: SignInDigest,
        decide: Decide<Option<SignIn>, SignIn>,
    ) -> Result<Outcome<SignIn>, StoreError>;

    /// How many rows of this kind ended before `before`.
    async fn count_expired(
        &self,
        kind: RetentionKind,
        before: Timestamp,
    ) -> Result<u64, StoreError>;

    /// Deletes up to `limit` rows of this kind that ended before `before`, and returns how many.
    /// MUST be one short transaction.
    async fn delete_expired(
        &self,
        kind: RetentionKind,
        before: Timestamp,
        limit: u32,
    ) -> Result<u64, StoreError>;

    /// The master keys that unconsumed codes were digested and unsent mails were sealed under.
    async fn key_ids_in_use(&self) -> Result<Vec<KeyId>, StoreError>;

    /// Records the first of `ring` as the master key that codes are digested under now, and returns
    /// `None`. Where one is recorded that is not in `ring`, it MUST change nothing, and return
    /// that: of processes with different keys that start at once, one wins.
    async fn register_master_key(&self, ring: Vec<KeyId>) -> Result<Option<KeyId>, StoreError>;

    /// Whether the store answers, and takes a write.
    async fn probe(&self) -> Result<(), StoreError>;
}
