//! The storage port in memory: one lock, a copy to work on, put in place only when every write went well.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use registry_core::appliance::{Appliance, Credential};
use registry_core::audit::{Action, Actor, AuditEntry};
use registry_core::clock::Timestamp;
use registry_core::entitlement::Entitlement;
use registry_core::guesses::Source;
use registry_core::id::{AuditId, CodeId, EntitlementId, MailId, ReleaseId, TenantId};
use registry_core::install_code::{CodeKind, InstallCode};
use registry_core::mail::{MailState, QueuedMail, Settlement};
use registry_core::refusal::Refusal;
use registry_core::registry::directory::TenantQuery;
use registry_core::registry::minting::Issued;
use registry_core::registry::redeem::Redeemed;
use registry_core::release::Release;
use registry_core::store::{
    Decide, Decision, EntitlementSelector, Outcome, RedeemFacts, RedeemKey, RegisterFacts, ReissueFacts, ReleaseFacts,
    Replay, ReplayRecord, Store, StoreError, TenantRecord, TenantSelector, Write,
};
use registry_core::tenant::{Tenant, TenantStatus};
use registry_core::text::{ApplianceId, Channel, SubscriptionId, Version};

type Table<K, V> = BTreeMap<K, Arc<V>>;

/// A store in memory, for tests.
#[derive(Default)]
pub struct MemoryStore(Mutex<Tables>);

#[derive(Clone, Default)]
struct Tables {
    tenants: Table<TenantId, Tenant>,
    entitlements: Table<EntitlementId, Entitlement>,
    codes: Table<CodeId, InstallCode>,
    appliances: Table<(TenantId, ApplianceId), Appliance>,
    credentials: Table<[u8; 32], Credential>,
    mails: Table<MailId, QueuedMail>,
    audit: Table<AuditId, AuditEntry>,
    replays: Table<(String, [u8; 32]), ReplayRecord>,
    releases: Table<ReleaseId, Release>,
    current: BTreeMap<String, ReleaseId>,
}

fn require(holds: bool, constraint: &str) -> Result<(), StoreError> {
    if holds { Ok(()) } else { Err(StoreError::Corrupt(format!("constraint broken: {constraint}"))) }
}

fn is_unused(code: &InstallCode) -> bool {
    code.consumed.is_none() && code.superseded_at.is_none()
}

impl Tables {
    fn apply(&mut self, write: &Write) -> Result<(), StoreError> {
        match write {
            Write::PutTenant(tenant) => {
                let clash = |other: &Tenant| other.id != tenant.id && other.subscription == tenant.subscription;
                let clash = tenant.subscription.is_some() && self.tenants.values().any(|other| clash(other));
                require(!clash, "one tenant a subscription")?;
                self.tenants.insert(tenant.id, Arc::new((**tenant).clone()));
            }
            Write::PutEntitlement(entitlement) => self.put_entitlement(entitlement)?,
            Write::InsertCode(code) => self.insert_code(code)?,
            Write::ConsumeCode { code, consumption, tenant } => {
                let row = self.codes.get_mut(code).filter(|code| is_unused(code));
                let row = row.ok_or_else(|| StoreError::Corrupt("a code that is not live was consumed".to_owned()))?;
                let row = Arc::make_mut(row);
                (row.consumed, row.tenant_id) = (Some(consumption.clone()), Some(*tenant));
            }
            Write::SupersedeCodes { tenant, at } => {
                let dies = |code: &InstallCode| {
                    code.tenant_id == Some(*tenant) && code.kind == CodeKind::Install && is_unused(code)
                };
                for code in self.codes.values_mut().filter(|code| dies(code)) {
                    Arc::make_mut(code).superseded_at = Some(*at);
                }
            }
            Write::PutAppliance(appliance) => {
                require(self.tenants.contains_key(&appliance.tenant_id), "an appliance has a tenant")?;
                let key = (appliance.tenant_id, appliance.id.clone());
                self.appliances.insert(key, Arc::new((**appliance).clone()));
            }
            Write::DeleteCredentials { tenant, appliance } => {
                self.credentials.retain(|_, it| (it.tenant_id, &it.appliance_id) != (*tenant, appliance));
            }
            Write::InsertCredential(credential) => {
                let key = (credential.tenant_id, credential.appliance_id.clone());
                require(self.appliances.contains_key(&key), "a credential has an appliance")?;
                let before = self.credentials.insert(credential.digest.0, Arc::new(credential.clone()));
                require(before.is_none(), "unique credential digests")?;
            }
            Write::EnqueueMail(mail) => {
                let before = self.mails.insert(mail.id, Arc::new((**mail).clone()));
                require(before.is_none(), "unique mail ids")?;
            }
            Write::DiscardMails { tenant, at } => {
                let dies = |mail: &QueuedMail| mail.tenant_id == *tenant && mail.state == MailState::Queued;
                for mail in self.mails.values_mut().filter(|mail| dies(mail)) {
                    let mail = Arc::make_mut(mail);
                    (mail.state, mail.settled_at, mail.sealed) = (MailState::Discarded, Some(*at), None);
                }
            }
            Write::AppendAudit(entry) => {
                let before = self.audit.insert(entry.id, Arc::new((**entry).clone()));
                require(before.is_none(), "unique audit ids")?;
            }
            Write::PutReplay(record) => {
                let key = (record.request.scope.clone(), record.request.key_digest);
                self.replays.insert(key, Arc::new((**record).clone()));
            }
            Write::InsertRelease(release) => {
                let same = |other: &Release| other.channel == release.channel && other.version == release.version;
                require(!self.releases.values().any(|other| same(other)), "unique versions")?;
                self.releases.insert(release.id, Arc::new((**release).clone()));
            }
            Write::SetCurrent { channel, release } => {
                require(self.releases.contains_key(release), "a current release exists")?;
                self.current.insert(channel.to_string(), *release);
            }
        }
        Ok(())
    }

    fn put_entitlement(&mut self, entitlement: &Entitlement) -> Result<(), StoreError> {
        let others = || self.entitlements.values().filter(|other| other.id != entitlement.id);
        let same = others().any(|other| other.subscription.is_some() && other.subscription == entitlement.subscription);
        require(!same, "one entitlement a subscription")?;
        let bound = entitlement.is_active() && entitlement.tenant_id.is_some();
        let second = others().any(|other| other.is_active() && other.tenant_id == entitlement.tenant_id);
        require(!(bound && second), "one active entitlement a tenant")?;
        self.entitlements.insert(entitlement.id, Arc::new(entitlement.clone()));
        Ok(())
    }

    fn insert_code(&mut self, code: &InstallCode) -> Result<(), StoreError> {
        let same_owner = |other: &InstallCode| match code.kind {
            CodeKind::Install => other.tenant_id == code.tenant_id,
            CodeKind::Activation => other.entitlement_id == code.entitlement_id,
        };
        let live_twin = |other: &InstallCode| other.kind == code.kind && is_unused(other) && same_owner(other);
        require(!self.codes.values().any(|other| live_twin(other)), "one live code an owner")?;
        require(!self.codes.values().any(|other| other.digest == code.digest), "unique code digests")?;
        self.codes.insert(code.id, Arc::new(code.clone()));
        Ok(())
    }

    fn tenant(&self, id: TenantId) -> Option<Tenant> {
        self.tenants.get(&id).map(|tenant| (**tenant).clone())
    }

    fn entitlement(&self, selector: &EntitlementSelector) -> Option<Entitlement> {
        let is_it = |entitlement: &&Arc<Entitlement>| match selector {
            EntitlementSelector::Id(id) => entitlement.id == *id,
            EntitlementSelector::Subscription(subscription) => entitlement.subscription.as_ref() == Some(subscription),
        };
        self.entitlements.values().find(is_it).map(|entitlement| (**entitlement).clone())
    }

    fn active_entitlement(&self, tenant: TenantId) -> Option<Entitlement> {
        let is_it = |entitlement: &&Arc<Entitlement>| entitlement.tenant_id == Some(tenant) && entitlement.is_active();
        self.entitlements.values().find(is_it).map(|entitlement| (**entitlement).clone())
    }

    fn redeem_facts(&self, key: &RedeemKey) -> RedeemFacts {
        let code = self.codes.values().find(|code| key.digests.contains(&code.digest));
        let Some(code) = code.map(|code| (**code).clone()) else { return RedeemFacts::default() };
        let entitlement = code.entitlement_id.and_then(|id| self.entitlement(&EntitlementSelector::Id(id)));
        let bound = entitlement.as_ref().and_then(|entitlement| entitlement.tenant_id);
        let owner = code.tenant_id.or(bound).or(key.tenant_id);
        let appliance = owner.and_then(|id| self.appliances.get(&(id, key.appliance_id.clone())));
        RedeemFacts {
            tenant: owner.and_then(|id| self.tenant(id)),
            tenant_entitlement: owner.and_then(|id| self.active_entitlement(id)),
            appliance: appliance.map(|appliance| (**appliance).clone()),
            code: Some(code),
            entitlement,
        }
    }

    fn newest_first(&self) -> Vec<&Arc<Tenant>> {
        let mut tenants: Vec<_> = self.tenants.values().collect();
        tenants.sort_by_key(|tenant| std::cmp::Reverse((tenant.registered_at, tenant.id)));
        tenants
    }

    fn reissue_facts(&self, selector: &TenantSelector) -> ReissueFacts {
        let tenants: Vec<Tenant> = match selector {
            TenantSelector::Id(id) => self.tenant(*id).into_iter().collect(),
            TenantSelector::Contact(contact) => {
                let is_theirs = |tenant: &&&Arc<Tenant>| {
                    tenant.contact_email.as_ref().is_some_and(|email| email.folded() == contact.folded())
                        && tenant.status != TenantStatus::Cancelled
                };
                let newest = self.newest_first();
                newest.iter().filter(is_theirs).take(2).map(|tenant| (***tenant).clone()).collect()
            }
        };
        ReissueFacts { entitlement: tenants.first().and_then(|tenant| self.active_entitlement(tenant.id)), tenants }
    }

    fn record(&self, tenant: &Tenant) -> TenantRecord {
        let id = Some(tenant.id);
        let mut codes: Vec<_> = self.codes.values().filter(|code| code.tenant_id == id).collect();
        codes.sort_by_key(|code| std::cmp::Reverse((code.issued_at, code.id)));
        let mut appliances: Vec<_> = self.appliances.values().filter(|it| Some(it.tenant_id) == id).collect();
        appliances.sort_by_key(|appliance| (appliance.registered_at, appliance.id.clone()));
        let mut entitlements: Vec<_> = self.entitlements.values().filter(|it| it.tenant_id == id).collect();
        entitlements.sort_by_key(|entitlement| (entitlement.created_at, entitlement.id));
        TenantRecord {
            tenant: tenant.clone(),
            entitlements: entitlements.into_iter().map(|it| (**it).clone()).collect(),
            codes: codes.into_iter().map(|it| (**it).clone()).collect(),
            appliances: appliances.into_iter().map(|it| (**it).clone()).collect(),
        }
    }
}

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
        let mut tables = self.0.lock().unwrap();
        let recorded = replay.and_then(|it| tables.replays.get(&(it.scope.clone(), it.key_digest)).zip(Some(it)));
        if let Some((record, asked)) = recorded.filter(|(record, asked)| record.expires_at > asked.now) {
            return Ok(if record.request.fingerprint == asked.fingerprint {
                Outcome::Replayed(record.answer.clone())
            } else {
                Outcome::Refused(Refusal::KeyReused)
            });
        }
        match decide(&load(&tables)) {
            Decision::Abort(error) => Ok(Outcome::Aborted(error)),
            Decision::Commit { writes, outcome } => {
                let mut changed = tables.clone();
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
        selector: EntitlementSelector,
        replay: Option<Replay>,
        decide: Decide<Option<Entitlement>, Entitlement>,
    ) -> Result<Outcome<Entitlement>, StoreError> {
        self.decide(replay.as_ref(), |tables| tables.entitlement(&selector), &decide)
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

    async fn probe(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
