//! Concurrent changes.

use std::sync::Arc;

use chrono::TimeDelta;
use futures_util::future::join_all;
use registry_core::install_code::CodeState;
use registry_core::store::Store;
use registry_core::{Error, Refusal};

use super::actions;
use crate::World;
use crate::world::actor;

/// If many appliances race for one code, exactly one of them redeems it: 16 for each of 200 codes.
/// R-register-21.
pub async fn racing_redemptions_have_one_winner(store: Arc<dyn Store>) {
    let world = Arc::new(World::over(store.clone()));
    let mut issued = Vec::new();
    for number in 0..200 {
        issued.push(world.register(&format!("Company {number}"), "pro").await);
    }
    let mut racers = Vec::new();
    for issued in &issued {
        for racer in 0..16 {
            let (world, code) = (world.clone(), issued.code.clone());
            racers.push(tokio::spawn(async move {
                world.redeem(&code, &format!("appliance-{racer}")).await
            }));
        }
    }
    let mut winners = 0;
    for result in join_all(racers).await {
        match result.unwrap() {
            Ok(_) => winners += 1,
            Err(Error::Refused(Refusal::CodeConsumed { .. })) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
    assert_eq!(winners, 200);
    for issued in issued {
        let record = store.tenant_show(issued.tenant_id).await.unwrap().unwrap();
        assert_eq!(record.appliances.len(), 1);
        let redeemed = actions(&store, issued.tenant_id)
            .await
            .iter()
            .filter(|&&it| it == "code_redeemed")
            .count();
        assert_eq!(redeemed, 1);
    }
}

/// Re-issues that race redemptions leave exactly one live code, and at most one redemption of the
/// first code succeeds. R-reissue-5.
pub async fn racing_reissue_leaves_one_live_code(store: Arc<dyn Store>) {
    let world = Arc::new(World::over(store.clone()));
    for round in 0..40 {
        let first = world.register(&format!("Company {round}"), "pro").await;
        world.clock.advance(TimeDelta::seconds(1));
        let redeem = |appliance: &'static str| {
            let (world, code) = (world.clone(), first.code.clone());
            tokio::spawn(async move { world.redeem(&code, appliance).await })
        };
        let reissue = || {
            let (world, tenant) = (world.clone(), first.tenant_id);
            tokio::spawn(async move { world.reissue(tenant).await })
        };
        let (a, b, c, d) = tokio::join!(redeem("a"), reissue(), redeem("b"), reissue());
        let won = [a.unwrap(), c.unwrap()].iter().filter(|result| result.is_ok()).count();
        assert!(won <= 1, "{won} redemptions succeeded");
        let reissued = [b.unwrap().unwrap(), d.unwrap().unwrap()];
        let record = store.tenant_show(first.tenant_id).await.unwrap().unwrap();
        let count = |state: fn(&CodeState) -> bool| {
            record.codes.iter().filter(|it| state(&it.state(world.now()))).count()
        };
        assert_eq!(count(|state| *state == CodeState::Live), 1);
        assert_eq!(count(|state| matches!(state, CodeState::Consumed(_))), won);
        let mut redeemed = 0;
        for reissued in reissued {
            redeemed += usize::from(world.redeem(&reissued.code, "c").await.is_ok());
        }
        assert_eq!(redeemed, 1);
    }
}

/// Registrations of one subscription that race each other find the same tenant. One entitlement is
/// granted, and one code is live. R-register-tenant-4.
pub async fn racing_registrations_share_one_tenant(store: Arc<dyn Store>) {
    let world = Arc::new(World::over(store.clone()));
    let racers = (0..16).map(|_| {
        let world = world.clone();
        let mut new = World::new_tenant("Acme", "pro");
        new.subscription_id = Some("sub_1".to_owned());
        tokio::spawn(async move { world.registry.tenant_register(new, actor()).await.unwrap() })
    });
    let issued: Vec<_> = join_all(racers).await.into_iter().map(|issued| issued.unwrap()).collect();
    assert!(issued.iter().all(|it| it.tenant_id == issued[0].tenant_id));
    let record = store.tenant_show(issued[0].tenant_id).await.unwrap().unwrap();
    assert_eq!((record.entitlements.len(), record.codes.len()), (1, 16));
    let live =
        record.codes.iter().filter(|code| code.state(world.now()) == CodeState::Live).count();
    assert_eq!(live, 1);
}

/// A caller that is cancelled in the middle of a redemption leaves all of the change or nothing of
/// it, and the store keeps working.
pub async fn cancelled_caller_leaves_all_or_nothing(store: Arc<dyn Store>) {
    let world = Arc::new(World::over(store.clone()));
    for round in 0..30 {
        let issued = world.register(&format!("Company {round}"), "pro").await;
        let (other, code) = (world.clone(), issued.code.clone());
        let caller = tokio::spawn(async move { other.redeem(&code, "a").await });
        for _ in 0..round {
            tokio::task::yield_now().await;
        }
        caller.abort();
        drop(caller.await);
        // By now the cancelled caller's transaction has been committed or rolled back.
        let again = world.redeem(&issued.code, "b").await;
        let record = store.tenant_show(issued.tenant_id).await.unwrap().unwrap();
        assert_eq!(record.appliances.len(), 1);
        let expected = if again.is_ok() { "b" } else { "a" };
        assert_eq!(record.codes[0].consumed.as_ref().unwrap().by.as_str(), expected);
    }
}
