//! The storage port on PostgreSQL: several processes on one database, which is the only limit.
//!
//! This crate holds no rule: it loads facts, asks core's decision, applies the writes. How a change
//! stays honest among many that race is in the module `change`; how many writes become one
//! statement, in `batch`.
//!
//! To add a table: 1. a migration in `migrations/postgres` (and one of the same name for SQLite);
//! 2. `schema`; 3. its row in `rows`; 4. its writes in `writes`. Nothing else changes.

mod batch;
mod change;
mod credentials;
mod directory;
mod facts;
mod failure;
mod migrations;
mod outbox;
mod pool;
mod records;
mod retention;
mod rows;
mod schema;
mod sign_ins;
mod target;
mod tls;
mod writes;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use registry_core::audit::AuditEntry;
use registry_core::blob::BlobKey;
use registry_core::clock::Timestamp;
use registry_core::id::{CodeId, MailId, TenantId};
use registry_core::install_code::InstallCode;
use registry_core::mail::{DeliveryOutcome, MailQuery, QueuedMail};
use registry_core::release::Release;
use registry_core::results::{CheckedIn, EntitlementChanged, Issued, Redeemed};
use registry_core::secret::{CredentialDigest, KeyId, SignInDigest};
use registry_core::sign_in::SignIn;
use registry_core::store::{
    AuditQuery, CredentialFacts, Decide, EntitlementFacts, EntitlementKey, ListedRelease, Outcome,
    RedeemFacts, RedeemKey, RegisterFacts, ReissueFacts, ReleaseFacts, Replay, RetentionKind,
    SilentAppliance, Store, StoreError, TenantFacts, TenantKey, TenantQuery, TenantRecord,
    TenantSelector,
};
use registry_core::tenant::Tenant;
use registry_core::text::{Channel, SubscriptionId};

pub use target::{PostgresOptions, UrlError};

use crate::change::change;
use crate::facts::OfChannel;
use crate::failure::ChangeError;
use crate::pool::Pool;

/// The store in one PostgreSQL database.
#[derive(Clone)]
pub struct PostgresStore {
    pool: Pool,
}

impl PostgresStore {
    /// A store in the database that `options` name. Connects when it is first asked for something.
    pub fn new(options: &PostgresOptions) -> Result<Self, StoreError> {
        Ok(Self { pool: Pool::new(options)? })
    }

    /// Whether the database keeps texts as they are: anything but UTF-8 would refuse some names for
    /// ever.
    pub async fn check_encoding(&self) -> Result<(), StoreError> {
        self.pool.run(|connection| records::check_encoding(connection).boxed()).await
    }

    /// The names of the migrations that have not been run: none must be left before anything else
    /// is asked for. Takes no more than the right to read.
    pub async fn migrations_pending(&self) -> Result<Vec<String>, StoreError> {
        migrations::pending(&self.pool).await
    }

    /// Runs the migrations that have not been run, and returns their names. Several processes may
    /// do so at once. It needs a runtime with several threads.
    pub async fn migrations_run(&self) -> Result<Vec<String>, StoreError> {
        migrations::run(&self.pool).await
    }

    /// Makes any part of a name quick to find, where it is not yet, and says whether it had to. It
    /// takes the extension `pg_trgm`, and on a large fleet some time, in which others may go on
    /// writing. Where the server does not let us, searches find beginnings only, and nothing else
    /// changes.
    pub async fn search_by_part_make(&self) -> Result<bool, StoreError> {
        migrations::make_search(&self.pool).await
    }
}

#[async_trait]
impl Store for PostgresStore {
    async fn tenant_register(
        &self,
        subscription: Option<SubscriptionId>,
        replay: Option<Replay>,
        decide: Decide<RegisterFacts, Issued>,
    ) -> Result<Outcome<Issued>, StoreError> {
        change(&self.pool, subscription, replay, decide).await
    }

    async fn code_redeem(
        &self,
        key: RedeemKey,
        replay: Option<Replay>,
        decide: Decide<RedeemFacts, Redeemed>,
    ) -> Result<Outcome<Redeemed>, StoreError> {
        change(&self.pool, key, replay, decide).await
    }

    async fn code_reissue(
        &self,
        selector: TenantSelector,
        replay: Option<Replay>,
        decide: Decide<ReissueFacts, Issued>,
    ) -> Result<Outcome<Issued>, StoreError> {
        change(&self.pool, selector, replay, decide).await
    }

    async fn entitlement_change(
        &self,
        key: EntitlementKey,
        replay: Option<Replay>,
        decide: Decide<EntitlementFacts, EntitlementChanged>,
    ) -> Result<Outcome<EntitlementChanged>, StoreError> {
        change(&self.pool, key, replay, decide).await
    }

    async fn tenant_change(
        &self,
        key: TenantKey,
        decide: Decide<TenantFacts, Tenant>,
    ) -> Result<Outcome<Tenant>, StoreError> {
        change(&self.pool, key, None, decide).await
    }

    async fn check_in(
        &self,
        digest: CredentialDigest,
        now: Timestamp,
        replay: Option<Replay>,
        decide: Decide<Option<CredentialFacts>, CheckedIn>,
    ) -> Result<Outcome<CheckedIn>, StoreError> {
        change(&self.pool, credentials::CheckIn { digest, now }, replay, decide).await
    }

    async fn credential_show(
        &self,
        digest: CredentialDigest,
    ) -> Result<Option<CredentialFacts>, StoreError> {
        let shown =
            self.pool.run(move |connection| credentials::show(connection, digest).boxed()).await;
        shown.map_err(ChangeError::into_store)
    }

    async fn release_change(
        &self,
        channel: Channel,
        decide: Decide<ReleaseFacts, Release>,
    ) -> Result<Outcome<Release>, StoreError> {
        change(&self.pool, OfChannel(channel), None, decide).await
    }

    async fn release_current(&self, channel: Channel) -> Result<Option<Release>, StoreError> {
        self.pool.run(move |connection| records::release_current(connection, channel).boxed()).await
    }

    async fn release_list(
        &self,
        channel: Option<Channel>,
    ) -> Result<Vec<ListedRelease>, StoreError> {
        self.pool
            .run(move |connection| {
                async move { records::releases(connection, channel.as_ref()).await }.boxed()
            })
            .await
    }

    async fn release_of_file(&self, key: BlobKey) -> Result<Option<Release>, StoreError> {
        self.pool.run(move |connection| records::release_of_file(connection, key).boxed()).await
    }

    async fn code_show(&self, id: CodeId) -> Result<Option<(InstallCode, Tenant)>, StoreError> {
        self.pool.run(move |connection| facts::code(connection, id).boxed()).await
    }

    async fn tenant_list(&self, query: TenantQuery) -> Result<Vec<TenantRecord>, StoreError> {
        self.pool
            .run(move |connection| async move { directory::list(connection, &query).await }.boxed())
            .await
    }

    async fn tenant_show(&self, id: TenantId) -> Result<Option<TenantRecord>, StoreError> {
        self.pool.run(move |connection| directory::show(connection, id).boxed()).await
    }

    async fn audit_list(&self, query: AuditQuery) -> Result<Vec<AuditEntry>, StoreError> {
        self.pool.run(move |connection| records::audit_list(connection, query).boxed()).await
    }

    async fn audit_count(&self, entry: AuditEntry) -> Result<(), StoreError> {
        self.pool
            .run(move |connection| {
                async move { records::audit_count(connection, &entry).await }.boxed()
            })
            .await
    }

    async fn mail_lease(
        &self,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Option<QueuedMail>, StoreError> {
        self.pool.run(move |connection| outbox::lease(connection, now, until).boxed()).await
    }

    async fn mail_settle(
        &self,
        id: MailId,
        until: Timestamp,
        settlement: DeliveryOutcome,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.pool
            .run(move |connection| {
                async move { outbox::settle(connection, id, until, &settlement, now).await }.boxed()
            })
            .await
    }

    async fn mail_list(&self, query: MailQuery) -> Result<Vec<QueuedMail>, StoreError> {
        self.pool.run(move |connection| outbox::list(connection, query).boxed()).await
    }

    async fn mail_change(
        &self,
        id: MailId,
        decide: Decide<Option<QueuedMail>, QueuedMail>,
    ) -> Result<Outcome<QueuedMail>, StoreError> {
        change(&self.pool, id, None, decide).await
    }

    async fn appliances_silent(
        &self,
        since: Timestamp,
        limit: u32,
    ) -> Result<Vec<SilentAppliance>, StoreError> {
        self.pool.run(move |connection| directory::silent(connection, since, limit).boxed()).await
    }

    async fn sign_in_show(&self, digest: SignInDigest) -> Result<Option<SignIn>, StoreError> {
        self.pool.run(move |connection| sign_ins::show(connection, digest).boxed()).await
    }

    async fn sign_in_change(
        &self,
        digest: SignInDigest,
        decide: Decide<Option<SignIn>, SignIn>,
    ) -> Result<Outcome<SignIn>, StoreError> {
        change(&self.pool, digest, None, decide).await
    }

    async fn count_expired(
        &self,
        kind: RetentionKind,
        before: Timestamp,
    ) -> Result<u64, StoreError> {
        self.pool.run(move |connection| retention::count(connection, kind, before).boxed()).await
    }

    async fn delete_expired(
        &self,
        kind: RetentionKind,
        before: Timestamp,
        limit: u32,
    ) -> Result<u64, StoreError> {
        self.pool
            .run(move |connection| retention::delete(connection, kind, before, limit).boxed())
            .await
    }

    async fn key_ids_in_use(&self) -> Result<Vec<KeyId>, StoreError> {
        self.pool.run(|connection| records::key_ids_in_use(connection).boxed()).await
    }

    async fn register_master_key(&self, ring: Vec<KeyId>) -> Result<Option<KeyId>, StoreError> {
        self.pool
            .run(move |connection| records::register_master_key(connection, ring).boxed())
            .await
    }

    async fn probe(&self) -> Result<(), StoreError> {
        self.pool.run(|connection| records::probe(connection).boxed()).await
    }
}
