//! The storage port: coarse methods, each one transaction, each around a pure decision.
//!
//! What every implementation MUST do, whatever the method:
//! - behave as if the facts were held while the decision runs: by locks in the order tenant, entitlement, code,
//!   appliance, or by a guarded write that lands only if the facts still hold, else decides again (at most 3 times,
//!   then [`StoreError::Contended`]);
//! - apply all writes of [`Decision::Commit`] in their order, or none, and none of a [`Decision::Abort`];
//! - finish what it began when the caller goes away;
//! - await nothing but the database between begin and commit.
//!
//! The conformance suite of registry-testkit holds every implementation against these, and the MUSTs below.

use std::sync::Arc;

use async_trait::async_trait;

use crate::appliance::{Appliance, Credential};
use crate::audit::AuditEntry;
use crate::clock::Timestamp;
use crate::edition::EditionName;
use crate::entitlement::Entitlement;
use crate::guesses::Source;
use crate::id::{AuditId, CodeId, EntitlementId, MailId, ReleaseId, TenantId};
use crate::install_code::{Consumption, InstallCode};
use crate::license::SignError;
use crate::mail::{QueuedMail, Settlement};
use crate::refusal::Refusal;
use crate::registry::directory::TenantQuery;
use crate::registry::minting::Issued;
use crate::registry::redeem::Redeemed;
use crate::release::Release;
use crate::secret::{CodeDigest, KeyId, Sealed};
use crate::tenant::Tenant;
use crate::text::{ApplianceId, Channel, EmailAddress, SubscriptionId, Version};

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

/// A decision function. It is called again where a transaction has to be tried again, so whatever it needs that is
/// not a fact (ids, secrets, the time) is drawn before and captured.
pub type Decide<F, T> = Arc<dyn Fn(&F) -> Decision<T> + Send + Sync>;

/// Why a decision could not be made. Our trouble, never the caller's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecideError {
    /// Signing failed.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// An entitlement names an edition that the configuration has no tier for.
    #[error("the configuration has no license tier for edition `{0}`")]
    NoTier(EditionName),
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

/// A request that came with an idempotency key.
///
/// A store MUST, before it loads any fact, look for a record under `(scope, key_digest)` that has not ended at `now`:
/// with the same fingerprint it answers [`Outcome::Replayed`], with another one refuses with [`Refusal::KeyReused`].
/// The record is a write like any other ([`Write::PutReplay`]), so it exists exactly when its effects do. Of two
/// twins in flight, the second MUST wait for the first, then replay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replay {
    /// Route and caller that the key belongs to.
    pub scope: String,
    /// SHA-256 of the key.
    pub key_digest: [u8; 32],
    /// SHA-256 of the request.
    pub fingerprint: [u8; 32],
    /// When it was asked.
    pub now: Timestamp,
}

/// A recorded answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayRecord {
    /// What it answers.
    pub request: Replay,
    /// The answer.
    pub answer: Sealed,
    /// When it is forgotten.
    pub expires_at: Timestamp,
}

/// One change to a row. Where it says *put*, the row is inserted, or replaced whole under its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Puts a tenant.
    PutTenant(Box<Tenant>),
    /// Puts an entitlement. MUST fail where the tenant has another active one, or the subscription is another's.
    PutEntitlement(Box<Entitlement>),
    /// Inserts a code. MUST fail where its tenant (an activation code's: its entitlement) has one that is neither
    /// consumed nor superseded, or where the digest is taken.
    InsertCode(Box<InstallCode>),
    /// Marks a code as redeemed. MUST fail where it already is, or is superseded.
    ConsumeCode {
        /// The code.
        code: CodeId,
        /// When and by whom.
        consumption: Consumption,
        /// The tenant it is now of.
        tenant: TenantId,
    },
    /// Marks the unconsumed install codes of a tenant as superseded.
    SupersedeCodes {
        /// The tenant.
        tenant: TenantId,
        /// When.
        at: Timestamp,
    },
    /// Puts an appliance, under (tenant, appliance id).
    PutAppliance(Box<Appliance>),
    /// Deletes all credentials of an appliance.
    DeleteCredentials {
        /// Whose it is.
        tenant: TenantId,
        /// The appliance.
        appliance: ApplianceId,
    },
    /// Inserts a credential.
    InsertCredential(Credential),
    /// Puts a mail into the outbox.
    EnqueueMail(Box<QueuedMail>),
    /// Discards the tenant's mails with codes that were not sent, queued or given up, and blanks their secrets.
    DiscardMails {
        /// The tenant.
        tenant: TenantId,
        /// When.
        at: Timestamp,
    },
    /// Inserts an audit line.
    AppendAudit(Box<AuditEntry>),
    /// Records an answer for replay, over one that has ended.
    PutReplay(Box<ReplayRecord>),
    /// Puts a release. MUST fail where its channel has this version under another id.
    PutRelease(Box<Release>),
    /// Makes a release the current one of its channel.
    SetCurrent {
        /// The channel.
        channel: Channel,
        /// The release.
        release: ReleaseId,
    },
}

impl Write {
    /// An audit line as a write.
    #[must_use]
    pub fn audit(entry: AuditEntry) -> Self {
        Self::AppendAudit(Box::new(entry))
    }
}

/// What a registration is decided on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegisterFacts {
    /// The tenant of the subscription: the one registered with it, or the one its entitlement is bound to.
    pub tenant: Option<Tenant>,
    /// The subscription's entitlement.
    pub entitlement: Option<Entitlement>,
    /// The active entitlement of `tenant`.
    pub tenant_entitlement: Option<Entitlement>,
}

/// What a redemption is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedeemKey {
    /// The code's digests, one a master key.
    pub digests: Vec<CodeDigest>,
    /// The tenant that the appliance names.
    pub tenant_id: Option<TenantId>,
    /// The appliance.
    pub appliance_id: ApplianceId,
}

/// What a redemption is decided on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RedeemFacts {
    /// The code with one of the digests.
    pub code: Option<InstallCode>,
    /// The code's tenant; where it has none, its entitlement's; where that has none, the one that the appliance names.
    pub tenant: Option<Tenant>,
    /// The code's entitlement.
    pub entitlement: Option<Entitlement>,
    /// The active entitlement of `tenant`.
    pub tenant_entitlement: Option<Entitlement>,
    /// The appliance of that id under `tenant`.
    pub appliance: Option<Appliance>,
}

impl TenantSelector {
    /// Reads what a caller says: the id goes before the contact, and one of them must be there.
    pub fn parse(tenant_id: Option<TenantId>, contact_email: Option<&str>) -> Result<Self, Refusal> {
        match (tenant_id, contact_email) {
            (Some(id), _) => Ok(Self::Id(id)),
            (None, Some(contact)) => Ok(Self::Contact(EmailAddress::parse(contact)?)),
            (None, None) => {
                Err(Refusal::Invalid { field: "tenant_id", problem: "or `contact_email` must be given".to_owned() })
            }
        }
    }
}

/// Which tenant a re-issue is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TenantSelector {
    /// The tenant with this id.
    Id(TenantId),
    /// The tenants of this contact, in any case.
    Contact(EmailAddress),
}

/// What a re-issue is decided on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReissueFacts {
    /// By id: that tenant. By contact: the newest two that are not cancelled, newest first.
    pub tenants: Vec<Tenant>,
    /// The active entitlement of the first.
    pub entitlement: Option<Entitlement>,
}

/// Which entitlement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntitlementSelector {
    /// The one with this id.
    Id(EntitlementId),
    /// The one of this subscription.
    Subscription(SubscriptionId),
}

/// What is kept about a release that is about to be published.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReleaseFacts {
    /// The release of that version in that channel.
    pub existing: Option<Release>,
}

/// A tenant with all that hangs on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantRecord {
    /// The tenant.
    pub tenant: Tenant,
    /// Its entitlements.
    pub entitlements: Vec<Entitlement>,
    /// Its codes, newest first.
    pub codes: Vec<InstallCode>,
    /// Its appliances, in order of their registration.
    pub appliances: Vec<Appliance>,
}

/// The store.
#[async_trait]
pub trait Store: Send + Sync {
    /// Registers a tenant, or finds it again by its subscription.
    /// Two registrations of one subscription MUST see each other: the second decides with the first one's tenant.
    async fn tenant_register(
        &self,
        subscription: Option<SubscriptionId>,
        replay: Option<Replay>,
        decide: Decide<RegisterFacts, Issued>,
    ) -> Result<Outcome<Issued>, StoreError>;

    /// Redeems a code. However many race for one, exactly one decision that consumes it MUST be committed.
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

    /// Changes an entitlement; the fact is the entitlement, where there is one.
    async fn entitlement_change(
        &self,
        selector: EntitlementSelector,
        replay: Option<Replay>,
        decide: Decide<Option<Entitlement>, Entitlement>,
    ) -> Result<Outcome<Entitlement>, StoreError>;

    /// Publishes a release.
    async fn release_publish(
        &self,
        channel: Channel,
        version: Version,
        decide: Decide<ReleaseFacts, Release>,
    ) -> Result<Outcome<Release>, StoreError>;

    /// The current release of a channel.
    async fn release_current(&self, channel: Channel) -> Result<Option<Release>, StoreError>;

    /// The tenants that fit the query, newest registration first (ties by descending id), at most `query.limit`, after
    /// `query.after`. Of the codes each record has the newest install code
    /// only. Paging MUST NOT skip or repeat a tenant that was
    /// there all the time.
    async fn tenant_list(&self, query: TenantQuery) -> Result<Vec<TenantRecord>, StoreError>;

    /// One tenant with everything.
    async fn tenant_show(&self, id: TenantId) -> Result<Option<TenantRecord>, StoreError>;

    /// The audit of a tenant, oldest first; without a tenant, all of it.
    async fn audit_list(&self, tenant: Option<TenantId>) -> Result<Vec<AuditEntry>, StoreError>;

    /// Counts an unknown code into the one line of its source and minute; `id` is for a new line.
    async fn audit_unknown_code(&self, id: AuditId, source: Source, minute: Timestamp) -> Result<(), StoreError>;

    /// Leases up to `limit` queued mails that are due at `now`, oldest first: no other lease MUST return them before
    /// `until`, or before they are settled.
    async fn mail_lease(&self, now: Timestamp, until: Timestamp, limit: u32) -> Result<Vec<QueuedMail>, StoreError>;

    /// Settles a leased mail. A sent one MUST lose its secret. One that was discarded meanwhile stays discarded.
    async fn mail_settle(&self, id: MailId, settlement: Settlement, now: Timestamp) -> Result<(), StoreError>;

    /// The mails of a tenant, oldest first.
    async fn mail_list(&self, tenant: TenantId) -> Result<Vec<QueuedMail>, StoreError>;

    /// The master keys that unconsumed codes were digested and unsent mails were sealed under.
    async fn key_ids_in_use(&self) -> Result<Vec<KeyId>, StoreError>;

    /// Whether the store answers, and takes a write.
    async fn probe(&self) -> Result<(), StoreError>;
}
