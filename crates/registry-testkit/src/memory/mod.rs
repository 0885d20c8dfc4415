//! The `Store` port in memory. A change holds one lock and works on a copy of the tables, which
//! replaces them only if every write succeeds.

mod table;
mod tables;

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use registry_core::appliance::Appliance;
use registry_core::audit::AuditEntry;
use registry_core::blob::BlobKey;
use registry_core::clock::Timestamp;
use registry_core::id::{CodeId, MailId, TenantId};
use registry_core::install_code::{CodeKind, InstallCode};
use registry_core::mail::{LONGEST_DELAY, MailCounts, MailQuery, MailState, QueuedMail};
use registry_core::release::Release;
use registry_core::results::{CheckedIn, EntitlementChanged, Issued, Redeemed};
use registry_core::secret::{CredentialDigest, KeyId, SignInDigest};
use registry_core::sign_in::SignIn;
use registry_core::store::{
    AuditQuery, Changes, CredentialFacts, Decide, Decision, Directory, EntitlementFacts,
    EntitlementKey, Keys, ListedRelease, Outbox, Outcome, OverdueAppliance, RedeemFacts, RedeemKey,
    ReissueFacts, ReleaseFacts, Releases, Replay, ReplayRecord, Retention, RetentionKind, SignIns,
    StoreError, TenantFacts, TenantKey, TenantQuery, TenantRecord, TenantSelector,
};
use registry_core::tenant::Tenant;
use registry_core::text::{Channel, SubscriptionId};

use self::tables::{Tables, is_unused};

/// A store in memory, for tests and simulations. Clones share the tables.
#[derive(Clone, Default)]
pub struct MemoryStore(Arc<Mutex<Tables>>);

impl MemoryStore {
    /// Returns a store with a copy of the tables as they are now: changes of one are not seen by
    /// the other.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self(Arc::new(Mutex::new(self.tables().clone())))
    }

    /// A panic in a decision leaves the tables as they were.
    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn decide<F, T>(
        &self,
        replay: Option<&Replay>,
        load: impl FnOnce(&Tables) -> F,
        decide: &Decide<F, T>,
    ) -> Result<Outcome<T>, StoreError> {
        let mut tables = self.tables();
        let recorded = replay.and_then(|request| {
            tables.replays.get(&(request.scope.clone(), request.key_digest))?.outcome(request)
        });
        if let Some(outcome) = recorded {
            return Ok(outcome);
        }
        let mut decided = [decide(&load(&tables))];
        Decision::verify(&mut decided);
        let [decided] = decided;
        match decided {
            Decision::Abort(error) => Ok(Outcome::Aborted(error)),
            Decision::Commit { writes, outcome, .. } => {
                let mut changed = tables.clone();
                writes.iter().try_for_each(|write| changed.apply(write))?;
                *tables = changed;
                Ok(outcome.map_or_else(Outcome::Refused, Outcome::Done))
            }
        }
    }
}

#[async_trait]
impl Changes for MemoryStore {
    async fn tenant_register(
        &self,
        subscription: Option<SubscriptionId>,
        replay: Option<Replay>,
        decide: Decide<EntitlementFacts, Issued>,
    ) -> Result<Outcome<Issued>, StoreError> {
        let load = |tables: &Tables| tables.register_facts(subscription.as_ref());
        self.decide(replay.as_ref(), load, &decide)
    }

    async fn code_redeem(
        &self,
        key: RedeemKey,
        replay: Option<Replay>,
        decide: Decide<RedeemFacts, Redeemed>,
    ) -> Result<Outcome<Redeemed>, StoreError> {
        self.decide(replay.as_ref(), |tables| tables.redeem_facts(&key), &decide)
    }

    async fn code_reissue(
        &self,
        selector: TenantSelector,
        replay: Option<Replay>,
        decide: Decide<ReissueFacts, Issued>,
    ) -> Result<Outcome<Issued>, StoreError> {
        self.decide(replay.as_ref(), |tables| tables.reissue_facts(&selector), &decide)
    }

    async fn entitlement_change(
        &self,
        key: EntitlementKey,
        replay: Option<Replay>,
        decide: Decide<EntitlementFacts, EntitlementChanged>,
    ) -> Result<Outcome<EntitlementChanged>, StoreError> {
        self.decide(replay.as_ref(), |tables| tables.entitlement_facts(&key), &decide)
    }

    async fn tenant_change(
        &self,
        key: TenantKey,
        decide: Decide<TenantFacts, Tenant>,
    ) -> Result<Outcome<Tenant>, StoreError> {
        self.decide(None, |tables| tables.tenant_facts(&key), &decide)
    }

    async fn check_in(
        &self,
        digest: CredentialDigest,
        _now: Timestamp,
        replay: Option<Replay>,
        decide: Decide<Option<CredentialFacts>, CheckedIn>,
    ) -> Result<Outcome<CheckedIn>, StoreError> {
        self.decide(replay.as_ref(), |tables| tables.credential_facts(digest), &decide)
    }
}

#[async_trait]
impl Directory for MemoryStore {
    async fn tenant_list(&self, query: TenantQuery) -> Result<Vec<TenantRecord>, StoreError> {
        let tables = self.tables();
        let tenants = tables.newest_first(|tenant| matches_query(&query, tenant)).into_iter();
        let records = tenants.take(query.limit as usize).map(|tenant| {
            let mut record = tables.record(tenant);
            record.codes.retain(|code| code.kind == CodeKind::Install);
            record.codes.truncate(1);
            record
        });
        Ok(records.collect())
    }

    async fn tenant_show(&self, id: TenantId) -> Result<Option<TenantRecord>, StoreError> {
        let tables = self.tables();
        Ok(tables.tenants.get(&id).map(|tenant| tables.record(tenant)))
    }

    async fn appliances_overdue(
        &self,
        since: Timestamp,
        limit: u32,
    ) -> Result<Vec<OverdueAppliance>, StoreError> {
        let tables = self.tables();
        let last_seen = |it: &Appliance| it.last_check_in_at.unwrap_or(it.registered_at);
        let is_overdue = |it: &Appliance| {
            it.license.is_some() && it.revoked_at.is_none() && last_seen(it) < since
        };
        let overdue = tables
            .appliances
            .sorted(is_overdue, |it| (last_seen(it), it.tenant_id, it.id.clone()))
            .into_iter();
        let overdue = overdue.filter_map(|appliance| {
            let tenant = tables.tenants.get(&appliance.tenant_id)?;
            (!tenant.status.is_closed()).then_some(OverdueAppliance { tenant, appliance })
        });
        Ok(overdue.take(limit as usize).collect())
    }

    async fn code_show(&self, id: CodeId) -> Result<Option<(InstallCode, Tenant)>, StoreError> {
        let tables = self.tables();
        let owned = |code: InstallCode| Some((code.tenant_id?, code));
        let found = tables.codes.get(&id).and_then(owned);
        Ok(found.and_then(|(tenant, code)| Some((code, tables.tenants.get(&tenant)?))))
    }

    async fn credential_show(
        &self,
        digest: CredentialDigest,
    ) -> Result<Option<CredentialFacts>, StoreError> {
        Ok(self.tables().credential_facts(digest))
    }

    async fn replay_show(&self, request: Replay) -> Result<Option<ReplayRecord>, StoreError> {
        Ok(self.tables().replays.get(&(request.scope, request.key_digest)))
    }

    async fn license_tenant(&self, sub: String) -> Result<Option<TenantId>, StoreError> {
        let tables = self.tables();
        let entitlement = tables.entitlements.find(|it| it.license_sub == sub);
        Ok(entitlement.and_then(|it| it.tenant_id))
    }

    async fn audit_list(&self, query: AuditQuery) -> Result<Vec<AuditEntry>, StoreError> {
        let matches = |entry: &AuditEntry| {
            (query.tenant.is_none() || entry.tenant_id == query.tenant)
                && query.action.is_none_or(|action| entry.action == action)
                && query.after.is_none_or(|after| (entry.at, entry.id) < (after.at, after.id))
        };
        let newest_first = |entry: &AuditEntry| Reverse((entry.at, entry.id));
        let mut entries = self.tables().audit.sorted(matches, newest_first);
        entries.truncate(query.limit as usize);
        Ok(entries)
    }

    async fn audit_count(&self, entry: AuditEntry) -> Result<(), StoreError> {
        self.tables().append_audit(&entry)
    }
}

#[async_trait]
impl Outbox for MemoryStore {
    async fn mail_lease(
        &self,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Option<QueuedMail>, StoreError> {
        let mut tables = self.tables();
        let is_misplaced = |mail: &QueuedMail| mail.due_at > now + LONGEST_DELAY;
        let is_due = |mail: &QueuedMail| {
            mail.state == MailState::Queued && (mail.due_at <= now || is_misplaced(mail))
        };
        let due = tables.mails.rows().filter(|mail| is_due(mail));
        let leased = due.min_by_key(|it| (it.is_for_stranger, it.due_at, it.id)).cloned();
        if let Some(mail) = &leased {
            tables.mails.change(&mail.id, |mail| mail.due_at = until);
        }
        Ok(leased)
    }

    async fn mail_counts(&self, delayed_since: Timestamp) -> Result<MailCounts, StoreError> {
        let tables = self.tables();
        let count = |selects: &dyn Fn(&QueuedMail) -> bool| {
            tables.mails.rows().filter(|mail| selects(mail)).count() as u64
        };
        let is_queued = |mail: &QueuedMail| mail.state == MailState::Queued;
        Ok(MailCounts {
            queued: count(&is_queued),
            delayed: count(&|mail| is_queued(mail) && mail.queued_at < delayed_since),
            dead: count(&|mail| mail.state == MailState::Dead),
        })
    }

    async fn mail_list(&self, query: MailQuery) -> Result<Vec<QueuedMail>, StoreError> {
        let matches = |mail: &QueuedMail| {
            query.id.is_none_or(|id| mail.id == id)
                && query.tenant.is_none_or(|tenant| mail.tenant_id == tenant)
                && query.state.is_none_or(|state| mail.state == state)
                && query.after.is_none_or(|after| (mail.queued_at, mail.id) < (after.at, after.id))
        };
        let newest_first = |mail: &QueuedMail| Reverse((mail.queued_at, mail.id));
        let mut mails = self.tables().mails.sorted(matches, newest_first);
        mails.truncate(query.limit as usize);
        Ok(mails)
    }

    async fn mail_change(
        &self,
        id: MailId,
        decide: Decide<Option<QueuedMail>, QueuedMail>,
    ) -> Result<Outcome<QueuedMail>, StoreError> {
        self.decide(None, |tables| tables.mails.get(&id), &decide)
    }
}

#[async_trait]
impl SignIns for MemoryStore {
    async fn sign_in_show(&self, digest: SignInDigest) -> Result<Option<SignIn>, StoreError> {
        Ok(self.tables().sign_ins.get(&digest))
    }

    async fn sign_in_change(
        &self,
        digest: SignInDigest,
        decide: Decide<Option<SignIn>, SignIn>,
    ) -> Result<Outcome<SignIn>, StoreError> {
        self.decide(None, |tables| tables.sign_ins.get(&digest), &decide)
    }
}

#[async_trait]
impl Releases for MemoryStore {
    async fn release_change(
        &self,
        channel: Channel,
        decide: Decide<ReleaseFacts, Release>,
    ) -> Result<Outcome<Release>, StoreError> {
        let load = |tables: &Tables| tables.list_releases(Some(&channel));
        self.decide(None, |tables| ReleaseFacts { releases: load(tables) }, &decide)
    }

    async fn release_current(&self, channel: Channel) -> Result<Option<Release>, StoreError> {
        let listed = self.tables().list_releases(Some(&channel));
        Ok(listed.into_iter().find(|it| it.is_current).map(|it| it.release))
    }

    async fn release_list(
        &self,
        channel: Option<Channel>,
    ) -> Result<Vec<ListedRelease>, StoreError> {
        Ok(self.tables().list_releases(channel.as_ref()))
    }

    async fn release_of_file(&self, key: BlobKey) -> Result<Option<Release>, StoreError> {
        Ok(self.tables().releases.find(|release| release.key == key))
    }
}

#[async_trait]
impl Retention for MemoryStore {
    async fn count_expired(
        &self,
        kind: RetentionKind,
        before: Timestamp,
    ) -> Result<u64, StoreError> {
        Ok(self.tables().clone().delete_expired(kind, before, u32::MAX))
    }

    async fn supersede_unused_codes(
        &self,
        at: Timestamp,
        limit: u32,
    ) -> Result<Vec<InstallCode>, StoreError> {
        let mut tables = self.tables();
        let unused: Vec<CodeId> =
            tables.codes.rows().filter(|code| is_unused(code)).map(|code| code.id).collect();
        let supersede = |id: CodeId| {
            tables.codes.change(&id, |code| code.superseded_at = Some(at));
            tables.codes.get(&id)
        };
        Ok(unused.into_iter().take(limit as usize).filter_map(supersede).collect())
    }

    async fn delete_expired(
        &self,
        kind: RetentionKind,
        before: Timestamp,
        limit: u32,
    ) -> Result<u64, StoreError> {
        Ok(self.tables().delete_expired(kind, before, limit))
    }
}

#[async_trait]
impl Keys for MemoryStore {
    async fn key_ids_in_use(&self) -> Result<Vec<KeyId>, StoreError> {
        let tables = self.tables();
        let codes = tables.codes.rows().filter(|code| is_unused(code));
        let sealed = tables.mails.rows().filter_map(|mail| mail.sealed.as_ref());
        let ids = codes.map(|code| &code.digest.key_id).chain(sealed.map(|sealed| &sealed.key_id));
        let ids: BTreeSet<_> = ids.map(|id| id.0.clone()).collect();
        Ok(ids.into_iter().map(KeyId).collect())
    }

    async fn register_master_key(&self, ring: Vec<KeyId>) -> Result<Option<KeyId>, StoreError> {
        let mut tables = self.tables();
        match (&tables.master_key, ring.first()) {
            (Some(registered), _) if !ring.contains(registered) => Ok(Some(registered.clone())),
            (_, current) => {
                tables.master_key = current.cloned();
                Ok(None)
            }
        }
    }

    async fn probe(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// True if the tenant fits the query.
fn matches_query(query: &TenantQuery, tenant: &Tenant) -> bool {
    query.deployment.is_none_or(|deployment| tenant.deployment == deployment)
        && query.status.is_none_or(|status| tenant.status == status)
        && query.edition.as_ref().is_none_or(|edition| tenant.edition == *edition)
        && query.product.as_ref().is_none_or(|product| tenant.product == *product)
        && query.contact.as_ref().is_none_or(|contact| tenant.is_contact(contact))
        && query.text.as_ref().is_none_or(|text| tenant.search_text().contains(text))
        && query.after.is_none_or(|after| (tenant.registered_at, tenant.id) < (after.at, after.id))
}
