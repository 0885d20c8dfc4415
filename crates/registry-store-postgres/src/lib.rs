//! Storage on PostgreSQL: several processes share one database, which alone limits the throughput.
//!
//! This crate contains no rules: it loads facts, lets core decide, and applies the writes. The
//! module `change` explains how concurrent changes stay correct, and `batch` how the writes of a
//! change become one statement.
//!
//! To add a table: 1. write a migration in `migrations/postgres`, and one of the same name for
//! SQLite; 2. add the table to `schema`; 3. add its row to `rows`; 4. add its writes to `writes`.
//! Nothing else changes.

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
mod single_facts;
mod statement;
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
    OverdueAppliance, RedeemFacts, RedeemKey, RegisterFacts, ReissueFacts, ReleaseFacts, Replay,
    RetentionKind, Store, StoreError, TenantFacts, TenantKey, TenantQuery, TenantRecord,
    TenantSelector,
};
use registry_core::tenant::Tenant;
use registry_core::text::{Channel, SubscriptionId};

pub use target::{PostgresOptions, UrlError};

use crate::change::change;
use crate::failure::ChangeError;
use crate::pool::Pool;
use crate::single_facts::OfChannel;

/// A store in a PostgreSQL database.
#[derive(Clone)]
pub struct PostgresStore {
    pool: Pool,
}

impl PostgresStore {
    /// Returns a store in the database that `options` name. The first use of the store connects.
    ///
    /// # Errors
    /// If the URL is invalid, or a file with certificates cannot be read.
    pub fn new(options: &PostgresOptions) -> Result<Self, StoreError> {
        Ok(Self { pool: Pool::new(options)? })
    }

    /// Checks that the encoding of the database is UTF-8. With any other encoding, it could not
    /// store every name.
    pub async fn check_encoding(&self) -> Result<(), StoreError> {
        self.pool.run(|connection| records::check_encoding(connection).boxed()).await
    }

    /// Returns the names of the pending migrations. All migrations must have run before any other
    /// use of the store. The database role only needs the right to read.
    pub async fn migrations_pending(&self) -> Result<Vec<String>, StoreError> {
        migrations::pending(&self.pool).await
    }

    /// Runs the pending migrations, and returns their names. Several processes may do so at the
    /// same time. The async runtime must have several threads.
    pub async fn migrations_run(&self) -> Result<Vec<String>, StoreError> {
        migrations::run(&self.pool).await
    }

    /// Creates the index for searches by any part of a name, with the extension `pg_trgm`. Returns
    /// false if the index existed. On a large fleet this takes some time; other processes can write
    /// meanwhile. If the server does not permit it, searches match only the beginning of a name,
    /// and nothing else changes.
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
        outcome: DeliveryOutcome,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.pool
            .run(move |connection| {
                async move { outbox::settle(connection, id, until, &outcome, now).await }.boxed()
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

    async fn appliances_overdue(
        &self,
        since: Timestamp,
        limit: u32,
    ) -> Result<Vec<OverdueAppliance>, StoreError> {
        self.pool.run(move |connection| directory::overdue(connection, since, limit).boxed()).await
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
