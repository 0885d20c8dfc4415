//! Retention: deletion of expired rows.

use std::sync::Arc;

use chrono::TimeDelta;
use registry_core::mail::DeliveryOutcome;
use registry_core::registry::idempotency::IdempotencyKey;
use registry_core::registry::outbox::MailEdit;
use registry_core::registry::register::NewTenant;
use registry_core::registry::retention::BATCH;
use registry_core::store::{RetentionKind, Store};
use registry_core::tenant::TenantOrigin;
use registry_core::{Error, Refusal};

use crate::World;
use crate::world::{actor, audit};

async fn counts(world: &World) -> [u64; 6] {
    let mut counts = [0; 6];
    for (count, kind) in counts.iter_mut().zip(RetentionKind::ALL) {
        *count = world.registry.expired_count(*kind).await.unwrap();
    }
    counts
}

/// Rows of each kind are deleted after their retention period, and no other rows are.
pub async fn only_expired_rows_are_deleted(store: Arc<dyn Store>) {
    let world = World::over(store.clone());
    let mut keyed = World::new_tenant("Keyed", "essentials");
    keyed.key =
        Some(IdempotencyKey { scope: "test".to_owned(), digest: [1; 32], fingerprint: [2; 32] });
    world.registry.tenant_register(keyed, actor()).await.unwrap();
    let [used, unused, replaced, waiting] = ["Used", "Unused", "Replaced", "Waiting"];
    let used = world.register(used, "pro").await;
    let unused = world.register(unused, "pro").await;
    let replaced = world.register(replaced, "pro").await;
    world.reissue(replaced.tenant_id).await.unwrap();
    world.redeem(&used.code, "appliance").await.unwrap();
    let sent = world.deliver().await;
    assert!(
        sent.len() >= 4 && sent.iter().all(|it| it.outcome == DeliveryOutcome::Sent),
        "{sent:?}"
    );
    let waiting = world.register(waiting, "pro").await;
    assert_eq!(counts(&world).await, [0; 6], "nothing has expired yet");

    world.clock.advance(TimeDelta::days(2));
    assert_eq!(counts(&world).await, [1, 0, 0, 0, 0, 0], "the recorded response has expired");
    world.clock.advance(TimeDelta::days(89));
    // Five mails: the tenant whose code was replaced has two, of which one was discarded.
    assert_eq!(counts(&world).await, [1, 5, 0, 0, 0, 0]);
    world.clock.advance(TimeDelta::days(7));
    // Five codes: the five tenants have six, of which one was redeemed.
    assert_eq!(counts(&world).await, [1, 5, 5, 0, 0, 0]);
    let entries = audit(&*store, None).await.len() as u64;
    for (kind, expected) in RetentionKind::ALL.iter().zip([1, 5, 5, 0, 0, 0]) {
        assert_eq!(world.registry.delete_expired_batch(*kind).await.unwrap(), expected, "{kind}");
        assert_eq!(world.registry.delete_expired_batch(*kind).await.unwrap(), 0, "{kind}, again");
    }
    assert_eq!(world.mails(waiting.tenant_id).await.len(), 1, "an unsent mail is not deleted");
    let codes = async |tenant| store.tenant_show(tenant).await.unwrap().unwrap().codes.len();
    assert_eq!((codes(used.tenant_id).await, codes(unused.tenant_id).await), (1, 0));
    world.reissue(unused.tenant_id).await.unwrap();
    world.clock.advance(TimeDelta::days(730));
    assert_eq!(world.registry.delete_expired_batch(RetentionKind::Audit).await.unwrap(), entries);
    let left: Vec<_> = audit(&*store, None).await.iter().map(|it| it.action.as_str()).collect();
    assert_eq!(left, ["code_reissued"]);
    assert_eq!(store.tenant_show(used.tenant_id).await.unwrap().unwrap().appliances.len(), 1);
}

/// One call deletes at most `limit` rows.
pub async fn deletion_is_bounded(store: Arc<dyn Store>) {
    let world = World::over(store.clone());
    for number in 0..7 {
        let issued = world.register(&format!("Company {number}"), "essentials").await;
        let mail = world.mails(issued.tenant_id).await.remove(0);
        world.registry.mail_edit(mail.id, MailEdit::Discard, actor()).await.unwrap();
    }
    let later = world.now() + TimeDelta::days(1);
    let mut deleted = Vec::new();
    for _ in 0..4 {
        deleted.push(store.delete_expired(RetentionKind::Mails, later, 3).await.unwrap());
    }
    assert_eq!(deleted, [3, 3, 1, 0]);
    assert_eq!(
        store
            .delete_expired(RetentionKind::Codes, later + TimeDelta::days(7), BATCH)
            .await
            .unwrap(),
        7
    );
}

/// After a restore, all unused codes are superseded, each with an audit entry, and re-issued codes
/// bring the tenants back.
pub async fn unused_codes_are_superseded_after_restore(store: Arc<dyn Store>) {
    let world = World::over(store.clone());
    let (used, unused) =
        (world.register("Used", "pro").await, world.register("Unused", "pro").await);
    world.redeem(&used.code, "a").await.unwrap();
    let superseded = world.registry.codes_supersede_unused(actor()).await.unwrap();
    let listed: Vec<_> =
        superseded.iter().map(|code| (code.tenant_id, code.company_name.as_deref())).collect();
    assert_eq!(listed, [(Some(unused.tenant_id), Some("Unused"))]);
    let refused = world.redeem(&unused.code, "b").await.unwrap_err();
    assert!(matches!(refused, Error::Refused(Refusal::CodeSuperseded { .. })), "{refused:?}");
    let entries = audit(&*store, Some(unused.tenant_id)).await;
    let entry = entries.iter().find(|entry| entry.action.as_str() == "code_superseded");
    assert_eq!(entry.unwrap().code_id, Some(superseded[0].id));
    assert!(world.registry.codes_supersede_unused(actor()).await.unwrap().is_empty());
    let reissued = world.reissue(unused.tenant_id).await.unwrap();
    assert_eq!(world.redeem(&reissued.code, "b").await.unwrap().tenant_id, unused.tenant_id);
}

/// A tenant from the sign-up page that was never installed goes with its codes and mails, some time
/// after its last code. One that a service registered stays, and so does one that was installed, is
/// entitled, or has a newer code.
pub async fn unused_tenants_of_strangers_are_deleted(store: Arc<dyn Store>) {
    let world = World::over(store.clone());
    let sign_up = async |company: &str| {
        let new = World::new_tenant(company, "essentials");
        let new = NewTenant { origin: TenantOrigin::SignUp, ..new };
        world.registry.tenant_register(new, actor()).await.unwrap()
    };
    let unused = sign_up("Unused").await;
    let installed = sign_up("Installed").await;
    world.redeem(&installed.code, "appliance").await.unwrap();
    let renewed = sign_up("Renewed").await;
    let by_service = world.register("Service", "essentials").await;
    world.clock.advance(TimeDelta::days(30));
    world.reissue(renewed.tenant_id).await.unwrap();
    let delete =
        async || world.registry.delete_expired_batch(RetentionKind::UnusedTenants).await.unwrap();
    assert_eq!(delete().await, 0, "the code has ended 23 days ago");
    world.clock.advance(TimeDelta::days(7) + TimeDelta::seconds(1));
    assert_eq!(world.registry.expired_count(RetentionKind::UnusedTenants).await.unwrap(), 1);
    assert_eq!((delete().await, delete().await), (1, 0));
    assert!(store.tenant_show(unused.tenant_id).await.unwrap().is_none());
    assert!(world.mails(unused.tenant_id).await.is_empty());
    for kept in [&installed, &renewed, &by_service] {
        assert!(store.tenant_show(kept.tenant_id).await.unwrap().is_some());
    }
}

/// The mails of customers go before those of strangers, however long these have waited.
pub async fn customers_mails_go_first(store: Arc<dyn Store>) {
    let world = World::over(store.clone());
    for number in 0..3 {
        let new = World::new_tenant(&format!("Stranger{number}"), "essentials");
        let new = NewTenant { origin: TenantOrigin::SignUp, ..new };
        world.registry.tenant_register(new, actor()).await.unwrap();
        world.clock.advance(TimeDelta::minutes(1));
    }
    let customer = world.register("Customer", "essentials").await;
    let mut leased = Vec::new();
    let until = world.now() + TimeDelta::hours(1);
    while let Some(mail) = store.mail_lease(world.now(), until).await.unwrap() {
        leased.push((mail.tenant_id == customer.tenant_id, mail.queued_at));
    }
    assert_eq!(leased.len(), 4);
    assert!(leased[0].0, "{leased:?}");
    assert!(leased[1..].is_sorted_by_key(|it| it.1), "{leased:?}");
}
