//! The storage port on PostgreSQL: several processes on one database, which is the only limit.
//!
//! This crate holds no rule: it loads facts, asks core's decision, applies the writes. How a change stays honest among
//! many that race is in the module `change`; how many writes become one statement, in `batch`.
//!
//! To add a table: 1. a migration in `migrations/postgres` (and one of the same name for SQLite); 2. `schema`; 3. its
//! row in `rows`; 4. its writes in `writes`. Nothing else changes.

mod batch;
mod change;
mod credentials;
mod directory;
mod facts;
mod failure;
mod migrations;
mod outbox;
mod pool;
mod rows;
mod schema;
mod target;
mod tls;
mod writes;

use async_trait::async_trait;
use diesel::prelude::*;
use diesel::upsert::excluded;
use diesel_async::RunQueryDsl;
use registry_core::answer::{CheckedIn, EntitlementChanged, Issued, Redeemed};
use registry_core::audit::{Action, AuditEntry};
use registry_core::clock::Timestamp;
use registry_core::guesses::Source;
use registry_core::id::{AuditId, MailId, TenantId};
use registry_core::mail::{QueuedMail, Settlement};
use registry_core::release::Release;
use registry_core::secret::{CredentialDigest, KeyId};
use registry_core::store::{
    CredentialFacts, Decide, EntitlementFacts, EntitlementKey, Outcome, RedeemFacts, RedeemKey, RegisterFacts,
    ReissueFacts, ReleaseFacts, Replay, Store, StoreError, TenantFacts, TenantKey, TenantQuery, TenantRecord,
    TenantSelector,
};
use registry_core::tenant::Tenant;
use registry_core::text::{Channel, SubscriptionId, Version};

pub use target::{PostgresOptions, UrlError};

use crate::change::change;
use crate::facts::ReleaseName;
use crate::failure::{Trouble, failure};
use crate::pool::Pool;
use crate::schema::{audit, channels, install_codes, mails, probes, releases, rings};

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

    /// The names of the migrations that have not been run: none must be left before anything else is asked for.
    pub async fn migrations_pending(&self) -> Result<Vec<String>, StoreError> {
        migrations::pending(&self.pool).await
    }

    /// Runs the migrations that have not been run, and returns their names. Several processes may do so at once. It
    /// needs a runtime with several threads.
    pub async fn migrations_run(&self) -> Result<Vec<String>, StoreError> {
        migrations::run(&self.pool).await
    }

    /// Runs the optional migrations, which make any part of a name quick to find. They take the extension `pg_trgm`;
    /// where the server does not let us have it, searches find beginnings only, and nothing else changes.
    pub async fn search_migrations_run(&self) -> Result<Vec<String>, StoreError> {
        migrations::run_search(&self.pool).await
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

    async fn credential_show(&self, digest: CredentialDigest) -> Result<Option<CredentialFacts>, StoreError> {
        let mut connection = self.pool.get().await?;
        credentials::show(&mut connection, digest).await.map_err(Trouble::into_store)
    }

    async fn release_publish(
        &self,
        channel: Channel,
        version: Version,
        decide: Decide<ReleaseFacts, Release>,
    ) -> Result<Outcome<Release>, StoreError> {
        change(&self.pool, ReleaseName(channel, version), None, decide).await
    }

    async fn release_current(&self, channel: Channel) -> Result<Option<Release>, StoreError> {
        let mut connection = self.pool.get().await?;
        let current = channels::table.find(channel.as_str()).inner_join(releases::table);
        let row = current.select(rows::ReleaseRow::as_select()).first(&mut connection).await.optional();
        row.map_err(|error| failure(&error))?.map(Release::try_from).transpose()
    }

    async fn tenant_list(&self, query: TenantQuery) -> Result<Vec<TenantRecord>, StoreError> {
        let mut connection = self.pool.get().await?;
        directory::list(&mut connection, &query).await
    }

    async fn tenant_show(&self, id: TenantId) -> Result<Option<TenantRecord>, StoreError> {
        let mut connection = self.pool.get().await?;
        directory::show(&mut connection, id).await
    }

    async fn audit_list(&self, tenant: Option<TenantId>) -> Result<Vec<AuditEntry>, StoreError> {
        let mut connection = self.pool.get().await?;
        let mut lines = audit::table.select(rows::AuditRow::as_select()).into_boxed();
        if let Some(tenant) = tenant {
            lines = lines.filter(audit::tenant_id.eq(tenant.0));
        }
        let lines = lines.order((audit::at, audit::id)).load::<rows::AuditRow>(&mut connection).await;
        lines.map_err(|error| failure(&error))?.into_iter().map(AuditEntry::try_from).collect()
    }

    async fn audit_unknown_code(&self, id: AuditId, source: Source, minute: Timestamp) -> Result<(), StoreError> {
        let mut connection = self.pool.get().await?;
        let line = (
            audit::id.eq(id.0),
            audit::at.eq(minute),
            audit::actor.eq("appliance"),
            audit::source.eq(source.to_string()),
            audit::action.eq(Action::UnknownCodes.as_str()),
            audit::detail.eq(""),
            audit::count.eq(1),
        );
        let counted = diesel::insert_into(audit::table)
            .values(line)
            .on_conflict((audit::source, audit::at))
            .filter_target(audit::action.eq("unknown_codes"))
            .do_update()
            .set(audit::count.eq(audit::count + excluded(audit::count)))
            .execute(&mut connection)
            .await;
        counted.map(drop).map_err(|error| failure(&error))
    }

    async fn mail_lease(&self, now: Timestamp, until: Timestamp, limit: u32) -> Result<Vec<QueuedMail>, StoreError> {
        let mut connection = self.pool.get().await?;
        outbox::lease(&mut connection, now, until, limit).await
    }

    async fn mail_settle(&self, id: MailId, settlement: Settlement, now: Timestamp) -> Result<(), StoreError> {
        let mut connection = self.pool.get().await?;
        outbox::settle(&mut connection, id, &settlement, now).await
    }

    async fn mail_list(&self, tenant: TenantId) -> Result<Vec<QueuedMail>, StoreError> {
        let mut connection = self.pool.get().await?;
        outbox::list(&mut connection, tenant).await
    }

    async fn key_ids_in_use(&self) -> Result<Vec<KeyId>, StoreError> {
        let mut connection = self.pool.get().await?;
        let unconsumed = install_codes::consumed_at.is_null().and(install_codes::superseded_at.is_null());
        let codes = install_codes::table.filter(unconsumed).select(install_codes::digest_key_id).distinct();
        let mut ids: Vec<String> = codes.load(&mut connection).await.map_err(|error| failure(&error))?;
        let sealed = mails::table.select(mails::sealed_key_id.assume_not_null()).distinct();
        let sealed = sealed.filter(mails::sealed_key_id.is_not_null()).load(&mut connection).await;
        ids.extend(sealed.map_err(|error| failure(&error))?);
        ids.sort();
        ids.dedup();
        Ok(ids.into_iter().map(KeyId).collect())
    }

    async fn ring_record(&self, ring: Vec<KeyId>) -> Result<Option<KeyId>, StoreError> {
        let ids: Vec<&str> = ring.iter().map(|key| key.0.as_str()).collect();
        let Some(&current) = ids.as_slice().first() else { return Ok(None) };
        let mut connection = self.pool.get().await?;
        let first = diesel::insert_into(rings::table).values((rings::id.eq(1), rings::key_id.eq(current)));
        let first = first.on_conflict_do_nothing().execute(&mut connection).await.map_err(|error| failure(&error))?;
        let ours = diesel::update(rings::table.filter(rings::key_id.eq_any(&ids))).set(rings::key_id.eq(current));
        if first == 1 || ours.execute(&mut connection).await.map_err(|error| failure(&error))? == 1 {
            return Ok(None);
        }
        let other: String =
            rings::table.select(rings::key_id).first(&mut connection).await.map_err(|error| failure(&error))?;
        Ok(Some(KeyId(other)))
    }

    async fn probe(&self) -> Result<(), StoreError> {
        let mut connection = self.pool.get().await?;
        let counted = diesel::insert_into(probes::table)
            .values((probes::id.eq(1), probes::writes.eq(1)))
            .on_conflict(probes::id)
            .do_update()
            .set(probes::writes.eq(probes::writes + 1))
            .execute(&mut connection)
            .await;
        counted.map(drop).map_err(|error| failure(&error))
    }
}
