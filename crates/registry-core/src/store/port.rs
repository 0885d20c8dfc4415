//! The traits of the port, one for each concern.

use async_trait::async_trait;

use crate::audit::AuditEntry;
use crate::blob::BlobKey;
use crate::clock::Timestamp;
use crate::id::{CodeId, MailId, TenantId};
use crate::install_code::InstallCode;
use crate::mail::{MailCounts, MailQuery, QueuedMail};
use crate::release::Release;
use crate::results::{CheckedIn, EntitlementChanged, Issued, Redeemed};
use crate::secret::{CredentialDigest, KeyId, SignInDigest};
use crate::sign_in::SignIn;
use crate::store::{
    AuditQuery, CredentialFacts, Decide, EntitlementFacts, EntitlementKey, ListedRelease, Outcome,
    OverdueAppliance, RedeemFacts, RedeemKey, ReissueFacts, ReleaseFacts, Replay, ReplayRecord,
    RetentionKind, StoreError, TenantFacts, TenantKey, TenantQuery, TenantRecord, TenantSelector,
};
use crate::tenant::Tenant;
use crate::text::{Channel, SubscriptionId};

/// Changes of tenants and what belongs to them, each decided on locked facts.
#[async_trait]
pub trait Changes: Send + Sync {
    /// Registers a tenant, or finds it by its subscription. Of two registrations of one
    /// subscription, the second MUST decide with the tenant of the first.
    async fn tenant_register(
        &self,
        subscription: Option<SubscriptionId>,
        replay: Option<Replay>,
        decide: Decide<EntitlementFacts, Issued>,
    ) -> Result<Outcome<Issued>, StoreError>;

    /// Redeems a code. However many callers race for a code, exactly one decision that consumes it
    /// MUST be committed.
    async fn code_redeem(
        &self,
        key: RedeemKey,
        replay: Option<Replay>,
        decide: Decide<RedeemFacts, Redeemed>,
    ) -> Result<Outcome<Redeemed>, StoreError>;

    /// Re-issues a tenant's code. MUST be atomic against a concurrent redemption.
    async fn code_reissue(
        &self,
        selector: TenantSelector,
        replay: Option<Replay>,
        decide: Decide<ReissueFacts, Issued>,
    ) -> Result<Outcome<Issued>, StoreError>;

    /// Grants or changes an entitlement. Of two changes of one subscription, the second MUST see
    /// the first.
    async fn entitlement_change(
        &self,
        key: EntitlementKey,
        replay: Option<Replay>,
        decide: Decide<EntitlementFacts, EntitlementChanged>,
    ) -> Result<Outcome<EntitlementChanged>, StoreError>;

    /// Changes a tenant or one of its appliances.
    async fn tenant_change(
        &self,
        key: TenantKey,
        decide: Decide<TenantFacts, Tenant>,
    ) -> Result<Outcome<Tenant>, StoreError>;

    /// Checks an appliance in at `now`. An implementation MAY make the decision's write
    /// [`RecordCheckIn`](crate::store::Write::RecordCheckIn) before it decides.
    async fn check_in(
        &self,
        digest: CredentialDigest,
        now: Timestamp,
        replay: Option<Replay>,
        decide: Decide<Option<CredentialFacts>, CheckedIn>,
    ) -> Result<Outcome<CheckedIn>, StoreError>;
}

/// Reads of tenants, appliances and the audit.
#[async_trait]
pub trait Directory: Send + Sync {
    /// Lists the tenants that match the query, newest registration first (ties by descending id),
    /// at most `query.limit`, after `query.after`. Each record has only the newest install code.
    /// Pagination MUST NOT skip or repeat a tenant that exists throughout.
    async fn tenant_list(&self, query: TenantQuery) -> Result<Vec<TenantRecord>, StoreError>;

    /// Returns a tenant with everything that belongs to it.
    async fn tenant_show(&self, id: TenantId) -> Result<Option<TenantRecord>, StoreError>;

    /// Lists licensed, unrevoked appliances that have not checked in since `since` (or, without any
    /// check-in, were registered before it). Leaves out suspended and cancelled tenants. The
    /// longest silence comes first (ties by tenant and id), at most `limit`.
    async fn appliances_overdue(
        &self,
        since: Timestamp,
        limit: u32,
    ) -> Result<Vec<OverdueAppliance>, StoreError>;

    /// Returns the install code with this id, and its tenant. MUST NOT write.
    async fn code_show(&self, id: CodeId) -> Result<Option<(InstallCode, Tenant)>, StoreError>;

    /// Returns a credential with its appliance, tenant and entitlement. MUST NOT write.
    async fn credential_show(
        &self,
        digest: CredentialDigest,
    ) -> Result<Option<CredentialFacts>, StoreError>;

    /// Returns the tenant of the entitlement whose licenses have this `sub`.
    async fn license_tenant(&self, sub: String) -> Result<Option<TenantId>, StoreError>;

    /// Returns the record under the scope and key of a request, even if it has expired. MUST NOT
    /// write.
    async fn replay_show(&self, request: Replay) -> Result<Option<ReplayRecord>, StoreError>;

    /// Lists the audit entries that match the query, newest first (ties by descending id), at most
    /// `query.limit`.
    async fn audit_list(&self, query: AuditQuery) -> Result<Vec<AuditEntry>, StoreError>;

    /// Adds the entry's count to that of the audit entry with the same
    /// [`count_key`](AuditEntry::count_key), or inserts the entry if there is no such one.
    async fn audit_count(&self, entry: AuditEntry) -> Result<(), StoreError>;
}

/// Mails that are to be sent, and those that were.
#[async_trait]
pub trait Outbox: Send + Sync {
    /// Leases the queued mail that has been due at `now` for longest, a customer's before a
    /// stranger's. Another lease MUST NOT return this mail before `until`, unless the mail is settled
    /// first. If none is due, a mail that is due later than
    /// [`LONGEST_DELAY`](crate::mail::LONGEST_DELAY) from now is leased: the clock was set back.
    async fn mail_lease(
        &self,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Option<QueuedMail>, StoreError>;

    /// Counts mails. Those that were queued before `delayed_since` are delayed.
    async fn mail_counts(&self, delayed_since: Timestamp) -> Result<MailCounts, StoreError>;

    /// Lists the mails that match the query, newest first (ties by descending id), at most
    /// `query.limit`.
    async fn mail_list(&self, query: MailQuery) -> Result<Vec<QueuedMail>, StoreError>;

    /// Changes a mail in the outbox.
    async fn mail_change(
        &self,
        id: MailId,
        decide: Decide<Option<QueuedMail>, QueuedMail>,
    ) -> Result<Outcome<QueuedMail>, StoreError>;
}

/// Sign-in links and sessions.
#[async_trait]
pub trait SignIns: Send + Sync {
    /// Returns a sign-in link or session, even if it has expired. MUST NOT write.
    async fn sign_in_show(&self, digest: SignInDigest) -> Result<Option<SignIn>, StoreError>;

    /// Creates or changes a sign-in link or session. Of two changes of one, the second MUST see the
    /// first: of several callers that race for a link, exactly one finds it.
    async fn sign_in_change(
        &self,
        digest: SignInDigest,
        decide: Decide<Option<SignIn>, SignIn>,
    ) -> Result<Outcome<SignIn>, StoreError>;
}

/// Releases, and the current one of each channel.
#[async_trait]
pub trait Releases: Send + Sync {
    /// Changes the releases of a channel. Of two changes of one channel, the second MUST see the
    /// first.
    async fn release_change(
        &self,
        channel: Channel,
        decide: Decide<ReleaseFacts, Release>,
    ) -> Result<Outcome<Release>, StoreError>;

    /// Returns the current release of a channel. MUST NOT return a yanked one.
    async fn release_current(&self, channel: Channel) -> Result<Option<Release>, StoreError>;

    /// Lists the releases of a channel, or of all, newest first (ties by descending id).
    async fn release_list(
        &self,
        channel: Option<Channel>,
    ) -> Result<Vec<ListedRelease>, StoreError>;

    /// Returns the release whose file has this key.
    async fn release_of_file(&self, key: BlobKey) -> Result<Option<Release>, StoreError>;
}

/// Deletion of rows some time after their end.
#[async_trait]
pub trait Retention: Send + Sync {
    /// Counts the rows of this kind that ended before `before`.
    async fn count_expired(
        &self,
        kind: RetentionKind,
        before: Timestamp,
    ) -> Result<u64, StoreError>;

    /// Supersedes up to `limit` unused codes, expired or not, and returns them as they are then. MUST
    /// be one short transaction.
    async fn supersede_unused_codes(
        &self,
        at: Timestamp,
        limit: u32,
    ) -> Result<Vec<InstallCode>, StoreError>;

    /// Deletes up to `limit` rows of this kind that ended before `before`, and returns their
    /// number. MUST be one short transaction.
    async fn delete_expired(
        &self,
        kind: RetentionKind,
        before: Timestamp,
        limit: u32,
    ) -> Result<u64, StoreError>;
}

/// Master keys, and the health of the store.
#[async_trait]
pub trait Keys: Send + Sync {
    /// Returns the ids of the master keys behind unconsumed codes and unsent mails.
    async fn key_ids_in_use(&self) -> Result<Vec<KeyId>, StoreError>;

    /// Records the first key of `ring` as the master key for new code digests, and returns `None`.
    /// If a key is recorded that is not in `ring`, this MUST change nothing and return the recorded
    /// key: of several processes that start at once with different keys, one wins.
    async fn register_master_key(&self, ring: Vec<KeyId>) -> Result<Option<KeyId>, StoreError>;

    /// Checks that the store responds and accepts a write.
    async fn probe(&self) -> Result<(), StoreError>;
}

/// The port to persistent storage: all of its parts.
pub trait Store: Changes + Directory + Outbox + SignIns + Releases + Retention + Keys {}

impl<S> Store for S where
    S: Changes + Directory + Outbox + SignIns + Releases + Retention + Keys + ?Sized
{
}
