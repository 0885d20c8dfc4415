//! Credentials that were replaced, used by two machines, or unknown.

use std::sync::Arc;

use chrono::TimeDelta;
use registry_core::rate_limit::Source;
use registry_core::registry::check_in::CheckIn;
use registry_core::secret::PlainCredential;
use registry_core::store::Store;

use super::check_in::{appliance, check_in, installed, numbered_check_in};
use crate::World;
use crate::world::{actor, audit};

/// The order of credentials is that of the registrations, even if the clock was set.
pub async fn credentials_retire_in_order_of_registration(store: Arc<dyn Store>) {
    let world = World::over(store.clone());
    let (tenant, first) = installed(&world, "Acme").await;
    world.clock.advance(TimeDelta::days(-3));
    let again = world.reissue(tenant).await.unwrap();
    let second = world.redeem(&again.code, "appliance-1").await.unwrap().licensed.unwrap();
    assert!(check_in(&world, &first).await.is_ok(), "used, and not dropped for an unused one");
    assert!(check_in(&world, &second.credential).await.is_ok());
    assert!(check_in(&world, &first).await.is_err(), "issued later by the clock, but retired");
}

/// Two machines with one identity keep working, and the operator sees them: a copied state, whose
/// numbers repeat, and one image that was installed twice. Reports are an hour apart. R-check-in-13.
pub async fn duplicates_are_seen_and_work(store: Arc<dyn Store>) {
    let world = World::over(store.clone());
    let (tenant, first) = installed(&world, "Acme").await;
    let numbered = async |credential: &PlainCredential, number| {
        numbered_check_in(&world, credential, Some(number)).await.is_ok()
    };
    let reports = async || {
        let entries = audit(&*store, Some(tenant)).await.into_iter();
        let entries = entries.filter(|it| it.action.as_str() == "appliance_duplicated");
        entries.map(|it| it.detail.reason.unwrap()).collect::<Vec<_>>()
    };
    assert!(numbered(&first, 1).await && numbered(&first, 2).await);
    assert_eq!(appliance(&store, tenant).await.duplicate_seen_at, None);
    for _ in 0..3 {
        assert!(numbered(&first, 2).await, "the copy works");
    }
    assert_eq!(appliance(&store, tenant).await.duplicate_seen_at, Some(world.now()));
    assert_eq!(reports().await, ["sequence_repeated"]);

    world.clock.advance(TimeDelta::hours(2));
    let again = world.reissue(tenant).await.unwrap();
    let second = world.redeem(&again.code, "appliance-1").await.unwrap().licensed.unwrap();
    assert!(numbered(&second.credential, 1).await, "the second installation of the image");
    assert!(world.registry.credential_verify(&first).await.is_ok(), "its machine may be there");
    assert!(numbered(&first, 3).await, "the first one is still there");
    assert!(numbered(&second.credential, 2).await && numbered(&first, 4).await);
    assert!(world.registry.credential_verify(&first).await.is_ok());
    assert_eq!(reports().await.len(), 2);
    assert!(reports().await.contains(&"replaced_credential".to_owned()));

    // A client that does not count its check-ins is retired as the contract says.
    world.clock.advance(TimeDelta::hours(2));
    let again = world.reissue(tenant).await.unwrap();
    let third = world.redeem(&again.code, "appliance-1").await.unwrap().licensed.unwrap();
    assert!(check_in(&world, &third.credential).await.is_ok());
    assert!(check_in(&world, &first).await.is_err());
    let revoked =
        world.registry.appliance_revoke(tenant, appliance(&store, tenant).await.id, actor());
    revoked.await.unwrap();
    for credential in [&first, &second.credential, &third.credential] {
        assert!(!numbered(credential, 9).await, "a revocation ends all of them");
    }
}

/// Refused check-ins and redemptions are counted by appliance or code, source and minute. One with
/// an unknown credential counts for the tenant of the license that comes with it. R-check-in-14.
pub async fn refused_check_ins_are_counted(store: Arc<dyn Store>) {
    let world = World::over(store.clone());
    let (tenant, credential) = installed(&world, "Acme").await;
    let license = appliance(&store, tenant).await.license.unwrap().terms.sub;
    let unknown = PlainCredential::new("0".repeat(64));
    let check_in_from = async |credential: &PlainCredential, sub: Option<&str>| {
        let source = Source::of([192, 0, 2, 7].into());
        let (credential, current_license_sub) = (credential.clone(), sub.map(str::to_owned));
        let check_in =
            CheckIn { credential, current_license_sub, sequence: None, source, key: None };
        assert!(world.registry.check_in(check_in).await.is_err());
    };
    let id = appliance(&store, tenant).await.id;
    world.registry.appliance_revoke(tenant, id, actor()).await.unwrap();
    for _ in 0..5 {
        check_in_from(&unknown, Some(&license)).await;
        check_in_from(&unknown, Some("lic_nobody")).await;
        check_in_from(&credential, Some(&license)).await;
    }
    let refused = async |tenant| {
        let entries = audit(&*store, tenant).await.into_iter();
        let entries = entries.filter(|it| it.action.as_str() == "check_in_refused");
        let mut found: Vec<_> = entries
            .map(|it| (it.detail.reason.unwrap(), it.tenant_id.is_some(), it.count))
            .collect();
        found.sort();
        found
    };
    let (revoked, unknown_credential) = ("appliance_revoked", "unknown_credential");
    let known = [(revoked, true, 5), (unknown_credential, true, 5)];
    let named = |all: &[(&str, bool, u32)]| {
        all.iter().map(|it| (it.0.to_owned(), it.1, it.2)).collect::<Vec<_>>()
    };
    assert_eq!(refused(Some(tenant)).await, named(&known));
    let all = [known[0], (unknown_credential, false, 5), known[1]];
    assert_eq!(refused(None).await, named(&all));
    world.clock.advance(TimeDelta::minutes(1));
    check_in_from(&unknown, Some(&license)).await;
    assert_eq!(refused(Some(tenant)).await.len(), 3, "another minute, another entry");
}
