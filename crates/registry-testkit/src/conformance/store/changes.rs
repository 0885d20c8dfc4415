//! One change at a time.

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

use super::{abort, actions, appliance, decide_so};
use crate::World;
use crate::world::{actor, audit};

/// A registration is one transaction.
pub async fn registering_writes_tenant_entitlement_code_mail_and_audit_together(
    store: Arc<dyn Store>,
) {
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

/// The same subscription is the same tenant.
pub async fn a_subscription_brings_its_tenant_back_with_a_fresh_code(store: Arc<dyn Store>) {
    let world = World::over(store.clone());
    for edition in ["pro", "essentials"] {
        let mut new = World::new_tenant("Acme", edition);
        new.stripe_sub_id = Some(format!("sub_{edition}"));
        let first = world.registry.tenant_register(new.clone(), actor()).await.unwrap();
        world.clock.advance(TimeDelta::seconds(1));
        let second = world.registry.tenant_register(new, actor()).await.unwrap();
        assert_eq!(first.tenant_id, second.tenant_id);
        let refused = world.redeem(&first.code, "a").await.unwrap_err();
        assert!(matches!(refused, Error::Refused(Refusal::CodeSuperseded { .. })), "{refused:?}");
        assert_eq!(world.redeem(&second.code, "a").await.unwrap().edition.as_str(), edition);
    }
}

/// A redemption is one transaction.
pub async fn redeeming_pro_writes_appliance_and_license_and_essentials_does_not(
    store: Arc<dyn Store>,
) {
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

/// A re-issue is one transaction.
pub async fn a_reissue_kills_unused_codes_and_unsent_mails_and_keeps_the_tenant(
    store: Arc<dyn Store>,
) {
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

/// Where signing fails, nothing is spent.
pub async fn a_failed_signature_leaves_the_code_live(store: Arc<dyn Store>) {
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

/// Where the last of many writes fails, the first ones are undone.
pub async fn a_failed_write_leaves_everything_as_it_was(store: Arc<dyn Store>) {
    let world = World::over(store.clone());
    let (acme, bolt) = (world.register("Acme", "pro").await, world.register("Bolt", "pro").await);
    let before = store.tenant_show(acme.tenant_id).await.unwrap().unwrap();
    let (mails, audit) = (world.mails(acme.tenant_id).await, actions(&store, acme.tenant_id).await);
    let taken = store.tenant_show(bolt.tenant_id).await.unwrap().unwrap().codes.remove(0);
    let mut mail = mails[0].clone();
    mail.id = world.registry.draw_id().into();
    let consumption =
        registry_core::install_code::Consumption { at: world.now(), by: appliance("a") };
    let writes = vec![
        Write::PutTenant(Box::new(before.tenant.installed(world.now()))),
        Write::ConsumeCode { code: before.codes[0].id, consumption, tenant: acme.tenant_id },
        Write::EnqueueMail(Box::new(mail)),
        Write::InsertCode(Box::new(taken)),
    ];
    world.write(writes).await.unwrap_err();
    assert_eq!(store.tenant_show(acme.tenant_id).await.unwrap().unwrap(), before);
    assert_eq!(world.mails(acme.tenant_id).await, mails);
    assert_eq!(actions(&store, acme.tenant_id).await, audit);
    world.redeem(&acme.code, "a").await.unwrap();
}

/// An abort is reported and writes nothing.
pub async fn an_abort_writes_nothing(store: Arc<dyn Store>) {
    let outcome = decide_so(&store, abort).await.unwrap();
    assert!(matches!(outcome, Outcome::Aborted(_)));
    assert_eq!(audit(&*store, None).await, []);
}

/// A refusal of a known code leaves a line.
pub async fn a_refusal_keeps_its_audit(store: Arc<dyn Store>) {
    let world = World::over(store.clone());
    let issued = world.register("Acme", "pro").await;
    let other = Requester::Running(Some(TenantId(world.registry.draw_id())));
    let refused = world.redeem_as(&issued.code, "a", other).await.unwrap_err();
    assert!(matches!(refused, Error::Refused(Refusal::TenantMismatch)));
    let audit = audit(&*store, Some(issued.tenant_id)).await;
    let last = audit.last().unwrap();
    assert_eq!(
        (last.action.as_str(), last.detail.as_str()),
        ("redeem_refused", "tenant_mismatch for a")
    );
    assert!(last.code_id.is_some());
    world.redeem(&issued.code, "a").await.unwrap();
}

/// An activation code whose entitlement has no tenant yet takes the one that the appliance names.
pub async fn an_unbound_activation_code_finds_the_tenant_the_appliance_names(
    store: Arc<dyn Store>,
) {
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

/// A code is looked up under all of its digests.
pub async fn a_code_is_found_under_any_master_key_of_the_ring(store: Arc<dyn Store>) {
    let world = World::over(store.clone());
    let issued = world.register("Acme", "essentials").await;
    let real = world.ports.vault.code_digests(&issued.code).remove(0);
    let newer = CodeDigest { key_id: KeyId("newer".to_owned()), bytes: [1; 32] };
    let found = |digests: Vec<CodeDigest>| {
        let (store, key) =
            (store.clone(), RedeemKey { digests, tenant_id: None, appliance_id: appliance("a") });
        async move {
            let seen = Arc::new(std::sync::Mutex::new(None));
            let shared = seen.clone();
            let decide = move |facts: &RedeemFacts| {
                *shared.lock().unwrap() = facts.code.clone();
                abort()
            };
            store.code_redeem(key, None, Arc::new(decide)).await.unwrap();
            seen.lock().unwrap().take().is_some()
        }
    };
    assert!(found(vec![newer.clone(), real.clone()]).await);
    assert!(!found(vec![newer]).await);
    assert!(!found(vec![CodeDigest { key_id: KeyId("other".to_owned()), ..real }]).await);
}
