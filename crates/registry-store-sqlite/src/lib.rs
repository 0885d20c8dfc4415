//! Storage on SQLite: the default, one file and no server.
//!
//! This crate contains no rules: it loads facts, lets core decide, and applies the writes. Each
//! change is one `BEGIN IMMEDIATE` transaction on the only write connection, so nothing changes the
//! facts during the decision, not even another process with the same file.

mod connection;
mod directory;
mod facts;
mod outbox;
mod records;
mod retention;
mod rows;
mod schema;
mod sign_ins;
mod writes;

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use diesel::prelude::*;
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
    AuditQuery, CredentialFacts, Decide, Decision, EntitlementFacts, EntitlementKey, ListedRelease,
    Outcome, OverdueAppliance, RedeemFacts, RedeemKey, RegisterFacts, ReissueFacts, ReleaseFacts,
    Replay, RetentionKind, Store, StoreError, TenantFacts, TenantKey, TenantQuery, TenantRecord,
    TenantSelector,
};
use registry_core::tenant::Tenant;
use registry_core::text::{Channel, SubscriptionId};

use crate::connection::Connections;

/// A store in an SQLite file.
#[derive(Clone)]
pub struct SqliteStore {
    connections: Arc<Connections>,
}

impl SqliteStore {
    /// Opens the database at `path`. Creates the file if it does not exist, and runs pending
    /// migrations. Blocks the thread meanwhile.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Ok(Self { connections: Arc::new(Connections::open(path)?) })
    }

    /// Writes a snapshot of the database to `path`, which must not exist. Other requests can write
    /// meanwhile.
    pub async fn copy_to(&self, path: &Path) -> Result<(), StoreError> {
        let path = path
            .to_str()
            .ok_or_else(|| StoreError::Unavailable("the path of the copy is not UTF-8".to_owned()))?
            .to_owned();
        self.connections.copy_to(path).await
    }

    /// Runs a change in one transaction: returns the result of a replay, or loads the facts,
    /// decides and applies the writes.
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
        self.decide(
            replay,
            move |connection| facts::register(connection, subscription.as_ref()),
            decide,
        )
        .await
    }

    async fn code_redeem(
        &self,
        key: RedeemKey,
        replay: Option<Replay>,
        decide: Decide<RedeemFacts, Redeemed>,
    ) -> Result<Outcome<Redeemed>, StoreError> {
        // A guessed code must not block writers: if a read finds no code and the decision writes
        // nothing, no write transaction is needed.
        if replay.is_none() {
            let key = key.clone();
            let facts =
                self.connections.read(move |connection| facts::redeem(connection, &key)).await?;
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
        self.decide(replay, move |connection| facts::entitlement_change(connection, &key), decide)
            .await
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

    async fn credential_show(
        &self,
        digest: CredentialDigest,
    ) -> Result<Option<CredentialFacts>, StoreError> {
        self.connections.read(move |connection| facts::credential(connection, digest)).await
    }

    async fn release_change(
        &self,
        channel: Channel,
        decide: Decide<ReleaseFacts, Release>,
    ) -> Result<Outcome<Release>, StoreError> {
        let load = move |connection: &mut SqliteConnection| {
            Ok(ReleaseFacts { releases: records::releases(connection, Some(&channel))? })
        };
        self.decide(None, load, decide).await
    }

    async fn release_current(&self, channel: Channel) -> Result<Option<Release>, StoreError> {
        self.connections
            .read(move |connection| records::release_current(connection, &channel))
            .await
    }

    async fn release_list(
        &self,
        channel: Option<Channel>,
    ) -> Result<Vec<ListedRelease>, StoreError> {
        self.connections
            .read(move |connection| records::releases(connection, channel.as_ref()))
            .await
    }

    async fn release_of_file(&self, key: BlobKey) -> Result<Option<Release>, StoreError> {
        self.connections.read(move |connection| records::release_of_file(connection, &key)).await
    }

    async fn code_show(&self, id: CodeId) -> Result<Option<(InstallCode, Tenant)>, StoreError> {
        self.connections.read(move |connection| facts::code(connection, id)).await
    }

    async fn tenant_list(&self, query: TenantQuery) -> Result<Vec<TenantRecord>, StoreError> {
        self.connections.read(move |connection| directory::list(connection, &query)).await
    }

    async fn tenant_show(&self, id: TenantId) -> Result<Option<TenantRecord>, StoreError> {
        self.connections.read(move |connection| directory::show(connection, id)).await
    }

    async fn audit_list(&self, query: AuditQuery) -> Result<Vec<AuditEntry>, StoreError> {
        self.connections.read(move |connection| records::audit_list(connection, query)).await
    }

    async fn audit_count(&self, entry: AuditEntry) -> Result<(), StoreError> {
        self.connections.write(move |connection| records::audit_count(connection, &entry)).await
    }

    async fn mail_lease(
        &self,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Option<QueuedMail>, StoreError> {
        if !self.connections.read(move |connection| outbox::any_due(connection, now)).await? {
            return Ok(None);
        }
        self.connections.write(move |connection| outbox::lease(connection, now, until)).await
    }

    async fn mail_settle(
        &self,
        id: MailId,
        until: Timestamp,
        outcome: DeliveryOutcome,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.connections
            .write(move |connection| outbox::settle(connection, id, until, &outcome, now))
            .await
    }

    async fn mail_list(&self, query: MailQuery) -> Result<Vec<QueuedMail>, StoreError> {
        self.connections.read(move |connection| outbox::list(connection, query)).await
    }

    async fn mail_change(
        &self,
        id: MailId,
        decide: Decide<Option<QueuedMail>, QueuedMail>,
    ) -> Result<Outcome<QueuedMail>, StoreError> {
        self.decide(None, move |connection| outbox::show(connection, id), decide).await
    }

    async fn appliances_overdue(
        &self,
        since: Timestamp,
        limit: u32,
    ) -> Result<Vec<OverdueAppliance>, StoreError> {
        self.connections.read(move |connection| directory::overdue(connection, since, limit)).await
    }

    async fn sign_in_show(&self, digest: SignInDigest) -> Result<Option<SignIn>, StoreError> {
        self.connections.read(move |connection| sign_ins::show(connection, digest)).await
    }

    async fn sign_in_change(
        &self,
        digest: SignInDigest,
        decide: Decide<Option<SignIn>, SignIn>,
    ) -> Result<Outcome<SignIn>, StoreError> {
        self.decide(None, move |connection| sign_ins::show(connection, digest), decide).await
    }

    async fn count_expired(
        &self,
        kind: RetentionKind,
        before: Timestamp,
    ) -> Result<u64, StoreError> {
        self.connections.read(move |connection| retention::count(connection, kind, before)).await
    }

    async fn delete_expired(
        &self,
        kind: RetentionKind,
        before: Timestamp,
        limit: u32,
    ) -> Result<u64, StoreError> {
        self.connections
            .write(move |connection| retention::delete(connection, kind, before, limit))
            .await
    }

    async fn key_ids_in_use(&self) -> Result<Vec<KeyId>, StoreError> {
        self.connections.read(records::key_ids_in_use).await
    }

    async fn register_master_key(&self, ring: Vec<KeyId>) -> Result<Option<KeyId>, StoreError> {
        self.connections
            .write(move |connection| records::register_master_key(connection, &ring))
            .await
    }

    async fn probe(&self) -> Result<(), StoreError> {
        self.connections.write(records::probe).await
    }
}
