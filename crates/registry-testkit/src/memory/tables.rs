//! The tables with their constraints, and the facts loaded from them.

use std::cmp::Reverse;

use registry_core::appliance::{Appliance, Credential};
use registry_core::audit::AuditEntry;
use registry_core::clock::Timestamp;
use registry_core::entitlement::Entitlement;
use registry_core::id::{AuditId, CodeId, EntitlementId, MailId, ReleaseId, TenantId};
use registry_core::install_code::{CodeKind, InstallCode};
use registry_core::mail::{MailState, QueuedMail, QueuedMessage};
use registry_core::release::Release;
use registry_core::secret::{CredentialDigest, KeyId, SignInDigest};
use registry_core::sign_in::SignIn;
use registry_core::store::{
    CredentialFacts, EntitlementFacts, EntitlementKey, EntitlementSelector, ListedRelease,
    RedeemFacts, RedeemKey, ReissueFacts, ReplayRecord, RetentionKind, SignInWrite, StoreError,
    TenantFacts, TenantKey, TenantRecord, TenantSelector, Write,
};
use registry_core::tenant::{Tenant, TenantStatus};
use registry_core::text::{ApplianceId, Channel, SubscriptionId};

use super::table::{Table, require};

#[derive(Clone, Default)]
pub(super) struct Tables {
    pub(super) tenants: Table<TenantId, Tenant>,
    pub(super) entitlements: Table<EntitlementId, Entitlement>,
    pub(super) codes: Table<CodeId, InstallCode>,
    pub(super) appliances: Table<(TenantId, ApplianceId), Appliance>,
    credentials: Table<CredentialDigest, Credential>,
    pub(super) mails: Table<MailId, QueuedMail>,
    pub(super) audit: Table<AuditId, AuditEntry>,
    pub(super) sign_ins: Table<SignInDigest, SignIn>,
    pub(super) replays: Table<(String, [u8; 32]), ReplayRecord>,
    pub(super) releases: Table<ReleaseId, Release>,
    current: Table<Channel, ReleaseId>,
    pub(super) master_key: Option<KeyId>,
}

pub(super) fn is_unused(code: &InstallCode) -> bool {
    code.consumed.is_none() && code.superseded_at.is_none()
}

impl Tables {
    pub(super) fn apply(&mut self, write: &Write) -> Result<(), StoreError> {
        match write {
            Write::InsertTenant(it) => {
                require(!self.tenants.has(&it.id), "unique tenant ids")?;
                self.put_tenant(it)?;
            }
            Write::UpdateTenant(it) => self.put_tenant(it)?,
            Write::InsertEntitlement(it) => {
                require(!self.entitlements.has(&it.id), "unique entitlement ids")?;
                self.put_entitlement(it)?;
            }
            Write::UpdateEntitlement(it) => self.put_entitlement(it)?,
            Write::InsertCode(it) => self.insert_code(it)?,
            Write::ConsumeCode { code, consumption, tenant } => {
                let is_live = self.codes.get(code).is_some_and(|code| is_unused(&code));
                require(is_live, "a consumed code was unused")?;
                self.codes.change(code, |row| {
                    (row.consumed, row.tenant_id) = (Some(consumption.clone()), Some(*tenant));
                });
            }
            Write::SupersedeCodes { tenant, at } => self.supersede(*at, |code| {
                code.tenant_id == Some(*tenant) && code.kind == CodeKind::Install
            }),
            Write::SupersedeActivationCodes { entitlement, at } => self.supersede(*at, |code| {
                code.entitlement_id == Some(*entitlement) && code.kind == CodeKind::Activation
            }),
            Write::PutAppliance(it) => {
                require(self.tenants.has(&it.tenant_id), "an appliance has a tenant")?;
                let key = (it.tenant_id, it.id.clone());
                let row = self.appliances.get(&key).unwrap_or_else(|| (**it).clone());
                let (registered_at, last_check_in_at) = (row.registered_at, row.last_check_in_at);
                let put = Appliance { registered_at, last_check_in_at, ..(**it).clone() };
                self.appliances.put(key, put);
            }
            Write::RecordCheckIn { tenant, appliance, at } => {
                self.appliances.change(&(*tenant, appliance.clone()), |row| {
                    row.last_check_in_at = row.last_check_in_at.max(Some(*at));
                });
            }
            Write::ClearLicenses { tenant } => {
                self.appliances.change_all(|it| it.tenant_id == *tenant, |it| it.license = None);
            }
            Write::DeleteCredentials { tenant, appliance } => {
                self.credentials.remove(u32::MAX, |it| {
                    (it.tenant_id, &it.appliance_id) == (*tenant, appliance)
                });
            }
            Write::InsertCredential(it) => {
                let key = (it.tenant_id, it.appliance_id.clone());
                require(self.appliances.has(&key), "a credential has an appliance")?;
                self.credentials.insert(it.digest, it.clone())?;
            }
            Write::UpdateCredential(it) => {
                let update = |row: &mut Credential| *row = (**it).clone();
                self.credentials.change(&it.digest, update);
            }
            Write::RetireCredentials { credential: used, at } => {
                let is_earlier = |it: &Credential| {
                    (it.tenant_id, &it.appliance_id) == (used.tenant_id, &used.appliance_id)
                        && it.registration < used.registration
                };
                self.credentials.remove(u32::MAX, |it| is_earlier(it) && it.sequence.is_none());
                self.credentials.change_all(is_earlier, |it| it.replaced_at = Some(*at));
            }
            Write::EnqueueMail(it) => self.mails.insert(it.id, (**it).clone())?,
            Write::UpdateMail(it) => self.mails.put(it.id, (**it).clone()),
            Write::DiscardMails { tenant, at } => {
                let is_obsolete = |mail: &QueuedMail| {
                    mail.tenant_id == *tenant
                        && mail.check_unsettled().is_ok()
                        && matches!(mail.message, QueuedMessage::InstallCode { .. })
                };
                self.mails.change_all(is_obsolete, |mail| *mail = mail.discarded(*at));
            }
            Write::AppendAudit(it) => self.append_audit(it)?,
            Write::PutReplay(it) => {
                let key = (it.request.scope.clone(), it.request.key_digest);
                self.replays.put(key, (**it).clone());
            }
            Write::SignIn(write) => self.apply_to_sign_ins(write)?,
            Write::PutRelease(it) => {
                let is_same = |other: &Release| {
                    other.id != it.id && other.channel == it.channel && other.version == it.version
                };
                require(!self.releases.any(is_same), "unique versions")?;
                self.releases.put(it.id, (**it).clone());
            }
            Write::SetCurrent { channel, release: Some(release) } => {
                require(self.releases.has(release), "a current release exists")?;
                self.current.put(channel.clone(), *release);
            }
            Write::SetCurrent { channel, release: None } => {
                let current = self.current.get(channel);
                self.current.remove(u32::MAX, |release| Some(*release) == current);
            }
        }
        Ok(())
    }

    pub(super) fn append_audit(&mut self, entry: &AuditEntry) -> Result<(), StoreError> {
        let key = entry.count_key();
        match self.audit.find(|it| key.is_some() && it.count_key() == key) {
            None => self.audit.insert(entry.id, entry.clone()),
            Some(stored) => {
                self.audit.change(&stored.id, |it| it.count += entry.count);
                Ok(())
            }
        }
    }

    /// Supersedes the unused codes that `selects` selects.
    fn supersede(&mut self, at: Timestamp, selects: impl Fn(&InstallCode) -> bool) {
        let is_selected = |code: &InstallCode| selects(code) && is_unused(code);
        self.codes.change_all(is_selected, |code| code.superseded_at = Some(at));
    }

    fn put_tenant(&mut self, tenant: &Tenant) -> Result<(), StoreError> {
        let is_same =
            |other: &Tenant| other.id != tenant.id && other.subscription == tenant.subscription;
        let clashes = tenant.subscription.is_some() && self.tenants.any(is_same);
        require(!clashes, "one tenant per subscription")?;
        self.tenants.put(tenant.id, tenant.clone());
        Ok(())
    }

    fn put_entitlement(&mut self, it: &Entitlement) -> Result<(), StoreError> {
        let is_same =
            |other: &Entitlement| other.id != it.id && other.subscription == it.subscription;
        let clashes = it.subscription.is_some() && self.entitlements.any(is_same);
        require(!clashes, "one entitlement per subscription")?;
        let is_rival = |other: &Entitlement| {
            other.id != it.id && other.is_active() && other.tenant_id == it.tenant_id
        };
        let is_bound = it.is_active() && it.tenant_id.is_some();
        let has_rival = is_bound && self.entitlements.any(is_rival);
        require(!has_rival, "one active entitlement per tenant")?;
        self.entitlements.put(it.id, it.clone());
        Ok(())
    }

    fn insert_code(&mut self, code: &InstallCode) -> Result<(), StoreError> {
        let same_owner = |other: &InstallCode| match code.kind {
            CodeKind::Install => other.tenant_id == code.tenant_id,
            CodeKind::Activation => other.entitlement_id == code.entitlement_id,
        };
        let is_rival =
            |other: &InstallCode| other.kind == code.kind && is_unused(other) && same_owner(other);
        require(!self.codes.any(is_rival), "one live code per owner")?;
        let is_same = |other: &InstallCode| other.digest == code.digest;
        require(!self.codes.any(is_same), "unique code digests")?;
        self.codes.insert(code.id, code.clone())
    }

    fn apply_to_sign_ins(&mut self, write: &SignInWrite) -> Result<(), StoreError> {
        match write {
            SignInWrite::Insert(it) => return self.sign_ins.insert(it.digest, (**it).clone()),
            SignInWrite::Use { session, at } => {
                self.sign_ins.change(session, |it| it.used_at = *at);
            }
            SignInWrite::Delete(digest) => {
                self.sign_ins.remove(1, |it| it.digest == *digest);
            }
            SignInWrite::DeleteAll { principal, kind } => {
                self.sign_ins.remove(u32::MAX, |it| {
                    it.principal == *principal && kind.is_none_or(|kind| it.kind == kind)
                });
            }
        }
        Ok(())
    }

    pub(super) fn delete_expired(
        &mut self,
        kind: RetentionKind,
        before: Timestamp,
        limit: u32,
    ) -> u64 {
        match kind {
            RetentionKind::Replays => self.replays.remove(limit, |it| it.expires_at < before),
            RetentionKind::Mails => self.mails.remove(limit, |it| {
                it.state != MailState::Queued && it.settled_at.is_some_and(|at| at < before)
            }),
            RetentionKind::Codes => {
                self.codes.remove(limit, |it| it.consumed.is_none() && it.expires_at < before)
            }
            RetentionKind::SignIns => self.sign_ins.remove(limit, |it| it.expires_at < before),
            RetentionKind::Audit => self.audit.remove(limit, |it| it.at < before),
            RetentionKind::UnusedTenants => self.delete_unused_tenants(before, limit),
        }
    }

    fn delete_unused_tenants(&mut self, before: Timestamp, limit: u32) -> u64 {
        let is_unused = |tenant: &Tenant| {
            let has_code = self.codes.any(|code| {
                code.tenant_id == Some(tenant.id)
                    && (code.consumed.is_some() || code.expires_at >= before)
            });
            tenant.is_stranger()
                && tenant.status == TenantStatus::Registered
                && tenant.registered_at < before
                && !has_code
                && !self.entitlements.any(|it| it.tenant_id == Some(tenant.id))
        };
        let unused = self.tenants.rows().filter(|tenant| is_unused(tenant)).map(|it| it.id);
        let unused: Vec<TenantId> = unused.take(limit as usize).collect();
        self.mails.remove(u32::MAX, |mail| unused.contains(&mail.tenant_id));
        self.codes.remove(u32::MAX, |code| code.tenant_id.is_some_and(|id| unused.contains(&id)));
        self.tenants.remove(u32::MAX, |tenant| unused.contains(&tenant.id))
    }

    fn entitlement(&self, selector: &EntitlementSelector) -> Option<Entitlement> {
        match selector {
            EntitlementSelector::Id(id) => self.entitlements.get(id),
            EntitlementSelector::Subscription(subscription) => {
                self.entitlements.find(|it| it.subscription.as_ref() == Some(subscription))
            }
        }
    }

    fn active_entitlement(&self, tenant: TenantId) -> Option<Entitlement> {
        self.entitlements.find(|it| it.tenant_id == Some(tenant) && it.is_active())
    }

    pub(super) fn register_facts(&self, subscription: Option<&SubscriptionId>) -> EntitlementFacts {
        let Some(subscription) = subscription else { return EntitlementFacts::default() };
        let selector = EntitlementSelector::Subscription(subscription.clone());
        let registered = self.tenants.find(|it| it.subscription.as_ref() == Some(subscription));
        let tenant_id = registered.map(|tenant| tenant.id);
        self.entitlement_facts(&EntitlementKey { selector, tenant_id })
    }

    pub(super) fn entitlement_facts(&self, key: &EntitlementKey) -> EntitlementFacts {
        let entitlement = self.entitlement(&key.selector);
        let owner = entitlement.as_ref().and_then(|it| it.tenant_id).or(key.tenant_id);
        EntitlementFacts {
            entitlement,
            tenant: owner.and_then(|id| self.tenants.get(&id)),
            tenant_entitlement: owner.and_then(|id| self.active_entitlement(id)),
        }
    }

    pub(super) fn redeem_facts(&self, key: &RedeemKey) -> RedeemFacts {
        let Some(code) = self.codes.find(|code| key.digests.contains(&code.digest)) else {
            return RedeemFacts::default();
        };
        let entitlement = code.entitlement_id.and_then(|id| self.entitlements.get(&id));
        let bound = entitlement.as_ref().and_then(|entitlement| entitlement.tenant_id);
        let owner = code.tenant_id.or(bound).or(key.tenant_id);
        RedeemFacts {
            tenant: owner.and_then(|id| self.tenants.get(&id)),
            tenant_entitlement: owner.and_then(|id| self.active_entitlement(id)),
            appliance: owner.and_then(|id| self.appliances.get(&(id, key.appliance_id.clone()))),
            code: Some(code),
            entitlement,
        }
    }

    pub(super) fn reissue_facts(&self, selector: &TenantSelector) -> ReissueFacts {
        let tenants: Vec<Tenant> = match selector {
            TenantSelector::Id(id) => self.tenants.get(id).into_iter().collect(),
            TenantSelector::Contact(contact) => {
                let is_theirs = |tenant: &Tenant| {
                    tenant.is_contact(contact) && tenant.status != TenantStatus::Cancelled
                };
                let mut theirs = self.newest_first(is_theirs);
                let is_entitled = |tenant: &Tenant| self.active_entitlement(tenant.id).is_some();
                theirs.sort_by_key(|it| Reverse(it.preference(is_entitled(it))));
                theirs.truncate(2);
                theirs
            }
        };
        let entitlement = tenants.first().and_then(|tenant| self.active_entitlement(tenant.id));
        ReissueFacts { entitlement, tenants }
    }

    pub(super) fn tenant_facts(&self, key: &TenantKey) -> TenantFacts {
        let appliance = key.appliance.as_ref();
        TenantFacts {
            tenant: self.tenants.get(&key.id),
            appliance: appliance.and_then(|id| self.appliances.get(&(key.id, id.clone()))),
        }
    }

    pub(super) fn credential_facts(&self, digest: CredentialDigest) -> Option<CredentialFacts> {
        let credential = self.credentials.get(&digest)?;
        let tenant_id = credential.tenant_id;
        Some(CredentialFacts {
            appliance: self.appliances.get(&(tenant_id, credential.appliance_id.clone()))?,
            tenant: self.tenants.get(&tenant_id)?,
            entitlement: self.active_entitlement(tenant_id),
            credential,
        })
    }

    /// Returns the releases of a channel, or of all channels, newest first.
    pub(super) fn list_releases(&self, channel: Option<&Channel>) -> Vec<ListedRelease> {
        let releases = self.releases.sorted(
            |release| channel.is_none_or(|channel| release.channel == *channel),
            |release| Reverse((release.published_at, release.id)),
        );
        let listed = releases.into_iter().map(|release| ListedRelease {
            is_current: release.yanked_at.is_none()
                && self.current.get(&release.channel) == Some(release.id),
            release,
        });
        listed.collect()
    }

    /// Returns the selected tenants, newest registration first.
    pub(super) fn newest_first(&self, selects: impl Fn(&Tenant) -> bool) -> Vec<Tenant> {
        self.tenants.sorted(selects, |tenant| Reverse((tenant.registered_at, tenant.id)))
    }

    pub(super) fn record(&self, tenant: Tenant) -> TenantRecord {
        let id = tenant.id;
        TenantRecord {
            tenant,
            entitlements: self
                .entitlements
                .sorted(|it| it.tenant_id == Some(id), |it| (it.created_at, it.id)),
            codes: self
                .codes
                .sorted(|it| it.tenant_id == Some(id), |it| Reverse((it.issued_at, it.id))),
            appliances: self
                .appliances
                .sorted(|it| it.tenant_id == id, |it| (it.registered_at, it.id.clone())),
        }
    }
}
