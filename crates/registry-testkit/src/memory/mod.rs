//! The storage port in memory: one lock, a copy to work on, put in place only when every write went well.

mod tables;

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use registry_core::answer::{CheckedIn, EntitlementChanged, Issued, Redeemed};
use registry_core::audit::{Action, Actor, AuditEntry};
use registry_core::clock::Timestamp;
use registry_core::guesses::Source;
use registry_core::id::{AuditId, MailId, TenantId};
use registry_core::install_code::CodeKind;
use registry_core::mail::{MailState, QueuedMail, Settlement};
use registry_core::refusal::Refusal;
use registry_core::release::Release;
use registry_core::secret::{CredentialDigest, KeyId};
use registry_core::store::{
    CredentialFacts, Decide, Decision, EntitlementFacts, EntitlementKey, EntitlementSelector, Outcome, RedeemFacts,
    RedeemKey, RegisterFacts, ReissueFacts, ReleaseFacts, Replay, Store, StoreError, TenantFacts, TenantKey,
    TenantQuery, TenantRecord, TenantSelector, Write,
};
use registry_core::tenant::Tenant;
use registry_core::text::{Channel, SubscriptionId, Version};

use self::tables::Tables;

/// A store in memory, for tests.
#[derive(Default)]
pub struct MemoryStore(Mutex<Tables>);

fn fits(query: &TenantQuery, tenant: &Tenant) -> bool {
    query.deployment.is_none_or(|deployment| tenant.deployment == deployment)
        && query.status.is_none_or(|status| tenant.status == status)
        && query.edition.as_ref().is_none_or(|edition| tenant.edition == *edition)
        && query.product.as_ref().is_none_or(|product| tenant.product == *product)
        && query.text.as_ref().is_none_or(|text| tenant.search_text().contains(text))
        && query.after.is_none_or(|place| (tenant.registered_at, tenant.id) < (place.registered_at, place.id))
}

impl MemoryStore {
    fn decide<F, T>(
        &self,
        replay: Option<&Replay>,
        load: impl FnOnce(&Tables) -> F,
        decide: &Decide<F, T>,
    ) -> Result<Outcome<T>, StoreError> {
        self.change_and_decide(replay, |_| {}, load, decide)
    }

    /// Changes the tables, and then decides; both last, or neither.
    fn change_and_decide<F, T>(
        &self,
        replay: Option<&Replay>,
        change: impl FnOnce(&mut Tables),
        load: impl FnOnce(&Tables) -> F,
        decide: &Decide<F, T>,
    ) -> Result<Outcome<T>, StoreError> {
        let mut tables = self.0.lock().unwrap();
        let recorded = replay.and_then(|it| tables.replays.get(&(it.scope.clone(), it.key_digest)).zip(Some(it)));
        if let Some((record, asked)) = recorded.filter(|(record, asked)| record.expires_at > asked.now) {
            return Ok(if record.request.fingerprint == asked.fingerprint {
                Outcome::Replayed(record.answer.clone())
            } else {
                Outcome::Refused(Refusal::KeyReused)
            });
        }
        let mut changed = tables.clone();
        change(&mut changed);
        match decide(&load(&changed)) {
            Decision::Abort(error) => Ok(Outcome::Aborted(error)),
            Decision::Commit { writes, outcome } => {
                writes.iter().try_for_each(|write| changed.apply(write))?;
                *tables = changed;
                Ok(outcome.map_or_else(Outcome::Refused, Outcome::Done))
            }
        }
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn tenant_register(
        &self,
        subscription: Option<SubscriptionId>,
        replay: Option<Replay>,
        decide: Decide<RegisterFacts, Issued>,
    ) -> Result<Outcome<Issued>, StoreError> {
        let load = |tables: &Tables| {
            let Some(subscription) = subscription else { return RegisterFacts::default() };
            let entitlement = tables.entitlement(&EntitlementSelector::Subscription(subscription.clone()));
            let bound = entitlement.as_ref().and_then(|entitlement| entitlement.tenant_id);
            let is_it = |tenant: &&Arc<Tenant>| tenant.subscription.as_ref() == Some(&subscription);
            let registered = || tables.tenants.values().find(is_it).map(|tenant| (**tenant).clone());
            let tenant = bound.map_or_else(registered, |id| tables.tenant(id));
            let tenant_entitlement = tenant.as_ref().and_then(|tenant| tables.active_entitlement(tenant.id));
            RegisterFacts { tenant, entitlement, tenant_entitlement }
        };
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
        now: Timestamp,
        replay: Option<Replay>,
        decide: Decide<Option<CredentialFacts>, CheckedIn>,
    ) -> Result<Outcome<CheckedIn>, StoreError> {
        let touch = |tables: &mut Tables| tables.touch(digest, now);
        self.change_and_decide(replay.as_ref(), touch, |tables| tables.credential_facts(digest), &decide)
    }

    async fn credential_show(&self, digest: CredentialDigest) -> Result<Option<CredentialFacts>, StoreError> {
        Ok(self.0.lock().unwrap().credential_facts(digest))
    }

    async fn release_publish(
        &self,
        channel: Channel,
        version: Version,
        decide: Decide<ReleaseFacts, Release>,
    ) -> Result<Outcome<Release>, StoreError> {
        let is_it = |release: &&Arc<Release>| release.channel == channel && release.version == version;
        let load = |tables: &Tables| ReleaseFacts {
            existing: tables.releases.values().find(is_it).map(|release| (**release).clone()),
        };
        self.decide(None, load, &decide)
    }

    async fn release_current(&self, channel: Channel) -> Result<Option<Release>, StoreError> {
        let tables = self.0.lock().unwrap();
        let current = tables.current.get(channel.as_str()).and_then(|id| tables.releases.get(id));
        Ok(current.map(|release| (**release).clone()))
    }

    async fn tenant_list(&self, query: TenantQuery) -> Result<Vec<TenantRecord>, StoreError> {
        let tables = self.0.lock().unwrap();
        let fitting = tables.newest_first().into_iter().filter(|tenant| fits(&query, tenant));
        let records = fitting.take(query.limit as usize).map(|tenant| {
            let mut record = tables.record(tenant);
            record.codes.retain(|code| code.kind == CodeKind::Install);
            record.codes.truncate(1);
            record
        });
        Ok(records.collect())
    }

    async fn tenant_show(&self, id: TenantId) -> Result<Option<TenantRecord>, StoreError> {
        let tables = self.0.lock().unwrap();
        Ok(tables.tenants.get(&id).map(|tenant| tables.record(tenant)))
    }

    async fn audit_list(&self, tenant: Option<TenantId>) -> Result<Vec<AuditEntry>, StoreError> {
        let tables = self.0.lock().unwrap();
        let about = tables.audit.values().filter(|entry| tenant.is_none() || entry.tenant_id == tenant);
        let mut entries: Vec<_> = about.map(|entry| (**entry).clone()).collect();
        entries.sort_by_key(|entry| (entry.at, entry.id));
        Ok(entries)
    }

    async fn audit_unknown_code(&self, id: AuditId, source: Source, minute: Timestamp) -> Result<(), StoreError> {
        let mut tables = self.0.lock().unwrap();
        let actor = Actor { name: "appliance".to_owned(), source: source.to_string() };
        let is_it = |entry: &&mut Arc<AuditEntry>| {
            (entry.action, entry.at, &entry.actor) == (Action::UnknownCodes, minute, &actor)
        };
        if let Some(entry) = tables.audit.values_mut().find(is_it) {
            Arc::make_mut(entry).count += 1;
            return Ok(());
        }
        let (action, detail) = (Action::UnknownCodes, String::new());
        let entry = AuditEntry {
            id,
            at: minute,
            actor,
            action,
            tenant_id: None,
            code_id: None,
            mail_id: None,
            detail,
            count: 1,
        };
        tables.apply(&Write::audit(entry))
    }

    async fn mail_lease(&self, now: Timestamp, until: Timestamp, limit: u32) -> Result<Vec<QueuedMail>, StoreError> {
        let mut tables = self.0.lock().unwrap();
        let is_due = |mail: &&mut Arc<QueuedMail>| mail.state == MailState::Queued && mail.due_at <= now;
        let mut due: Vec<_> = tables.mails.values_mut().filter(is_due).collect();
        due.sort_by_key(|mail| (mail.queued_at, mail.id));
        let lease = |mail: &mut Arc<QueuedMail>| {
            let leased = (**mail).clone();
            Arc::make_mut(mail).due_at = until;
            leased
        };
        Ok(due.into_iter().take(limit as usize).map(lease).collect())
    }

    async fn mail_settle(&self, id: MailId, settlement: Settlement, now: Timestamp) -> Result<(), StoreError> {
        let mut tables = self.0.lock().unwrap();
        let Some(mail) = tables.mails.get_mut(&id).filter(|mail| mail.state == MailState::Queued) else {
            return Ok(());
        };
        let mail = Arc::make_mut(mail);
        mail.attempts += 1;
        match settlement {
            Settlement::Sent => (mail.state, mail.settled_at, mail.sealed) = (MailState::Sent, Some(now), None),
            Settlement::Retry { due_at, error } => (mail.due_at, mail.last_error) = (due_at, Some(error)),
            Settlement::Dead { error } => {
                (mail.state, mail.settled_at, mail.last_error) = (MailState::Dead, Some(now), Some(error));
            }
        }
        Ok(())
    }

    async fn mail_list(&self, tenant: TenantId) -> Result<Vec<QueuedMail>, StoreError> {
        let tables = self.0.lock().unwrap();
        let theirs = tables.mails.values().filter(|mail| mail.tenant_id == tenant);
        let mut mails: Vec<_> = theirs.map(|mail| (**mail).clone()).collect();
        mails.sort_by_key(|mail| (mail.queued_at, mail.id));
        Ok(mails)
    }

    async fn key_ids_in_use(&self) -> Result<Vec<KeyId>, StoreError> {
        let tables = self.0.lock().unwrap();
        let codes = tables.codes.values().filter(|code| code.consumed.is_none() && code.superseded_at.is_none());
        let sealed = tables.mails.values().filter_map(|mail| mail.sealed.as_ref());
        let ids = codes.map(|code| &code.digest.key_id).chain(sealed.map(|sealed| &sealed.key_id));
        let ids: std::collections::BTreeSet<_> = ids.map(|id| id.0.clone()).collect();
        Ok(ids.into_iter().map(KeyId).collect())
    }

    async fn ring_record(&self, ring: Vec<KeyId>) -> Result<Option<KeyId>, StoreError> {
        let mut tables = self.0.lock().unwrap();
        match (&tables.ring, ring.first()) {
            (Some(recorded), _) if !ring.contains(recorded) => Ok(Some(recorded.clone())),
            (_, current) => {
                tables.ring = current.cloned();
                Ok(None)
            }
        }
    }

    async fn probe(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
