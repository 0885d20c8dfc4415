//! The storage port on SQLite: the embedded default, one file and no server.
//!
//! This crate holds no rule: it loads facts, asks core's decision, applies the writes. Every change is one
//! `BEGIN IMMEDIATE` transaction on the one writer connection, so the facts are held while they are decided on, also
//! against other processes on the same file.

mod connection;
mod directory;
mod facts;
mod outbox;
mod rows;
mod schema;
mod writes;

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use registry_core::answer::{CheckedIn, EntitlementChanged, Issued, Redeemed};
use registry_core::audit::{Action, AuditEntry};
use registry_core::clock::Timestamp;
use registry_core::guesses::Source;
use registry_core::id::{AuditId, MailId, TenantId};
use registry_core::mail::{QueuedMail, Settlement};
use registry_core::release::Release;
use registry_core::secret::{CredentialDigest, KeyId};
use registry_core::store::{
    CredentialFacts, Decide, Decision, EntitlementFacts, EntitlementKey, Outcome, RedeemFacts, RedeemKey,
    RegisterFacts, ReissueFacts, ReleaseFacts, Replay, Store, StoreError, TenantFacts, TenantKey, TenantQuery,
    TenantRecord, TenantSelector,
};
use registry_core::tenant::Tenant;
use registry_core::text::{Channel, SubscriptionId, Version};

use crate::connection::{Connections, failure};
use crate::schema::{audit, channels, install_codes, mails, releases, rings};

/// The store in one SQLite file.
#[derive(Clone)]
pub struct SqliteStore {
    connections: Arc<Connections>,
}

impl SqliteStore {
    /// Opens the database at `path`; makes and migrates it where needed. Blocks for as long as that takes.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Ok(Self { connections: Arc::new(Connections::open(path)?) })
    }

    /// Writes a copy of the database as it is in this moment to `path`, where nothing must be yet. Others may go on
    /// writing meanwhile.
    pub async fn copy_to(&self, path: &Path) -> Result<(), StoreError> {
        let path = path.to_str().ok_or_else(|| StoreError::Unavailable("the path is not UTF-8".to_owned()))?.to_owned();
        self.connections.copy_to(path).await
    }

    /// The one pattern: replay, or load, decide, apply; committed together.
    async fn decide<F: 'static, T: Send + 'static>(
        &self,
        replay: Option<Replay>,
        load: impl FnOnce(&mut SqliteConnection) -> Result<F, StoreError> + Send + 'static,
        decide: Decide<F, T>,
    ) -> Result<Outcome<T>, StoreError> {
        let work = move |connection: &mut SqliteConnection| {
            if let Some(outcome) = facts::replayed(connection, replay.as_ref())? {
                return Ok(outcome);
            }
            match decide(&load(connection)?) {
                Decision::Abort(error) => Ok(Outcome::Aborted(error)),
                Decision::Commit { writes, outcome } => {
                    writes::apply(connection, &writes)?;
                    Ok(outcome.map_or_else(Outcome::Refused, Outcome::Done))
                }
            }
        };
        self.connections.write(work).await
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn tenant_register(
        &self,
        subscription: Option<SubscriptionId>,
        replay: Option<Replay>,
        decide: Decide<RegisterFacts, Issued>,
    ) -> Result<Outcome<Issued>, StoreError> {
        self.decide(replay, move |connection| facts::register(connection, subscription.as_ref()), decide).await
    }

    async fn code_redeem(
        &self,
        key: RedeemKey,
        replay: Option<Replay>,
        decide: Decide<RedeemFacts, Redeemed>,
    ) -> Result<Outcome<Redeemed>, StoreError> {
        // Whoever guesses keeps no writer waiting: where a reader finds no code and the decision writes nothing, that is it.
        if replay.is_none() {
            let key = key.clone();
            let facts = self.connections.read(move |connection| facts::redeem(connection, &key)).await?;
            if facts.code.is_none()
                && let Decision::Commit { writes, outcome } = decide(&facts)
                && writes.is_empty()
            {
                return Ok(outcome.map_or_else(Outcome::Refused, Outcome::Done));
            }
        }
        self.decide(replay, move |connection| facts::redeem(connection, &key), decide).await
    }

    async fn code_reissue(
        &self,
        selector: TenantSelector,
        replay: Option<Replay>,
        decide: Decide<ReissueFacts, Issued>,
    ) -> Result<Outcome<Issued>, StoreError> {
        self.decide(replay, move |connection| facts::reissue(connection, &selector), decide).await
    }

    async fn entitlement_change(
        &self,
        key: EntitlementKey,
        replay: Option<Replay>,
        decide: Decide<EntitlementFacts, EntitlementChanged>,
    ) -> Result<Outcome<EntitlementChanged>, StoreError> {
        self.decide(replay, move |connection| facts::entitlement_change(connection, &key), decide).await
    }

    async fn tenant_change(
        &self,
        key: TenantKey,
        decide: Decide<TenantFacts, Tenant>,
    ) -> Result<Outcome<Tenant>, StoreError> {
        self.decide(None, move |connection| facts::tenant_change(connection, &key), decide).await
    }

    async fn check_in(
        &self,
        digest: CredentialDigest,
        now: Timestamp,
        replay: Option<Replay>,
        decide: Decide<Option<CredentialFacts>, CheckedIn>,
    ) -> Result<Outcome<CheckedIn>, StoreError> {
        let load = move |connection: &mut SqliteConnection| {
            facts::touch(connection, digest, now)?;
            facts::credential(connection, digest)
        };
        self.decide(replay, load, decide).await
    }

    async fn credential_show(&self, digest: CredentialDigest) -> Result<Option<CredentialFacts>, StoreError> {
        self.connections.read(move |connection| facts::credential(connection, digest)).await
    }

    async fn release_publish(
        &self,
        channel: Channel,
        version: Version,
        decide: Decide<ReleaseFacts, Release>,
    ) -> Result<Outcome<Release>, StoreError> {
        self.decide(None, move |connection| facts::release(connection, &channel, &version), decide).await
    }

    async fn release_current(&self, channel: Channel) -> Result<Option<Release>, StoreError> {
        let current = move |connection: &mut SqliteConnection| {
            let current = channels::table.find(channel.as_str()).select(channels::release_id);
            let release = releases::table.filter(releases::id.eq_any(current));
            facts::one(release.select(rows::ReleaseRow::as_select()).first(connection).optional())
        };
        self.connections.read(current).await
    }

    async fn tenant_list(&self, query: TenantQuery) -> Result<Vec<TenantRecord>, StoreError> {
        self.connections.read(move |connection| directory::list(connection, &query)).await
    }

    async fn tenant_show(&self, id: TenantId) -> Result<Option<TenantRecord>, StoreError> {
        self.connections.read(move |connection| directory::show(connection, id)).await
    }

    async fn audit_list(&self, tenant: Option<TenantId>) -> Result<Vec<AuditEntry>, StoreError> {
        let list = move |connection: &mut SqliteConnection| {
            let mut lines = audit::table.select(rows::AuditRow::as_select()).into_boxed();
            if let Some(tenant) = tenant {
                lines = lines.filter(audit::tenant_id.eq(tenant.to_string()));
            }
            facts::all(lines.order((audit::at, audit::id)).load(connection))
        };
        self.connections.read(list).await
    }

    async fn audit_unknown_code(&self, id: AuditId, source: Source, minute: Timestamp) -> Result<(), StoreError> {
        let count = move |connection: &mut SqliteConnection| {
            diesel::sql_query(
                "INSERT INTO audit (id, at, actor, source, action, detail, count) \
                 VALUES (?, ?, 'appliance', ?, ?, '', 1) \
                 ON CONFLICT (source, at) WHERE action = 'unknown_codes' DO UPDATE SET count = count + 1",
            )
            .bind::<Text, _>(id.to_string())
            .bind::<BigInt, _>(minute.timestamp_micros())
            .bind::<Text, _>(source.to_string())
            .bind::<Text, _>(Action::UnknownCodes.as_str())
            .execute(connection)
            .map(drop)
            .map_err(|error| failure(&error))
        };
        self.connections.write(count).await
    }

    async fn mail_lease(&self, now: Timestamp, until: Timestamp, limit: u32) -> Result<Vec<QueuedMail>, StoreError> {
        if !self.connections.read(move |connection| outbox::any_due(connection, now)).await? {
            return Ok(Vec::new());
        }
        self.connections.write(move |connection| outbox::lease(connection, now, until, limit)).await
    }

    async fn mail_settle(&self, id: MailId, settlement: Settlement, now: Timestamp) -> Result<(), StoreError> {
        self.connections.write(move |connection| outbox::settle(connection, id, &settlement, now)).await
    }

    async fn mail_list(&self, tenant: TenantId) -> Result<Vec<QueuedMail>, StoreError> {
        self.connections.read(move |connection| outbox::list(connection, tenant)).await
    }

    async fn key_ids_in_use(&self) -> Result<Vec<KeyId>, StoreError> {
        let list = |connection: &mut SqliteConnection| {
            let unconsumed = install_codes::consumed_at.is_null().and(install_codes::superseded_at.is_null());
            let codes = install_codes::table.filter(unconsumed).select(install_codes::digest_key_id).distinct();
            let mut ids: Vec<String> = codes.load(connection).map_err(|error| failure(&error))?;
            let sealed = mails::table.select(mails::sealed_key_id).distinct().load(connection);
            let sealed: Vec<Option<String>> = sealed.map_err(|error| failure(&error))?;
            ids.extend(sealed.into_iter().flatten());
            ids.sort();
            ids.dedup();
            Ok(ids.into_iter().map(KeyId).collect())
        };
        self.connections.read(list).await
    }

    async fn ring_record(&self, ring: Vec<KeyId>) -> Result<Option<KeyId>, StoreError> {
        let record = move |connection: &mut SqliteConnection| {
            let recorded: QueryResult<Option<String>> = rings::table.select(rings::key_id).first(connection).optional();
            let recorded = recorded.map_err(|error| failure(&error))?.map(KeyId);
            let current = match (&recorded, ring.first()) {
                (Some(recorded), _) if !ring.contains(recorded) => return Ok(Some(recorded.clone())),
                (_, None) => return Ok(None),
                (_, Some(current)) => current,
            };
            let row = (rings::id.eq(1), rings::key_id.eq(&current.0));
            let written = diesel::replace_into(rings::table).values(row).execute(connection);
            written.map(|_| None).map_err(|error| failure(&error))
        };
        self.connections.write(record).await
    }

    async fn probe(&self) -> Result<(), StoreError> {
        let write = |connection: &mut SqliteConnection| {
            let counted =
                "INSERT INTO probes (id, writes) VALUES (1, 1) ON CONFLICT (id) DO UPDATE SET writes = writes + 1";
            diesel::sql_query(counted).execute(connection).map(drop).map_err(|error| failure(&error))
        };
        self.connections.write(write).await
    }
}
