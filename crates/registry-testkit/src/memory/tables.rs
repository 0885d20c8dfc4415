//! The tables with their constraints, and the facts loaded from them.

use std::collections::BTreeMap;
use std::sync::Arc;

use registry_core::appliance::{Appliance, Credential};
use registry_core::audit::AuditEntry;
use registry_core::clock::Timestamp;
use registry_core::entitlement::Entitlement;
use registry_core::id::{AuditId, CodeId, EntitlementId, MailId, ReleaseId, TenantId};
use registry_core::install_code::{CodeKind, InstallCode};
use registry_core::mail::{QueuedMail, QueuedMessage};
use registry_core::release::Release;
use registry_core::secret::{CredentialDigest, KeyId, SignInDigest};
use registry_core::sign_in::SignIn;
use registry_core::store::{
    CredentialFacts, EntitlementFacts, EntitlementKey, EntitlementSelector, ListedRelease,
    RedeemFacts, RedeemKey, ReissueFacts, ReplayRecord, SignInWrite, StoreError, TenantFacts,
    TenantKey, TenantQuery, TenantRecord, TenantSelector, Write,
};
use registry_core::tenant::{Tenant, TenantStatus};
use registry_core::text::{ApplianceId, Channel};

type Table<K, V> = BTreeMap<K, Arc<V>>;

#[derive(Clone, Default)]
pub(super) struct Tables {
    pub(super) tenants: Table<TenantId, Tenant>,
    entitlements: Table<EntitlementId, Entitlement>,
    pub(super) codes: Table<CodeId, InstallCode>,
    pub(super) appliances: Table<(TenantId, ApplianceId), Appliance>,
    credentials: Table<[u8; 32], Credential>,
    pub(super) mails: Table<MailId, QueuedMail>,
    pub(super) audit: Table<AuditId, AuditEntry>,
    pub(super) sign_ins: Table<[u8; 32], SignIn>,
    pub(super) replays: Table<(String, [u8; 32]), ReplayRecord>,
    pub(super) releases: Table<ReleaseId, Release>,
    pub(super) current: BTreeMap<String, ReleaseId>,
    pub(super) master_key: Option<KeyId>,
}

fn require(holds: bool, constraint: &str) -> Result<(), StoreError> {
    if holds {
        Ok(())
    } else {
        Err(StoreError::Corrupt(format!("constraint violated: {constraint}")))
    }
}

fn is_unused(code: &InstallCode) -> bool {
    code.consumed.is_none() && code.superseded_at.is_none()
}

impl Tables {
    #[expect(clippy::too_many_lines, reason = "one short arm for each kind of write")]
    pub(super) fn apply(&mut self, write: &Write) -> Result<(), StoreError> {
        match write {
            Write::InsertTenant(tenant) => {
                require(!self.tenants.contains_key(&tenant.id), "unique tenant ids")?;
                self.put_tenant(tenant)?;
            }
            Write::UpdateTenant(tenant) => self.put_tenant(tenant)?,
            Write::InsertEntitlement(entitlement) => {
                let is_new = !self.entitlements.contains_key(&entitlement.id);
                require(is_new, "unique entitlement ids")?;
                self.put_entitlement(entitlement)?;
            }
            Write::UpdateEntitlement(entitlement) => self.put_entitlement(entitlement)?,
            Write::InsertCode(code) => self.insert_code(code)?,
            Write::ConsumeCode { code, consumption, tenant } => {
                let row = self.codes.get_mut(code).filter(|code| is_unused(code));
                let row = row.ok_or_else(|| {
                    StoreError::Corrupt("a code that is not live was consumed".to_owned())
                })?;
                let row = Arc::make_mut(row);
                (row.consumed, row.tenant_id) = (Some(consumption.clone()), Some(*tenant));
            }
            Write::SupersedeCodes { tenant, at } => {
                self.supersede(*at, |code| {
                    code.tenant_id == Some(*tenant) && code.kind == CodeKind::Install
                });
            }
            Write::SupersedeActivationCodes { entitlement, at } => self.supersede(*at, |code| {
                code.entitlement_id == Some(*entitlement) && code.kind == CodeKind::Activation
            }),
            Write::PutAppliance(appliance) => {
                require(
                    self.tenants.contains_key(&appliance.tenant_id),
                    "an appliance has a tenant",
                )?;
                let key = (appliance.tenant_id, appliance.id.clone());
                let row =
                    self.appliances.entry(key).or_insert_with(|| Arc::new((**appliance).clone()));
                let row = Arc::make_mut(row);
                (row.license, row.revoked_at) = (appliance.license.clone(), appliance.revoked_at);
            }
            Write::RecordCheckIn { tenant, appliance, at } => {
                if let Some(row) = self.appliances.get_mut(&(*tenant, appliance.clone())) {
                    let row = Arc::make_mut(row);
                    row.last_check_in_at = row.last_check_in_at.max(Some(*at));
                }
            }
            Write::ClearLicenses { tenant } => {
                for appliance in self.appliances.values_mut().filter(|it| it.tenant_id == *tenant) {
                    Arc::make_mut(appliance).license = None;
                }
            }
            Write::DeleteCredentials { tenant, appliance } => {
                self.credentials
                    .retain(|_, it| (it.tenant_id, &it.appliance_id) != (*tenant, appliance));
            }
            Write::InsertCredential(credential) => {
                let key = (credential.tenant_id, credential.appliance_id.clone());
                require(self.appliances.contains_key(&key), "a credential has an appliance")?;
                let before =
                    self.credentials.insert(credential.digest.0, Arc::new(credential.clone()));
                require(before.is_none(), "unique credential digests")?;
            }
            Write::UseCredential { credential, at } => {
                self.credentials.retain(|digest, it| {
                    let same = (it.tenant_id, &it.appliance_id)
                        == (credential.tenant_id, &credential.appliance_id);
                    *digest == credential.digest.0 || !same || it.issued_at > credential.issued_at
                });
                if let Some(used) = self.credentials.get_mut(&credential.digest.0) {
                    Arc::make_mut(used).first_used_at.get_or_insert(*at);
                }
            }
            Write::EnqueueMail(mail) => {
                let before = self.mails.insert(mail.id, Arc::new((**mail).clone()));
                require(before.is_none(), "unique mail ids")?;
            }
            Write::UpdateMail(mail) => {
                self.mails.insert(mail.id, Arc::new((**mail).clone()));
            }
            Write::DiscardMails { tenant, at } => {
                let is_obsolete = |mail: &QueuedMail| {
                    mail.tenant_id == *tenant
                        && mail.check_unsettled().is_ok()
                        && matches!(mail.message, QueuedMessage::InstallCode { .. })
                };
                let obsolete = self.mails.values_mut().filter(|mail| is_obsolete(mail));
                obsolete.for_each(|mail| *mail = Arc::new(mail.discarded(*at)));
            }
            Write::AppendAudit(entry) => {
                let before = self.audit.insert(entry.id, Arc::new((**entry).clone()));
                require(before.is_none(), "unique audit ids")?;
            }
            Write::PutReplay(record) => {
                let key = (record.request.scope.clone(), record.request.key_digest);
                self.replays.insert(key, Arc::new((**record).clone()));
            }
            Write::SignIn(write) => self.apply_to_sign_ins(write)?,
            Write::PutRelease(release) => {
                let same = |other: &Release| {
                    other.id != release.id
                        && other.channel == release.channel
                        && other.version == release.version
                };
                require(!self.releases.values().any(|other| same(other)), "unique versions")?;
                self.releases.insert(release.id, Arc::new((**release).clone()));
            }
            Write::SetCurrent { channel, release: Some(release) } => {
                require(self.releases.contains_key(release), "a current release exists")?;
                self.current.insert(channel.to_string(), *release);
            }
            Write::SetCurrent { channel, release: None } => {
                self.current.remove(channel.as_str());
            }
        }
        Ok(())
    }

    /// Supersedes the unused codes that `selects` selects.
    fn supersede(&mut self, at: Timestamp, selects: impl Fn(&InstallCode) -> bool) {
        for code in self.codes.values_mut().filter(|code| selects(code) && is_unused(code)) {
            Arc::make_mut(code).superseded_at = Some(at);
        }
    }

    fn put_tenant(&mut self, tenant: &Tenant) -> Result<(), StoreError> {
        let has_same = |other: &Arc<Tenant>| {
            other.id != tenant.id && other.subscription == tenant.subscription
        };
        let clashes = tenant.subscription.is_some() && self.tenants.values().any(has_same);
        require(!clashes, "one tenant per subscription")?;
        self.tenants.insert(tenant.id, Arc::new(tenant.clone()));
        Ok(())
    }

    fn put_entitlement(&mut self, entitlement: &Entitlement) -> Result<(), StoreError> {
        let others = || self.entitlements.values().filter(|other| other.id != entitlement.id);
        let same = others().any(|other| {
            other.subscription.is_some() && other.subscription == entitlement.subscription
        });
        require(!same, "one entitlement per subscription")?;
        let bound = entitlement.is_active() && entitlement.tenant_id.is_some();
        let second =
            others().any(|other| other.is_active() && other.tenant_id == entitlement.tenant_id);
        require(!(bound && second), "one active entitlement per tenant")?;
        self.entitlements.insert(entitlement.id, Arc::new(entitlement.clone()));
        Ok(())
    }

    fn insert_code(&mut self, code: &InstallCode) -> Result<(), StoreError> {
        let same_owner = |other: &InstallCode| match code.kind {
            CodeKind::Install => other.tenant_id == code.tenant_id,
            CodeKind::Activation => other.entitlement_id == code.entitlement_id,
        };
        let is_rival =
            |other: &InstallCode| other.kind == code.kind && is_unused(other) && same_owner(other);
        require(!self.codes.values().any(|other| is_rival(other)), "one live code per owner")?;
        require(
            !self.codes.values().any(|other| other.digest == code.digest),
            "unique code digests",
        )?;
        self.codes.insert(code.id, Arc::new(code.clone()));
        Ok(())
    }

    fn apply_to_sign_ins(&mut self, write: &SignInWrite) -> Result<(), StoreError> {
        match write {
            SignInWrite::Insert(sign_in) => {
                let before = self.sign_ins.insert(sign_in.digest.0, Arc::new((**sign_in).clone()));
                return require(before.is_none(), "unique sign-in digests");
            }
            SignInWrite::Use { session, at } => {
                if let Some(session) = self.sign_ins.get_mut(&session.0) {
                    Arc::make_mut(session).used_at = *at;
                }
            }
            SignInWrite::Delete(digest) => {
                self.sign_ins.remove(&digest.0);
            }
            SignInWrite::DeleteAll { principal, kind } => {
                self.sign_ins.retain(|_, it| {
                    it.principal != *principal || kind.is_some_and(|kind| it.kind != kind)
                });
            }
        }
        Ok(())
    }

    pub(super) fn sign_in(&self, digest: SignInDigest) -> Option<SignIn> {
        self.sign_ins.get(&digest.0).map(|sign_in| (**sign_in).clone())
    }

    pub(super) fn tenant(&self, id: TenantId) -> Option<Tenant> {
        self.tenants.get(&id).map(|tenant| (**tenant).clone())
    }

    pub(super) fn entitlement(&self, selector: &EntitlementSelector) -> Option<Entitlement> {
        let is_selected = |entitlement: &&Arc<Entitlement>| match selector {
            EntitlementSelector::Id(id) => entitlement.id == *id,
            EntitlementSelector::Subscription(subscription) => {
                entitlement.subscription.as_ref() == Some(subscription)
            }
        };
        self.entitlements.values().find(is_selected).map(|entitlement| (**entitlement).clone())
    }

    pub(super) fn active_entitlement(&self, tenant: TenantId) -> Option<Entitlement> {
        let is_selected = |entitlement: &&Arc<Entitlement>| {
            entitlement.tenant_id == Some(tenant) && entitlement.is_active()
        };
        self.entitlements.values().find(is_selected).map(|entitlement| (**entitlement).clone())
    }

    pub(super) fn redeem_facts(&self, key: &RedeemKey) -> RedeemFacts {
        let code = self.codes.values().find(|code| key.digests.contains(&code.digest));
        let Some(code) = code.map(|code| (**code).clone()) else { return RedeemFacts::default() };
        let entitlement =
            code.entitlement_id.and_then(|id| self.entitlement(&EntitlementSelector::Id(id)));
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

    pub(super) fn entitlement_facts(&self, key: &EntitlementKey) -> EntitlementFacts {
        let entitlement = self.entitlement(&key.selector);
        let owner = entitlement.as_ref().and_then(|it| it.tenant_id).or(key.tenant_id);
        EntitlementFacts {
            entitlement,
            tenant: owner.and_then(|id| self.tenant(id)),
            tenant_entitlement: owner.and_then(|id| self.active_entitlement(id)),
        }
    }

    pub(super) fn tenant_facts(&self, key: &TenantKey) -> TenantFacts {
        let appliance =
            key.appliance.as_ref().and_then(|id| self.appliances.get(&(key.id, id.clone())));
        TenantFacts {
            tenant: self.tenant(key.id),
            appliance: appliance.map(|appliance| (**appliance).clone()),
        }
    }

    pub(super) fn credential_facts(&self, digest: CredentialDigest) -> Option<CredentialFacts> {
        let credential = self.credentials.get(&digest.0)?;
        let appliance =
            self.appliances.get(&(credential.tenant_id, credential.appliance_id.clone()))?;
        Some(CredentialFacts {
            credential: (**credential).clone(),
            appliance: (**appliance).clone(),
            tenant: self.tenant(credential.tenant_id)?,
            entitlement: self.active_entitlement(credential.tenant_id),
        })
    }

    /// Returns the releases of a channel, or of all channels, newest first.
    pub(super) fn list_releases(&self, channel: Option<&Channel>) -> Vec<ListedRelease> {
        let releases = self
            .releases
            .values()
            .filter(|release| channel.is_none_or(|channel| release.channel == *channel));
        let mut listed: Vec<_> = releases
            .map(|release| ListedRelease {
                is_current: release.yanked_at.is_none()
                    && self.current.get(release.channel.as_str()) == Some(&release.id),
                release: (**release).clone(),
            })
            .collect();
        listed.sort_by_key(|it| std::cmp::Reverse((it.release.published_at, it.release.id)));
        listed
    }

    /// Returns the tenants, newest registration first.
    pub(super) fn newest_first(&self) -> Vec<&Arc<Tenant>> {
        let mut tenants: Vec<_> = self.tenants.values().collect();
        tenants.sort_by_key(|tenant| std::cmp::Reverse((tenant.registered_at, tenant.id)));
        tenants
    }

    pub(super) fn reissue_facts(&self, selector: &TenantSelector) -> ReissueFacts {
        let tenants: Vec<Tenant> = match selector {
            TenantSelector::Id(id) => self.tenant(*id).into_iter().collect(),
            TenantSelector::Contact(contact) => {
                let is_theirs = |tenant: &&&Arc<Tenant>| {
                    tenant
                        .contact_email
                        .as_ref()
                        .is_some_and(|email| email.folded() == contact.folded())
                        && tenant.status != TenantStatus::Cancelled
                };
                let newest = self.newest_first();
                newest.iter().filter(is_theirs).take(2).map(|tenant| (***tenant).clone()).collect()
            }
        };
        ReissueFacts {
            entitlement: tenants.first().and_then(|tenant| self.active_entitlement(tenant.id)),
            tenants,
        }
    }

    pub(super) fn record(&self, tenant: &Tenant) -> TenantRecord {
        let id = Some(tenant.id);
        let mut codes: Vec<_> = self.codes.values().filter(|code| code.tenant_id == id).collect();
        codes.sort_by_key(|code| std::cmp::Reverse((code.issued_at, code.id)));
        let mut appliances: Vec<_> =
            self.appliances.values().filter(|it| Some(it.tenant_id) == id).collect();
        appliances.sort_by_key(|appliance| (appliance.registered_at, appliance.id.clone()));
        let mut entitlements: Vec<_> =
            self.entitlements.values().filter(|it| it.tenant_id == id).collect();
        entitlements.sort_by_key(|entitlement| (entitlement.created_at, entitlement.id));
        TenantRecord {
            tenant: tenant.clone(),
            entitlements: entitlements.into_iter().map(|it| (**it).clone()).collect(),
            codes: codes.into_iter().map(|it| (**it).clone()).collect(),
            appliances: appliances.into_iter().map(|it| (**it).clone()).collect(),
        }
    }
}

/// True if the tenant fits the query.
pub(super) fn matches_query(query: &TenantQuery, tenant: &Tenant) -> bool {
    query.deployment.is_none_or(|deployment| tenant.deployment == deployment)
        && query.status.is_none_or(|status| tenant.status == status)
        && query.edition.as_ref().is_none_or(|edition| tenant.edition == *edition)
        && query.product.as_ref().is_none_or(|product| tenant.product == *product)
        && query.contact.as_ref().is_none_or(|contact| tenant.is_contact(contact))
        && query.text.as_ref().is_none_or(|text| tenant.search_text().contains(text))
        && query.after.is_none_or(|after| (tenant.registered_at, tenant.id) < (after.at, after.id))
}
