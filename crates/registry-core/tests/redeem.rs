//! Rules of redemption, after the table of refusals in the wire contract ("POST /register").

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::sync::Arc;

use chrono::TimeDelta;
use registry_core::appliance::Credential;
use registry_core::id::TenantId;
use registry_core::install_code::PlainCode;
use registry_core::rate_limit::Limited;
use registry_core::registry::entitlements::EntitlementEdit;
use registry_core::registry::redeem::Requester;
use registry_core::results::Redeemed;
use registry_core::store::{EntitlementSelector, Store, Write};
use registry_core::tenant::TenantStatus;
use registry_core::{Error, Refusal};
use registry_testkit::memory::MemoryStore;
use registry_testkit::{World, actor, audit};

async fn set_status(world: &World, tenant: TenantId, status: TenantStatus) {
    let mut tenant = world.ports.store.tenant_show(tenant).await.unwrap().unwrap().tenant;
    tenant.status = status;
    world.write(vec![Write::UpdateTenant(Box::new(tenant))]).await.unwrap();
}

async fn revoke(world: &World, tenant: TenantId) {
    let record = world.ports.store.tenant_show(tenant).await.unwrap().unwrap();
    let selector = EntitlementSelector::Id(record.entitlements[0].id);
    world
        .registry
        .entitlement_edit(selector, EntitlementEdit::Revoke, None, actor())
        .await
        .unwrap();
}

fn refusal(result: Result<Redeemed, Error>) -> Refusal {
    match result {
        Err(Error::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

fn other_tenant(world: &World) -> TenantId {
    TenantId(world.registry.new_id())
}

/// R-codes-4.
#[tokio::test]
async fn malformed_code_is_invalid() {
    let world = World::in_memory();
    for typed in ["", "short", "K7QP-M2RX-9TD!", "🚀🚀🚀🚀🚀🚀🚀🚀"] {
        assert_eq!(
            refusal(world.redeem(&PlainCode::new(typed.to_owned()), "a").await),
            Refusal::CodeInvalid
        );
    }
    assert_eq!(audit(&*world.ports.store, None).await, []);
}

/// R-guessing-1, R-guessing-2.
#[tokio::test]
async fn unknown_codes_are_rate_limited() {
    let world = World::in_memory();
    let issued = world.register("Acme", "pro").await;
    let unknown = PlainCode::parse("AAAA-BBBB-CCCC").unwrap();
    for _ in 0..30 {
        assert_eq!(refusal(world.redeem(&unknown, "a").await), Refusal::CodeInvalid);
    }
    let limited = refusal(world.redeem(&issued.code, "a").await);
    assert!(
        matches!(limited, Refusal::RateLimited { limited: Limited::UnknownCodes, .. }),
        "{limited:?}"
    );
    let entries = audit(&*world.ports.store, None).await;
    assert_eq!(
        entries
            .iter()
            .filter(|entry| entry.tenant_id.is_none())
            .map(|entry| entry.count)
            .collect::<Vec<_>>(),
        [30]
    );
    world.clock.advance(TimeDelta::minutes(10));
    world.redeem(&issued.code, "a").await.unwrap();
}

/// R-codes-5, R-guessing-1.
#[tokio::test]
async fn known_codes_are_not_guesses() {
    let world = World::in_memory();
    let used = world.register("Used", "pro").await;
    world.redeem(&used.code, "a").await.unwrap();
    let replaced = world.register("Replaced", "pro").await;
    world.reissue(replaced.tenant_id).await.unwrap();
    let expired = world.register("Expired", "pro").await;
    let (then, expires_at) = (world.now(), expired.expires_at);
    world.clock.advance(TimeDelta::days(7) - TimeDelta::microseconds(1));
    let still_live = world.registry.tenant_show(expired.tenant_id).await.unwrap();
    assert_eq!(still_live.code_state.as_str(), "live");
    world.clock.advance(TimeDelta::microseconds(1));
    for _ in 0..31 {
        assert_eq!(
            refusal(world.redeem(&used.code, "a").await),
            Refusal::CodeConsumed { since: then }
        );
        assert_eq!(
            refusal(world.redeem(&replaced.code, "a").await),
            Refusal::CodeSuperseded { since: then }
        );
        assert_eq!(
            refusal(world.redeem(&expired.code, "a").await),
            Refusal::CodeExpired { since: expires_at }
        );
    }
}

/// R-register-18, R-register-22.
#[tokio::test]
async fn code_of_another_tenant_is_refused() {
    for edition in ["pro", "essentials"] {
        let world = World::in_memory();
        let issued = world.register("Acme", edition).await;
        let other = Requester::Running(Some(other_tenant(&world)));
        assert_eq!(
            refusal(world.redeem_as(&issued.code, "a", other).await),
            Refusal::TenantMismatch
        );
        world.redeem(&issued.code, "a").await.unwrap();
    }
}

/// R-register-19, R-register-22.
#[tokio::test]
async fn essentials_code_activates_no_running_appliance() {
    let world = World::in_memory();
    let issued = world.register("Acme", "essentials").await;
    for requester in [Requester::Running(None), Requester::Running(Some(issued.tenant_id))] {
        assert_eq!(
            refusal(world.redeem_as(&issued.code, "a", requester).await),
            Refusal::NotAnActivationCode
        );
    }
    world.redeem(&issued.code, "a").await.unwrap();
}

#[tokio::test]
async fn running_appliance_may_redeem_pro_code() {
    for names_tenant in [false, true] {
        let world = World::in_memory();
        let issued = world.register("Acme", "pro").await;
        let requester = Requester::Running(names_tenant.then_some(issued.tenant_id));
        assert!(world.redeem_as(&issued.code, "a", requester).await.unwrap().licensed.is_some());
    }
}

/// R-register-22.
#[tokio::test]
async fn closed_tenant_is_refused() {
    for status in [TenantStatus::Suspended, TenantStatus::Cancelled] {
        let world = World::in_memory();
        let issued = world.register("Acme", "pro").await;
        set_status(&world, issued.tenant_id, status).await;
        let refused = refusal(world.redeem(&issued.code, "a").await);
        let Refusal::TenantSuspended { tenant, since: Some(since) } = refused else {
            panic!("{refused:?}")
        };
        assert_eq!(tenant, Some(issued.tenant_id));
        let text = Refusal::TenantSuspended { tenant, since: Some(since) }.to_string();
        assert!(text.contains(&since.format("%Y-%m-%d").to_string()), "{text}");
        assert!(matches!(
            world.reissue(issued.tenant_id).await,
            Err(Error::Refused(Refusal::TenantSuspended { .. }))
        ));
        set_status(&world, issued.tenant_id, TenantStatus::Registered).await;
        world.redeem(&issued.code, "a").await.unwrap();
    }
}

/// R-register-9, R-reissue-4.
#[tokio::test]
async fn revoked_entitlement_redeems_as_essentials() {
    let world = World::in_memory();
    let issued = world.register("Acme", "pro").await;
    revoke(&world, issued.tenant_id).await;
    let redeemed = world.redeem(&issued.code, "a").await.unwrap();
    assert_eq!((redeemed.edition.as_str(), redeemed.licensed.is_none()), ("essentials", true));
    world.clock.advance(TimeDelta::seconds(1));
    let again = world.reissue(issued.tenant_id).await.unwrap();
    assert!(world.redeem(&again.code, "a").await.unwrap().licensed.is_none());
}

/// R-register-10.
#[tokio::test]
async fn activation_code_of_revoked_entitlement_is_refused() {
    let world = World::in_memory();
    let (code, id) = world.activation_code(None).await;
    world
        .registry
        .entitlement_edit(EntitlementSelector::Id(id), EntitlementEdit::Revoke, None, actor())
        .await
        .unwrap();
    let tenant = Requester::Running(Some(other_tenant(&world)));
    // The second attempt gets the same refusal: the first one does not consume the code.
    for _ in 0..2 {
        let refused = refusal(world.redeem_as(&code, "a", tenant).await);
        assert_eq!(refused, Refusal::EntitlementRevoked { since: world.now() });
    }
}

/// R-register-12, R-register-16.
#[tokio::test]
async fn activation_code_adopts_unknown_tenant() {
    let world = World::in_memory();
    let (code, _) = world.activation_code(None).await;
    assert_eq!(refusal(world.redeem(&code, "a").await), Refusal::TenantRequired);
    assert_eq!(
        refusal(world.redeem_as(&code, "a", Requester::Running(None)).await),
        Refusal::TenantRequired
    );
    let id = other_tenant(&world);
    let redeemed = world.redeem_as(&code, "a", Requester::Running(Some(id))).await.unwrap();
    assert_eq!(
        (redeemed.tenant_id, redeemed.company_name.as_str(), redeemed.contact_email.as_str()),
        (id, "Acme", "")
    );
    let shown = world.registry.tenant_show(id).await.unwrap();
    assert_eq!(shown.record.tenant.status, TenantStatus::Installed);
    assert_eq!(shown.entitlement.unwrap().tenant_id, Some(id));
}

/// R-register-14.
#[tokio::test]
async fn tenant_gets_no_second_entitlement() {
    let world = World::in_memory();
    let paid = world.register("Paid", "pro").await;
    let (code, _) = world.activation_code(None).await;
    let running = |tenant| Requester::Running(Some(tenant));
    assert_eq!(
        refusal(world.redeem_as(&code, "a", running(paid.tenant_id)).await),
        Refusal::AlreadyEntitled
    );
    let free = world.register("Free", "essentials").await;
    world.redeem_as(&code, "a", running(free.tenant_id)).await.unwrap();
}

/// R-register-11, R-register-14.
#[tokio::test]
async fn entitlement_gets_no_second_tenant() {
    let world = World::in_memory();
    let free = world.register("Free", "essentials").await;
    let (code, _) = world.activation_code(Some(free.tenant_id)).await;
    let other = Requester::Running(Some(other_tenant(&world)));
    assert_eq!(refusal(world.redeem_as(&code, "a", other).await), Refusal::TenantMismatch);
    assert_eq!(
        world.redeem_as(&code, "a", Requester::Running(None)).await.unwrap().tenant_id,
        free.tenant_id
    );
}

/// R-register-15.
#[tokio::test]
async fn setting_refuses_unbound_activation_codes() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let world = World::with(store, |settings| settings.codes.activation_needs_bound_tenant = true);
    let free = world.register("Free", "essentials").await;
    let (code, _) = world.activation_code(None).await;
    let running = Requester::Running(Some(free.tenant_id));
    assert_eq!(refusal(world.redeem_as(&code, "a", running).await), Refusal::CodeNotBound);
}

/// R-register-2.
#[tokio::test]
async fn appliance_ids_are_unique_per_tenant() {
    let world = World::in_memory();
    let (acme, bolt) = (world.register("Acme", "pro").await, world.register("Bolt", "pro").await);
    for issued in [&acme, &bolt] {
        world.redeem(&issued.code, "appliance-0123456789abcdef").await.unwrap();
    }
    for issued in [acme, bolt] {
        assert_eq!(
            world.registry.tenant_show(issued.tenant_id).await.unwrap().record.appliances.len(),
            1
        );
    }
}

#[tokio::test]
async fn invalid_appliance_id_is_refused() {
    let world = World::in_memory();
    let issued = world.register("Acme", "pro").await;
    for id in ["", "  ", "a\u{0}b", &"x".repeat(256)] {
        let refused = refusal(world.redeem(&issued.code, id).await);
        assert!(matches!(refused, Refusal::Invalid { field: "appliance_id", .. }), "{id:?}");
    }
    world.redeem(&issued.code, &"x".repeat(255)).await.unwrap();
}

#[tokio::test]
async fn code_and_entitlement_must_share_a_tenant() {
    let world = World::in_memory();
    let (acme, bolt) =
        (world.register("Acme", "essentials").await, world.register("Bolt", "essentials").await);
    let (code, id) = world.activation_code(Some(acme.tenant_id)).await;
    let record = world.ports.store.tenant_show(acme.tenant_id).await.unwrap().unwrap();
    let mut entitlement = record.entitlements[0].clone();
    assert_eq!(entitlement.id, id);
    entitlement.tenant_id = Some(bolt.tenant_id);
    world.write(vec![Write::UpdateEntitlement(Box::new(entitlement))]).await.unwrap();
    for requester in
        [Requester::FirstBoot, Requester::Running(None), Requester::Running(Some(acme.tenant_id))]
    {
        assert_eq!(refusal(world.redeem_as(&code, "a", requester).await), Refusal::TenantMismatch);
    }
}

#[tokio::test]
async fn reinstalling_a_revoked_appliance_deletes_its_credentials() {
    for revoked in [false, true] {
        let world = World::in_memory();
        let issued = world.register("Acme", "pro").await;
        let first = world.redeem(&issued.code, "a").await.unwrap().licensed.unwrap();
        if revoked {
            let mut appliance = world
                .ports
                .store
                .tenant_show(issued.tenant_id)
                .await
                .unwrap()
                .unwrap()
                .appliances
                .remove(0);
            appliance.revoked_at = Some(world.now());
            world.write(vec![Write::PutAppliance(Box::new(appliance))]).await.unwrap();
        }
        let again = world.reissue(issued.tenant_id).await.unwrap();
        world.redeem(&again.code, "a").await.unwrap();
        let appliance = world
            .ports
            .store
            .tenant_show(issued.tenant_id)
            .await
            .unwrap()
            .unwrap()
            .appliances
            .remove(0);
        assert_eq!(appliance.revoked_at, None);
        // Digests are unique: the old credential can be inserted again only if it was deleted.
        let owner = (issued.tenant_id, appliance.id);
        let old = Credential::unused(first.credential.digest(), owner, 1, world.now());
        assert_eq!(world.write(vec![Write::InsertCredential(old)]).await.is_ok(), revoked);
    }
}
