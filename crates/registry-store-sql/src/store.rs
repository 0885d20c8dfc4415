//! The storage port, on any database that runs kinds of changes and scripts.

use std::ops::Deref;

use async_trait::async_trait;
use registry_core::audit::AuditEntry;
use registry_core::blob::BlobKey;
use registry_core::clock::Timestamp;
use registry_core::id::{CodeId, MailId, TenantId};
use registry_core::install_code::InstallCode;
use registry_core::mail::{MailQuery, QueuedMail};
use registry_core::release::Release;
use registry_core::results::{CheckedIn, EntitlementChanged, Issued, Redeemed};
use registry_core::secret::{CredentialDigest, KeyId, SignInDigest};
use registry_core::sign_in::SignIn;
use registry_core::store::{
    AuditQuery, Changes, CredentialFacts, Decide, Directory, EntitlementFacts, EntitlementKey,
    Keys, ListedRelease, Outbox, Outcome, OverdueAppliance, RedeemFacts, RedeemKey, ReissueFacts,
    ReleaseFacts, Releases, Replay, Retention, RetentionKind, SignIns, StoreError, TenantFacts,
    TenantKey, TenantQuery, TenantRecord, TenantSelector,
};
use registry_core::tenant::Tenant;
use registry_core::text::{Channel, SubscriptionId};

use crate::kind::{CheckIn, Kind, Register, ReissueByContact, ReissueById};
use crate::script::{self, Script};

type Result<T> = std::result::Result<T, StoreError>;

/// A database.
pub trait Database: Send + Sync + 'static {
    /// True if a write keeps other writers waiting, so that it is worth a read to avoid one.
    const WRITES_BLOCK: bool;

    /// Makes a change, in a transaction.
    fn change<K: Kind>(
        &self,
        key: K,
        replay: Option<Replay>,
        decide: Decide<K::Facts, K::Output>,
    ) -> impl Future<Output = Result<Outcome<K::Output>>> + Send;

    /// Runs a script that reads.
    fn read<S: Script>(&self, script: S) -> impl Future<Output = Result<S::Output>> + Send;

    /// Runs a script that writes.
    fn write<S: Script>(&self, script: S) -> impl Future<Output = Result<S::Output>> + Send;
}

/// A store in a database. It has the methods of the database, too.
#[derive(Clone)]
pub struct SqlStore<D>(pub D);

impl<D> Deref for SqlStore<D> {
    type Target = D;

    fn deref(&self) -> &D {
        &self.0
    }
}

#[async_trait]
impl<D: Database> Changes for SqlStore<D> {
    async fn tenant_register(
        &self,
        subscription: Option<SubscriptionId>,
        replay: Option<Replay>,
        decide: Decide<EntitlementFacts, Issued>,
    ) -> Result<Outcome<Issued>> {
        self.0.change(Register(subscription), replay, decide).await
    }

    async fn code_redeem(
        &self,
        key: RedeemKey,
        replay: Option<Replay>,
        decide: Decide<RedeemFacts, Redeemed>,
    ) -> Result<Outcome<Redeemed>> {
        self.0.change(key, replay, decide).await
    }

    async fn code_reissue(
        &self,
        selector: TenantSelector,
        replay: Option<Replay>,
        decide: Decide<ReissueFacts, Issued>,
    ) -> Result<Outcome<Issued>> {
        match selector {
            TenantSelector::Id(id) => self.0.change(ReissueById(id), replay, decide).await,
            TenantSelector::Contact(contact) => {
                self.0.change(ReissueByContact(contact), replay, decide).await
            }
        }
    }

    async fn entitlement_change(
        &self,
        key: EntitlementKey,
        replay: Option<Replay>,
        decide: Decide<EntitlementFacts, EntitlementChanged>,
    ) -> Result<Outcome<EntitlementChanged>> {
        self.0.change(key, replay, decide).await
    }

    async fn tenant_change(
        &self,
        key: TenantKey,
        decide: Decide<TenantFacts, Tenant>,
    ) -> Result<Outcome<Tenant>> {
        self.0.change(key, None, decide).await
    }

    async fn check_in(
        &self,
        digest: CredentialDigest,
        now: Timestamp,
        replay: Option<Replay>,
        decide: Decide<Option<CredentialFacts>, CheckedIn>,
    ) -> Result<Outcome<CheckedIn>> {
        self.0.change(CheckIn { digest, at: Some(now) }, replay, decide).await
    }
}

#[async_trait]
impl<D: Database> Directory for SqlStore<D> {
    async fn tenant_list(&self, query: TenantQuery) -> Result<Vec<TenantRecord>> {
        self.0.read(script::ListTenants(query)).await
    }

    async fn tenant_show(&self, id: TenantId) -> Result<Option<TenantRecord>> {
        self.0.read(script::ShowTenant(id)).await
    }

    async fn appliances_overdue(
        &self,
        since: Timestamp,
        limit: u32,
    ) -> Result<Vec<OverdueAppliance>> {
        self.0.read(script::OverdueAppliances { since, limit }).await
    }

    async fn code_show(&self, id: CodeId) -> Result<Option<(InstallCode, Tenant)>> {
        self.0.read(script::ShowCode(id)).await
    }

    async fn credential_show(&self, digest: CredentialDigest) -> Result<Option<CredentialFacts>> {
        self.0.read(script::ShowCredential(digest)).await
    }

    async fn audit_list(&self, query: AuditQuery) -> Result<Vec<AuditEntry>> {
        self.0.read(script::ListAudit(query)).await
    }

    async fn audit_count(&self, entry: AuditEntry) -> Result<()> {
        self.0.write(script::CountAudit(entry)).await
    }
}

#[async_trait]
impl<D: Database> Outbox for SqlStore<D> {
    async fn mail_lease(&self, now: Timestamp, until: Timestamp) -> Result<Option<QueuedMail>> {
        if D::WRITES_BLOCK && !self.0.read(script::IsMailDue(now)).await? {
            return Ok(None);
        }
        self.0.write(script::LeaseMail { now, until }).await
    }

    async fn mail_list(&self, query: MailQuery) -> Result<Vec<QueuedMail>> {
        self.0.read(script::ListMails(query)).await
    }

    async fn mail_change(
        &self,
        id: MailId,
        decide: Decide<Option<QueuedMail>, QueuedMail>,
    ) -> Result<Outcome<QueuedMail>> {
        self.0.change(id, None, decide).await
    }
}

#[async_trait]
impl<D: Database> SignIns for SqlStore<D> {
    async fn sign_in_show(&self, digest: SignInDigest) -> Result<Option<SignIn>> {
        self.0.read(script::ShowSignIn(digest)).await
    }

    async fn sign_in_change(
        &self,
        digest: SignInDigest,
        decide: Decide<Option<SignIn>, SignIn>,
    ) -> Result<Outcome<SignIn>> {
        self.0.change(digest, None, decide).await
    }
}

#[async_trait]
impl<D: Database> Releases for SqlStore<D> {
    async fn release_change(
        &self,
        channel: Channel,
        decide: Decide<ReleaseFacts, Release>,
    ) -> Result<Outcome<Release>> {
        self.0.change(channel, None, decide).await
    }

    async fn release_current(&self, channel: Channel) -> Result<Option<Release>> {
        self.0.read(script::CurrentRelease(channel)).await
    }

    async fn release_list(&self, channel: Option<Channel>) -> Result<Vec<ListedRelease>> {
        self.0.read(script::ListReleases(channel)).await
    }

    async fn release_of_file(&self, key: BlobKey) -> Result<Option<Release>> {
        self.0.read(script::ReleaseOfFile(key)).await
    }
}

#[async_trait]
impl<D: Database> Retention for SqlStore<D> {
    async fn count_expired(&self, kind: RetentionKind, before: Timestamp) -> Result<u64> {
        self.0.read(script::CountExpired { kind, before }).await
    }

    async fn delete_expired(
        &self,
        kind: RetentionKind,
        before: Timestamp,
        limit: u32,
    ) -> Result<u64> {
        self.0.write(script::DeleteExpired { kind, before, limit }).await
    }
}

#[async_trait]
impl<D: Database> Keys for SqlStore<D> {
    async fn key_ids_in_use(&self) -> Result<Vec<KeyId>> {
        self.0.read(script::KeyIdsInUse).await
    }

    async fn register_master_key(&self, ring: Vec<KeyId>) -> Result<Option<KeyId>> {
        self.0.write(script::RegisterMasterKey(ring)).await
    }

    async fn probe(&self) -> Result<()> {
        self.0.write(script::Probe).await
    }
}
