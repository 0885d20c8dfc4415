//! The storage port, on any database that runs kinds of changes and scripts.

use std::ops::Deref;

use async_trait::async_trait;
use registry_core::audit::AuditEntry;
use registry_core::blob::BlobKey;
use registry_core::clock::Timestamp;
use registry_core::id::{CodeId, MailId, TenantId};
use registry_core::install_code::InstallCode;
use registry_core::mail::{MailCounts, MailQuery, QueuedMail};
use registry_core::release::Release;
use registry_core::results::{CheckedIn, EntitlementChanged, Issued, Redeemed};
use registry_core::secret::{CredentialDigest, KeyId, SignInDigest};
use registry_core::sign_in::SignIn;
use registry_core::store::{
    AuditQuery, Changes, CredentialFacts, Decide, Directory, EntitlementFacts, EntitlementKey,
    Keys, ListedRelease, Outbox, Outcome, OverdueAppliance, RedeemFacts, RedeemKey, ReissueFacts,
    ReleaseFacts, Releases, Replay, ReplayRecord, Retention, RetentionKind, SignIns, StoreError,
    TenantFacts, TenantKey, TenantQuery, TenantRecord, TenantSelector,
};
use registry_core::tenant::Tenant;
use registry_core::text::{Channel, SubscriptionId};

use crate::kind::{CheckIn, Kind, Register, ReissueByContact, ReissueById};
use crate::script::{self as s, Script};

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

/// Implements a trait of the port: for each method, what the database does.
macro_rules! port {
    ($($trait:ident {$(
        $name:ident($($arg:ident: $type:ty),*) -> $out:ty = |$database:ident| $run:expr;
    )+})+) => {$(
        #[async_trait]
        impl<D: Database> $trait for SqlStore<D> {$(
            async fn $name(&self, $($arg: $type),*) -> Result<$out> {
                let $database = &self.0;
                $run.await
            }
        )+}
    )+};
}

port! {
    Changes {
        tenant_register(
            subscription: Option<SubscriptionId>,
            replay: Option<Replay>,
            decide: Decide<EntitlementFacts, Issued>
        ) -> Outcome<Issued> = |db| db.change(Register(subscription), replay, decide);
        code_redeem(
            key: RedeemKey,
            replay: Option<Replay>,
            decide: Decide<RedeemFacts, Redeemed>
        ) -> Outcome<Redeemed> = |db| db.change(key, replay, decide);
        code_reissue(
            selector: TenantSelector,
            replay: Option<Replay>,
            decide: Decide<ReissueFacts, Issued>
        ) -> Outcome<Issued> = |db| async {
            match selector {
                TenantSelector::Id(id) => db.change(ReissueById(id), replay, decide).await,
                TenantSelector::Contact(contact) => {
                    db.change(ReissueByContact(contact), replay, decide).await
                }
            }
        };
        entitlement_change(
            key: EntitlementKey,
            replay: Option<Replay>,
            decide: Decide<EntitlementFacts, EntitlementChanged>
        ) -> Outcome<EntitlementChanged> = |db| db.change(key, replay, decide);
        tenant_change(key: TenantKey, decide: Decide<TenantFacts, Tenant>) -> Outcome<Tenant>
            = |db| db.change(key, None, decide);
        check_in(
            digest: CredentialDigest,
            now: Timestamp,
            replay: Option<Replay>,
            decide: Decide<Option<CredentialFacts>, CheckedIn>
        ) -> Outcome<CheckedIn>
            = |db| db.change(CheckIn { digest, at: Some(now) }, replay, decide);
    }
    Directory {
        tenant_list(query: TenantQuery) -> Vec<TenantRecord> = |db| db.read(s::ListTenants(query));
        tenant_show(id: TenantId) -> Option<TenantRecord> = |db| db.read(s::ShowTenant(id));
        appliances_overdue(since: Timestamp, limit: u32) -> Vec<OverdueAppliance>
            = |db| db.read(s::OverdueAppliances { since, limit });
        code_show(id: CodeId) -> Option<(InstallCode, Tenant)> = |db| db.read(s::ShowCode(id));
        credential_show(digest: CredentialDigest) -> Option<CredentialFacts>
            = |db| db.read(s::ShowCredential(digest));
        license_tenant(sub: String) -> Option<TenantId> = |db| db.read(s::LicenseTenant(sub));
        replay_show(request: Replay) -> Option<ReplayRecord> = |db| db.read(s::ShowReplay(request));
        audit_list(query: AuditQuery) -> Vec<AuditEntry> = |db| db.read(s::ListAudit(query));
        audit_count(entry: AuditEntry) -> () = |db| db.write(s::CountAudit(entry));
    }
    Outbox {
        mail_lease(now: Timestamp, until: Timestamp) -> Option<QueuedMail> = |db| async {
            if D::WRITES_BLOCK && !db.read(s::IsMailDue(now)).await? {
                return Ok(None);
            }
            db.write(s::LeaseMail { now, until }).await
        };
        mail_counts(delayed_since: Timestamp) -> MailCounts
            = |db| db.read(s::CountMails(delayed_since));
        mail_list(query: MailQuery) -> Vec<QueuedMail> = |db| db.read(s::ListMails(query));
        mail_change(id: MailId, decide: Decide<Option<QueuedMail>, QueuedMail>)
            -> Outcome<QueuedMail> = |db| db.change(id, None, decide);
    }
    SignIns {
        sign_in_show(digest: SignInDigest) -> Option<SignIn>
            = |db| db.read(s::ShowSignIn(digest));
        sign_in_change(digest: SignInDigest, decide: Decide<Option<SignIn>, SignIn>)
            -> Outcome<SignIn> = |db| db.change(digest, None, decide);
    }
    Releases {
        release_change(channel: Channel, decide: Decide<ReleaseFacts, Release>)
            -> Outcome<Release> = |db| db.change(channel, None, decide);
        release_current(channel: Channel) -> Option<Release>
            = |db| db.read(s::CurrentRelease(channel));
        release_list(channel: Option<Channel>) -> Vec<ListedRelease>
            = |db| db.read(s::ListReleases(channel));
        release_of_file(key: BlobKey) -> Option<Release> = |db| db.read(s::ReleaseOfFile(key));
    }
    Retention {
        count_expired(kind: RetentionKind, before: Timestamp) -> u64
            = |db| db.read(s::CountExpired { kind, before });
        supersede_unused_codes(at: Timestamp, limit: u32) -> Vec<InstallCode>
            = |db| db.write(s::SupersedeUnusedCodes { at, limit });
        delete_expired(kind: RetentionKind, before: Timestamp, limit: u32) -> u64
            = |db| db.write(s::DeleteExpired { kind, before, limit });
    }
    Keys {
        key_ids_in_use() -> Vec<KeyId> = |db| db.read(s::KeyIdsInUse);
        register_master_key(ring: Vec<KeyId>) -> Option<KeyId>
            = |db| db.write(s::RegisterMasterKey(ring));
        probe() -> () = |db| db.write(s::Probe);
    }
}
