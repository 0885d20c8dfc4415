//! Changes that a test makes directly through the store, so that it sees how often each is decided.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use registry_core::audit::{Action, AuditDetail, AuditEntry};
use registry_core::edition::EditionName;
use registry_core::id::TenantId;
use registry_core::install_code::{Consumption, InstallCode};
use registry_core::results::Redeemed;
use registry_core::secret::CodeDigest;
use registry_core::store::{
    Decision, Outcome, RedeemFacts, RedeemKey, Replay, Store, StoreError, Write,
};
use registry_core::text::ApplianceId;
use registry_testkit::{World, actor, audit};

pub(crate) type Answer<T> = Result<Outcome<T>, StoreError>;

/// A change of a new tenant, which consumes the tenant's code.
#[derive(Clone)]
pub(crate) struct Change {
    pub(crate) tenant: TenantId,
    pub(crate) code: InstallCode,
    pub(crate) writes: Vec<Write>,
    decisions: Arc<AtomicUsize>,
}

/// Stored part of a change: true if the code is consumed, and the number of audit entries.
pub(crate) type Stored = (bool, usize);

pub(crate) const MADE: Stored = (true, 1);
pub(crate) const NOT_MADE: Stored = (false, 0);

fn appliance() -> ApplianceId {
    ApplianceId::from_stored("a".to_owned())
}

impl Change {
    /// Registers a tenant, and returns the change.
    pub(crate) async fn new(world: &World) -> Self {
        let tenant = world.register("Acme", "pro").await.tenant_id;
        let mut record = world.ports.store.tenant_show(tenant).await.unwrap().unwrap();
        let code = record.codes.remove(0);
        let consumption = Consumption { at: world.now(), by: appliance() };
        let entry = AuditEntry {
            id: world.registry.new_id().into(),
            at: world.now(),
            actor: actor(),
            action: Action::CodeRedeemed,
            tenant_id: Some(tenant),
            code_id: Some(code.id),
            mail_id: None,
            detail: AuditDetail::default(),
            count: 1,
        };
        let writes = vec![
            Write::ConsumeCode { code: code.id, consumption, tenant },
            Write::AppendAudit(Box::new(entry)),
        ];
        Self { tenant, code, writes, decisions: Arc::default() }
    }

    /// Registers a tenant, and returns a change that also issues a code with this digest.
    pub(crate) async fn issuing(world: &World, digest: u8) -> Self {
        let mut change = Self::new(world).await;
        let digest = CodeDigest { bytes: [digest; 32], ..change.code.digest.clone() };
        let id = world.registry.new_id().into();
        let code = InstallCode { id, digest, ..change.code.clone() };
        change.writes.push(Write::InsertCode(Box::new(code)));
        change
    }

    /// Makes the change.
    pub(crate) async fn make(
        &self,
        store: &Arc<dyn Store>,
        replay: Option<Replay>,
    ) -> Answer<Redeemed> {
        let key = RedeemKey {
            digests: vec![self.code.digest.clone()],
            tenant_id: None,
            appliance_id: appliance(),
        };
        let redeemed = Redeemed {
            tenant_id: self.tenant,
            edition: EditionName::new("pro"),
            company_name: "Acme".to_owned(),
            contact_email: String::new(),
            licensed: None,
        };
        let (writes, decisions) = (self.writes.clone(), self.decisions.clone());
        let decide = move |_: &RedeemFacts| {
            decisions.fetch_add(1, Ordering::SeqCst);
            Decision::commit(writes.clone(), Ok(redeemed.clone()))
        };
        store.code_redeem(key, replay, Arc::new(decide)).await
    }

    /// Returns how often the change was decided.
    pub(crate) fn decisions(&self) -> usize {
        self.decisions.load(Ordering::SeqCst)
    }

    pub(crate) async fn stored(&self, world: &World) -> Stored {
        let store = &world.ports.store;
        let codes = store.tenant_show(self.tenant).await.unwrap().unwrap().codes;
        let code = codes.iter().find(|code| code.id == self.code.id).unwrap();
        let audit = audit(&**store, Some(self.tenant)).await;
        let entries = audit.iter().filter(|entry| entry.action == Action::CodeRedeemed);
        (code.consumed.is_some(), entries.count())
    }
}

/// Makes changes at the same time. All of them wait for a batch after the first poll.
pub(crate) async fn make_all(store: &Arc<dyn Store>, changes: &[Change]) -> Vec<Answer<Redeemed>> {
    join_all(changes.iter().map(|change| change.make(store, None))).await
}
