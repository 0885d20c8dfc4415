//! The states of codes and licenses, as the directory shows them.

use chrono::TimeDelta;
use registry_core::install_code::{CodeState, Consumption, InstallCode};
use registry_core::store::Write;
use registry_core::text::ApplianceId;
use registry_testkit::World;

/// R-codes-5, R-codes-6.
#[tokio::test]
async fn first_end_of_code_is_its_state() {
    let world = World::in_memory();
    let issued = world.register("Acme", "essentials").await;
    let record = world.ports.store.tenant_show(issued.tenant_id).await.unwrap().unwrap();
    let code = record.codes[0].clone();
    let (start, end) = (code.issued_at, code.expires_at);
    let consumed = Some(Consumption { at: start, by: ApplianceId::parse("a").unwrap() });
    for (consumed, superseded_at, now, expected) in [
        (consumed.clone(), Some(start), end, CodeState::Consumed(start)),
        (consumed, None, end, CodeState::Consumed(start)),
        (None, Some(end), end, CodeState::Superseded(end)),
        (None, Some(start), start, CodeState::Superseded(start)),
        (None, None, end, CodeState::Expired(end)),
        (None, None, end - TimeDelta::microseconds(1), CodeState::Live),
    ] {
        let code = InstallCode { consumed, superseded_at, ..code.clone() };
        assert_eq!(code.state(now), expected);
    }
}

/// R-tenants-2.
#[tokio::test]
async fn superseded_code_is_shown_as_revoked() {
    let world = World::in_memory();
    let tenant = world.register("Acme", "essentials").await.tenant_id;
    world.write(vec![Write::SupersedeCodes { tenant, at: world.now() }]).await.unwrap();
    let shown = world.registry.tenant_show(tenant).await.unwrap();
    assert_eq!(shown.code_state.as_str(), "revoked");
}

/// R-tenant-4.
#[tokio::test]
async fn current_token_ends_with_license() {
    let world = World::in_memory();
    let issued = world.register("Acme", "pro").await;
    let has_current_token =
        async || world.registry.tenant_show(issued.tenant_id).await.unwrap().has_current_token;
    assert!(!has_current_token().await, "no license was issued yet");
    world.redeem(&issued.code, "a").await.unwrap();
    assert!(has_current_token().await);
    world.clock.advance(TimeDelta::days(31) - TimeDelta::seconds(1));
    assert!(has_current_token().await);
    world.clock.advance(TimeDelta::seconds(1));
    assert!(!has_current_token().await);
}
