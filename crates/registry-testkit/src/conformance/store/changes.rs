//! Changes, one at a time.

use std::sync::Arc;

use chrono::TimeDelta;
use registry_core::id::TenantId;
use registry_core::install_code::CodeState;
use registry_core::mail::MailState;
use registry_core::registry::redeem::Requester;
use registry_core::secret::{CodeDigest, KeyId};
use registry_core::store::{Outcome, RedeemFacts, RedeemKey, Store, Write};
use registry_core::tenant::TenantStatus;
use registry_core::{Error, Refusal};

use super::{abort, actions, appliance, run_decision};
use crate::World;
use crate::world::{actor, audit};

/// A registration writes tenant, entitlement (paid editions), code, mail and audit entries in one
/// transaction. R-register-tenant-1, R-register-tenant-3.
pub async fn registration_is_one_transaction(store: Arc<dyn Store>) {
    let world = World::over(store.clone());
    let pro = world.register("Acme", "pro").await;
    let record = store.tenant_show(pro.tenant_id).await.unwrap().unwrap();
    assert_eq!(record.tenant.status, TenantStatus::Registered);
    assert_eq!(record.entitlements.len(), 1);
    assert_eq!(record.codes[0].entitlement_id, Some(record.entitlements[0].id));
    assert_eq!(record.codes[0].expires_at, pro.expires_at);
    let mails = world.mails(pro.tenant_id).await;
    assert_eq!((mails.len(), mails[0].state), (1, MailState::Queued));
    assert!(mails[0].sealed.is_some());
    assert_eq!(
        actions(&store, pro.tenant_id).await,
        ["tenant_registered", "entitlement_granted", "code_issued"]
    );

    let essentials = world.register("Bolt", "essentials").await;
    let record = store.tenant_show(essentials.tenant_id).await.unwrap().unwrap();
    assert_eq!(record.entitlements, []);
    assert_eq!(record.codes[0].entitlement_id, None);
    assert_eq!(actions(&store, essentials.tenant_id).await, ["tenant_registered", "code_issued"]);
}

/// A second registration of a subscription finds the first one's tenant. The tenant gets a new
/// code, and its earlier code is replaced. R-register-tenant-4.
pub async fn known_subscription_gets_a_new_code(store: Arc<dyn Store>) {
    let world = World::over(store.clone());
    for edition in ["pro", "essentials"] {
        let mut new = World::new_tenant("Acme", edition);
        new.subscription_id = Some(format!("sub_{edition}"));
        let first = world.registry.tenant_register(new.clone(), actor()).await.unwrap();
        world.clock.advance(TimeDelta::seconds(1));
        let second = world.registry.tenant_register(new, actor()).await.unwrap();
        assert_eq!(first.tenant_id, second.tenant_id);
        let refused = world.redeem(&first.code, "a").await.unwrap_err();
        assert!(matches!(refused, Error::Refused(Refusal::CodeSuperseded { .. })), "{refused:?}");
        assert_eq!(world.redeem(&second.code, "a").await.unwrap().edition.as_str(), edition);
    }
}

/// A redemption consumes the code, installs the tenant, and adds appliance, license and audit entry
/// in one transaction. For essentials it adds no appliance. R-register-7, R-register-20.
pub async fn redemption_is_one_transaction(store: Arc<dyn Store>) {
    let world = World::over(store.clone());
    let pro = world.register("Acme", "pro").await;
    let redeemed = world.redeem(&pro.code, "appliance-1").await.unwrap();
    assert_eq!(redeemed.tenant_id, pro.tenant_id);
    assert!(redeemed.licensed.is_some());
    let record = store.tenant_show(pro.tenant_id).await.unwrap().unwrap();
    assert_eq!(record.tenant.status, TenantStatus::Installed);
    assert_eq!(record.tenant.installed_at, Some(world.now()));
    assert_eq!(record.codes[0].state(world.now()), CodeState::Consumed(world.now()));
    let license = record.appliances[0].license.as_ref().unwrap();
    assert_eq!(license.terms.sub, record.entitlements[0].license_sub);
    assert_eq!(license.expires_at, world.now() + TimeDelta::days(31));
    assert_eq!(actions(&store, pro.tenant_id).await.last(), Some(&"code_redeemed"));

    let essentials = world.register("Bolt", "essentials").await;
    let redeemed = world.redeem(&essentials.code, "appliance-1").await.unwrap();
    assert!(redeemed.licensed.is_none());
    let record = store.tenant_show(essentials.tenant_id).await.unwrap().unwrap();
    assert_eq!((record.tenant.status, record.appliances.len()), (TenantStatus::Installed, 0));
}

/// A re-issue replaces the tenant's unused codes and discards their unsent mails in one
/// transaction. The tenant stays the same. R-reissue-4, R-reissue-6.
pub async fn reissue_replaces_codes_and_unsent_mails(store: Arc<dyn Store>) {
    let world = World::over(store.clone());
    let first = world.register("Acme", "pro").await;
    world.clock.advance(TimeDelta::seconds(1));
    let second = world.reissue(first.tenant_id).await.unwrap();
    assert_eq!(second.tenant_id, first.tenant_id);
    let states: Vec<_> = world.mails(first.tenant_id).await.iter().map(|mail| mail.state).collect();
    assert_eq!(states, [MailState::Discarded, MailState::Queued]);
    let refused = world.redeem(&first.code, "a").await.unwrap_err();
    assert!(
        matches!(refused, Error::Refused(Refusal::CodeSuperseded { since }) if since == world.now())
    );
    let redeemed = world.redeem(&second.code, "a").await.unwrap();
    assert_eq!((redeemed.tenant_id, redeemed.licensed.is_some()), (first.tenant_id, true));
}

/// If signing fails, nothing is written, and the code can still be redeemed. R-register-6.
pub async fn failed_signature_leaves_the_code_live(store: Arc<dyn Store>) {
    let world = World::over(store.clone());
    let issued = world.register("Acme", "pro").await;
    let before = store.tenant_show(issued.tenant_id).await.unwrap();
    let audit = actions(&store, issued.tenant_id).await;
    world.signer.fail(true);
    let failed = world.redeem(&issued.code, "a").await.unwrap_err();
    assert!(matches!(failed, Error::Decide(_)), "{failed:?}");
    assert_eq!(store.tenant_show(issued.tenant_id).await.unwrap(), before);
    assert_eq!(actions(&store, issued.tenant_id).await, audit);
    world.signer.fail(false);
    world.redeem(&issued.code, "a").await.unwrap();
}

/// If the last of several writes fails, the earlier ones are rolled back.
pub async fn failed_write_rolls_everything_back(store: Arc<dyn Store>) {
    let world = World::over(store.clone());
    let (acme, bolt) = (world.register("Acme", "pro").await, world.register("Bolt", "pro").await);
    let before = store.tenant_show(acme.tenant_id).await.unwrap().unwrap();
    let (mails, audit) = (world.mails(acme.tenant_id).await, actions(&store, acme.tenant_id).await);
    let duplicate = store.tenant_show(bolt.tenant_id).await.unwrap().unwrap().codes.remove(0);
    let mut mail = mails[0].clone();
    mail.id = world.registry.new_id().into();
    let consumption =
        registry_core::install_code::Consumption { at: world.now(), by: appliance("a") };
    let writes = vec![
        Write::UpdateTenant(Box::new(before.tenant.installed(world.now()))),
        Write::ConsumeCode { code: before.codes[0].id, consumption, tenant: acme.tenant_id },
        Write::EnqueueMail(Box::new(mail)),
        Write::InsertCode(Box::new(duplicate)),
    ];
    world.write(writes).await.unwrap_err();
    assert_eq!(store.tenant_show(acme.tenant_id).await.unwrap().unwrap(), before);
    assert_eq!(world.mails(acme.tenant_id).await, mails);
    assert_eq!(actions(&store, acme.tenant_id).await, audit);
    world.redeem(&acme.code, "a").await.unwrap();
}

/// An aborted decision is reported as aborted, and writes nothing.
pub async fn abort_writes_nothing(store: Arc<dyn Store>) {
    let outcome = run_decision(&store, abort).await.unwrap();
    assert!(matches!(outcome, Outcome::Aborted(_)));
    assert_eq!(audit(&*store, None).await, []);
}

/// A refusal commits its audit entry, and the code stays live. R-register-22.
pub async fn refusal_commits_its_audit_entry(store: Arc<dyn Store>) {
    let world = World::over(store.clone());
    let issued = world.register("Acme", "pro").await;
    let other = Requester::Running(Some(TenantId(world.registry.new_id())));
    let refused = world.redeem_as(&issued.code, "a", other).await.unwrap_err();
    assert!(matches!(refused, Error::Refused(Refusal::TenantMismatch)));
    let audit = audit(&*store, Some(issued.tenant_id)).await;
    let last = audit.last().unwrap();
    assert_eq!(
        (last.action.as_str(), last.detail.to_string().as_str()),
        ("redeem_refused", "tenant_mismatch, a")
    );
    assert!(last.code_id.is_some());
    world.redeem(&issued.code, "a").await.unwrap();
}

/// An activation code whose entitlement has no tenant is loaded with the tenant that the appliance
/// names, and upgrades it. R-register-13, R-register-16.
pub async fn unbound_activation_code_uses_the_named_tenant(store: Arc<dyn Store>) {
    let world = World::over(store.clone());
    let known = world.register("Acme", "essentials").await;
    let (code, _) = world.activation_code(None).await;
    let refused = world.redeem(&code, "a").await.unwrap_err();
    assert!(matches!(refused, Error::Refused(Refusal::TenantRequired)), "{refused:?}");
    let redeemed =
        world.redeem_as(&code, "a", Requester::Running(Some(known.tenant_id))).await.unwrap();
    assert_eq!((redeemed.tenant_id, redeemed.edition.as_str()), (known.tenant_id, "pro"));
    let record = store.tenant_show(known.tenant_id).await.unwrap().unwrap();
    assert_eq!(record.tenant.edition.as_str(), "pro");
    assert_eq!(record.entitlements[0].tenant_id, Some(known.tenant_id));
    assert!(actions(&store, known.tenant_id).await.contains(&"tenant_upgraded"));
}

/// A code is found by any of the given digests, which are one for each master key. Both key id and
/// bytes must match.
pub async fn code_is_found_by_any_digest(store: Arc<dyn Store>) {
    let world = World::over(store.clone());
    let issued = world.register("Acme", "essentials").await;
    let real = world.ports.vault.code_digests(&issued.code).remove(0);
    let newer = CodeDigest { key_id: KeyId("newer".to_owned()), bytes: [1; 32] };
    let found = |digests: Vec<CodeDigest>| {
        let (store, key) =
            (store.clone(), RedeemKey { digests, tenant_id: None, appliance_id: appliance("a") });
        async move {
            let loaded = Arc::new(std::sync::Mutex::new(None));
            let shared = loaded.clone();
            let decide = move |facts: &RedeemFacts| {
                *shared.lock().unwrap() = facts.code.clone();
                abort()
            };
            store.code_redeem(key, None, Arc::new(decide)).await.unwrap();
            loaded.lock().unwrap().take().is_some()
        }
    };
    assert!(found(vec![newer.clone(), real.clone()]).await);
    assert!(!found(vec![newer]).await);
    assert!(!found(vec![CodeDigest { key_id: KeyId("other".to_owned()), ..real }]).await);
}
