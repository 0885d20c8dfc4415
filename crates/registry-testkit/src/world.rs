//! A complete registry for a test, and the handles that control it.

use std::sync::Arc;

use chrono::TimeDelta;
use registry_core::audit::{Actor, AuditEntry};
use registry_core::clock::Clock as _;
use registry_core::edition::{EditionCatalogue, EditionName};
use registry_core::entitlement::Entitlement;
use registry_core::id::{CodeId, EntitlementId, TenantId};
use registry_core::install_code::{CodeKind, CodeLength, InstallCode, PlainCode};
use registry_core::license::LicensePolicy;
use registry_core::mail::{DeliveryOutcome, MailQuery, QueuedMail};
use registry_core::product::ProductCatalogue;
use registry_core::rate_limit::{RateLimit, Source};
use registry_core::registry::deliver::Delivery;
use registry_core::registry::redeem::{Redeem, RedemptionChannel, Requester};
use registry_core::registry::register::NewTenant;
use registry_core::registry::reissue::Reissue;
use registry_core::registry::releases::NewRelease;
use registry_core::registry::retention::Retention;
use registry_core::release::Release;
use registry_core::results::Issued;
use registry_core::results::Redeemed;
use registry_core::secret::TypedCode;
use registry_core::store::{
    AuditQuery, Decision, RedeemFacts, RedeemKey, Store, StoreError, TenantSelector, Write,
};
use registry_core::text::{ApplianceId, Channel, CompanyName, ProductCode};
use registry_core::{
    CodeSettings, DownloadSettings, Error, Ports, RateLimitSettings, Refusal, Registry, Settings,
    SignInSettings,
};
use registry_license::{ManifestKey, Signer, ed25519_pem};
use registry_vault::{Key, KeyRing};

use crate::memory::MemoryStore;
use crate::ports::{FlakySigner, ManualClock, MemoryBlobs, MemoryMailer, SeededEntropy};

/// A registry over the ports in memory, or over a store that is under test.
pub struct World {
    /// The registry.
    pub registry: Registry,
    /// The registry's ports.
    pub ports: Ports,
    /// The registry's clock.
    pub clock: Arc<ManualClock>,
    /// The registry's mailer.
    pub mailer: Arc<MemoryMailer>,
    /// The registry's blob store.
    pub blobs: MemoryBlobs,
    /// The registry's license signer.
    pub signer: Arc<FlakySigner>,
}

/// Returns the actor that tests make their requests as.
#[must_use]
pub fn actor() -> Actor {
    Actor { name: "test".to_owned(), source: "here".to_owned() }
}

/// Returns the audit of a tenant, or all of it, oldest first.
pub async fn audit(store: &dyn Store, tenant: Option<TenantId>) -> Vec<AuditEntry> {
    let query = AuditQuery { tenant, action: None, limit: u32::MAX, after: None };
    let mut entries = store.audit_list(query).await.expect("the audit");
    entries.reverse();
    entries
}

impl World {
    /// Creates a registry with everything in memory.
    #[must_use]
    pub fn in_memory() -> Self {
        Self::over(Arc::new(MemoryStore::default()))
    }

    /// Creates a registry over this store.
    #[must_use]
    pub fn over(store: Arc<dyn Store>) -> Self {
        Self::with(store, |_| {})
    }

    /// Creates a registry over this store, and lets `change` change its settings.
    #[must_use]
    pub fn with(store: Arc<dyn Store>, change: impl FnOnce(&mut Settings)) -> Self {
        let clock = Arc::new(ManualClock::default());
        let mailer = Arc::new(MemoryMailer::default());
        let blobs = MemoryBlobs::default();
        let signer = Signer::from_pem(&ed25519_pem(&[7; 32]), None).expect("a valid key");
        let signer = Arc::new(FlakySigner::new(Arc::new(signer)));
        let vault = KeyRing::parse(&KeyRing::render(&Key::new([9; 32]))).expect("a valid key ring");
        let ports = Ports {
            store,
            blobs: Arc::new(blobs.clone()),
            mailer: mailer.clone(),
            vault: Arc::new(vault),
            signer: signer.clone(),
            manifests: Arc::new(
                ManifestKey::from_pem(&ed25519_pem(&[5; 32])).expect("a valid key"),
            ),
            clock: clock.clone(),
            entropy: Arc::new(SeededEntropy::new(1)),
        };
        let mut settings = Settings {
            editions: EditionCatalogue::default(),
            products: ProductCatalogue::new([ProductCode::from_stored("default".to_owned())])
                .expect("a product"),
            codes: CodeSettings {
                length: CodeLength::default(),
                activation_length: CodeLength::default(),
                lifetime: TimeDelta::days(7),
                activation_needs_bound_tenant: false,
            },
            sign_in: SignInSettings {
                url: "https://registry.example/portal/sign-in".to_owned(),
                link_lifetime: TimeDelta::minutes(15),
                session_idle: TimeDelta::minutes(30),
                session_lifetime: TimeDelta::hours(12),
            },
            rate_limit: RateLimitSettings {
                code_guesses: RateLimit::default(),
                mails: RateLimit { limit: 10, ..RateLimit::default() },
            },
            license: LicensePolicy::default(),
            downloads: DownloadSettings {
                url: "https://registry.example/download".to_owned(),
                lifetime: TimeDelta::days(7),
                fresh_lifetime: TimeDelta::hours(1),
                after_redemption: TimeDelta::days(7),
                channel: Channel::from_stored("stable".to_owned()),
            },
            retention: Retention::default(),
            replay_window: TimeDelta::days(1),
            check_in_url: "https://registry.example/check-in".to_owned(),
            portal_url: None,
        };
        change(&mut settings);
        Self {
            registry: Registry::new(ports.clone(), settings),
            ports,
            clock,
            mailer,
            blobs,
            signer,
        }
    }

    /// Returns the registration that most tests use: with a contact, a mail, and no subscription.
    #[must_use]
    pub fn new_tenant(company: &str, edition: &str) -> NewTenant {
        NewTenant {
            company_name: company.to_owned(),
            contact_email: format!("{}@example.com", company.to_lowercase().replace(' ', "-")),
            edition: edition.to_owned(),
            send_email: true,
            ..NewTenant::default()
        }
    }

    /// Registers a tenant.
    pub async fn register(&self, company: &str, edition: &str) -> Issued {
        self.registry
            .tenant_register(Self::new_tenant(company, edition), actor())
            .await
            .expect("a registration")
    }

    /// Publishes an image.
    pub async fn publish(&self, version: &str, content: &[u8]) -> Result<Release, Error> {
        let (version, file_name) = (version.to_owned(), "image.iso".to_owned());
        let new = NewRelease { version, file_name, ..NewRelease::default() };
        let mut upload = self.registry.release_begin(new, actor()).await?;
        upload.write(content).await?;
        self.registry.release_publish(upload).await
    }

    /// Delivers the due mails until none is due or one is deferred. Returns each delivery.
    pub async fn deliver(&self) -> Vec<Delivery> {
        let mut deliveries = Vec::new();
        while let Some(delivery) = self.registry.mail_deliver().await.expect("the outbox") {
            let is_deferred = matches!(delivery.outcome, DeliveryOutcome::Deferred { .. });
            deliveries.push(delivery);
            if is_deferred {
                break;
            }
        }
        deliveries
    }

    /// Returns the mails of a tenant, oldest first.
    pub async fn mails(&self, tenant: TenantId) -> Vec<QueuedMail> {
        let query = MailQuery { tenant: Some(tenant), limit: 100, ..MailQuery::default() };
        let mut mails = self.ports.store.mail_list(query).await.expect("the outbox");
        mails.reverse();
        mails
    }

    /// Re-issues a tenant's code.
    pub async fn reissue(&self, tenant: TenantId) -> Result<Issued, Error> {
        let reissue = Reissue {
            selector: TenantSelector::Id(tenant),
            strict: false,
            send_email: true,
            mail_only: false,
            key: None,
        };
        self.registry.code_reissue(reissue, actor()).await
    }

    /// Redeems a code at a first boot.
    pub async fn redeem(&self, code: &PlainCode, appliance: &str) -> Result<Redeemed, Error> {
        self.redeem_as(code, appliance, Requester::FirstBoot).await
    }

    /// Redeems a code at a first boot, through another registry over the same ports.
    pub async fn redeem_with(
        &self,
        registry: &Registry,
        code: &PlainCode,
        appliance: &str,
    ) -> Result<Redeemed, Error> {
        registry.code_redeem(redeem(code, appliance, Requester::FirstBoot)).await
    }

    /// Redeems a code as this requester.
    pub async fn redeem_as(
        &self,
        code: &PlainCode,
        appliance: &str,
        requester: Requester,
    ) -> Result<Redeemed, Error> {
        self.registry.code_redeem(redeem(code, appliance, requester)).await
    }

    /// Commits the given writes, as a decision of core would.
    pub async fn write(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        let key = RedeemKey {
            digests: vec![],
            tenant_id: None,
            appliance_id: ApplianceId::from_stored("test".to_owned()),
        };
        let decide =
            move |_: &RedeemFacts| Decision::commit(writes.clone(), Err(Refusal::TenantRequired));
        self.ports.store.code_redeem(key, None, Arc::new(decide)).await.map(drop)
    }

    /// Creates a `pro` entitlement, bound to the tenant `bound` if there is one, and an activation
    /// code for it.
    pub async fn activation_code(&self, bound: Option<TenantId>) -> (PlainCode, EntitlementId) {
        let code = PlainCode::draw(&*self.ports.entropy, CodeLength::default());
        let id = EntitlementId(self.registry.new_id());
        let entitlement = Entitlement {
            id,
            tenant_id: bound,
            subscription: None,
            customer: CompanyName::from_stored("Acme".to_owned()),
            edition: EditionName::new("pro"),
            seats: Some(5),
            license_sub: format!("lic_{id}"),
            created_at: self.now(),
            revoked_at: None,
        };
        let row = InstallCode {
            id: CodeId(self.registry.new_id()),
            kind: CodeKind::Activation,
            tenant_id: bound,
            entitlement_id: Some(id),
            digest: self.ports.vault.code_digests(&code).remove(0),
            last_four: code.last_four(),
            issued_at: self.now(),
            expires_at: self.now() + chrono::TimeDelta::days(7),
            consumed: None,
            superseded_at: None,
        };
        let writes =
            vec![Write::InsertEntitlement(Box::new(entitlement)), Write::InsertCode(Box::new(row))];
        self.write(writes).await.expect("an activation code");
        (code, id)
    }

    /// Returns the time of the clock.
    #[must_use]
    pub fn now(&self) -> registry_core::clock::Timestamp {
        self.clock.now()
    }
}

fn redeem(code: &PlainCode, appliance: &str, requester: Requester) -> Redeem {
    Redeem {
        typed_code: TypedCode::new(code.expose().to_owned()),
        appliance_id: appliance.to_owned(),
        requester,
        channel: RedemptionChannel::Network(Source::of([192, 0, 2, 1].into())),
        key: None,
    }
}
