//! Check-ins, credentials, and the changes of operators that affect them.

use std::sync::Arc;

use chrono::TimeDelta;
use futures_util::future::join_all;
use registry_core::appliance::Appliance;
use registry_core::id::TenantId;
use registry_core::rate_limit::Source;
use registry_core::registry::check_in::CheckIn;
use registry_core::registry::entitlements::EntitlementEdit;
use registry_core::registry::tenant_admin::TenantEdit;
use registry_core::results::{CheckedIn, LicenseStatus};
use registry_core::secret::PlainCredential;
use registry_core::store::{EntitlementSelector, Store};
use registry_core::tenant::TenantStatus;
use registry_core::text::ApplianceId;
use registry_core::{Error, Refusal};

use super::actions;
use crate::World;
use crate::world::{actor, audit};

/// Checks in, and shows the license that the appliance has.
pub(super) async fn check_in(
    world: &World,
    credential: &PlainCredential,
) -> Result<CheckedIn, Error> {
    numbered_check_in(world, credential, None).await
}

/// Checks in with this number.
pub(super) async fn numbered_check_in(
    world: &World,
    credential: &PlainCredential,
    sequence: Option<u32>,
) -> Result<CheckedIn, Error> {
    let facts = world.ports.store.credential_show(credential.digest()).await.unwrap();
    let license = facts.and_then(|facts| facts.appliance.license);
    let source = Source::of([192, 0, 2, 1].into());
    world
        .registry
        .check_in(CheckIn {
            credential: credential.clone(),
            sequence,
            current_license_sub: license.map(|license| license.terms.sub),
            source,
            key: None,
        })
        .await
}

fn has_token(checked_in: &CheckedIn) -> bool {
    matches!(checked_in.status, LicenseStatus::Licensed(Some(_)))
}

/// Installs an appliance of a new paid tenant.
pub(super) async fn installed(world: &World, company: &str) -> (TenantId, PlainCredential) {
    let issued = world.register(company, "pro").await;
    let redeemed = world.redeem(&issued.code, "appliance-1").await.expect("a redemption");
    (issued.tenant_id, redeemed.licensed.expect("a license").credential)
}

pub(super) async fn appliance(store: &Arc<dyn Store>, tenant: TenantId) -> Appliance {
    store.tenant_show(tenant).await.unwrap().unwrap().appliances.remove(0)
}

/// A check-in records its time, makes the tenant active, and renews the license if one is due. The
/// time is recorded even if the entitlement was revoked. R-check-in-1, R-check-in-2.
pub async fn check_in_renews_a_due_license(store: Arc<dyn Store>) {
    let world = World::over(store.clone());
    let (tenant, credential) = installed(&world, "Acme").await;
    world.clock.advance(TimeDelta::hours(1));
    let first = check_in(&world, &credential).await.unwrap();
    assert!(!has_token(&first), "the license of the redemption is an hour old");
    assert_eq!(appliance(&store, tenant).await.last_check_in_at, Some(world.now()));
    let record = store.tenant_show(tenant).await.unwrap().unwrap();
    assert_eq!(record.tenant.status, TenantStatus::Active);
    assert_eq!(actions(&store, tenant).await.last(), Some(&"tenant_active"));

    world.clock.advance(TimeDelta::hours(24));
    let second = check_in(&world, &credential).await.unwrap();
    assert!(has_token(&second));
    let renewed = appliance(&store, tenant).await;
    assert_eq!(renewed.license.unwrap().expires_at, world.now() + TimeDelta::days(31));
    assert_eq!(renewed.last_check_in_at, Some(world.now()));
    assert_eq!(actions(&store, tenant).await.last(), Some(&"license_renewed"));

    let entitlement = record.entitlements[0].id;
    world
        .registry
        .entitlement_edit(
            EntitlementSelector::Id(entitlement),
            EntitlementEdit::Revoke,
            None,
            actor(),
        )
        .await
        .unwrap();
    world.clock.advance(TimeDelta::hours(24));
    let third = check_in(&world, &credential).await.unwrap();
    assert!(matches!(third.status, LicenseStatus::Revoked));
    assert_eq!(
        appliance(&store, tenant).await.last_check_in_at,
        Some(world.now()),
        "the time is recorded despite the revocation"
    );
}

/// The first use of a credential retires the older ones. A used credential is never retired for an
/// unused one. R-check-in-10, R-credential-2, R-credential-3, R-credential-4, R-register-23.
pub async fn first_use_retires_older_credentials(store: Arc<dyn Store>) {
    let world = World::over(store.clone());
    let (tenant, first) = installed(&world, "Acme").await;
    let mut credentials = vec![first];
    for _ in 0..2 {
        world.clock.advance(TimeDelta::hours(1));
        let again = world.reissue(tenant).await.unwrap();
        let redeemed = world.redeem(&again.code, "appliance-1").await.unwrap();
        credentials.push(redeemed.licensed.unwrap().credential);
    }
    let works = async |credential: &PlainCredential| check_in(&world, credential).await.is_ok();
    assert!(works(&credentials[0]).await, "the first credential keeps working");
    assert!(works(&credentials[1]).await, "the second works too, and retires the first");
    assert!(!works(&credentials[0]).await);
    assert!(
        works(&credentials[1]).await,
        "the last used credential is not retired for an unused one"
    );
    assert!(works(&credentials[2]).await);
    assert!(!works(&credentials[1]).await && works(&credentials[2]).await);
    assert_eq!(store.tenant_show(tenant).await.unwrap().unwrap().appliances.len(), 1);
}

/// An unknown credential and one of a revoked appliance get the same refusal. Only the audit shows
/// the difference. R-check-in-5, R-credential-5, R-verify-appliance-1.
pub async fn unknown_and_revoked_credentials_look_alike(store: Arc<dyn Store>) {
    let world = World::over(store.clone());
    let (tenant, credential) = installed(&world, "Acme").await;
    let unknown = PlainCredential::new("0".repeat(64));
    let name = appliance(&store, tenant).await.id;
    for _ in 0..2 {
        world.registry.appliance_revoke(tenant, name.clone(), actor()).await.unwrap();
    }
    let nobody = ApplianceId::parse("nobody").unwrap();
    let refused = world.registry.appliance_revoke(tenant, nobody, actor()).await.unwrap_err();
    assert!(matches!(refused, Error::Refused(Refusal::ApplianceNotFound)));
    for credential in [&unknown, &credential] {
        let refused = check_in(&world, credential).await.unwrap_err();
        assert!(matches!(refused, Error::Refused(Refusal::ApplianceRevoked)), "{refused:?}");
        let refused = world.registry.credential_verify(credential).await.unwrap_err();
        assert!(matches!(refused, Error::Refused(Refusal::CredentialInvalid)), "{refused:?}");
    }
    assert!(actions(&store, tenant).await.contains(&"check_in_refused"));
}

/// Verifying a credential writes nothing, and does not count as its first use. The result tells if
/// the entitlement is active. R-credential-3, R-verify-appliance-2, R-verify-appliance-3.
pub async fn verifying_a_credential_writes_nothing(store: Arc<dyn Store>) {
    let world = World::over(store.clone());
    let (tenant, old) = installed(&world, "Acme").await;
    world.clock.advance(TimeDelta::hours(1));
    let again = world.reissue(tenant).await.unwrap();
    let new = world.redeem(&again.code, "appliance-1").await.unwrap().licensed.unwrap().credential;
    let before = (store.tenant_show(tenant).await.unwrap(), audit(&*store, None).await);
    for credential in [&new, &old, &new] {
        let status = world.registry.credential_verify(credential).await.unwrap();
        assert_eq!((status.tenant_id, status.appliance_id.as_str()), (tenant, "appliance-1"));
        assert!(
            status.entitlement_active
                && status.connected_eligible
                && status.edition.as_str() == "pro"
        );
    }
    assert_eq!((store.tenant_show(tenant).await.unwrap(), audit(&*store, None).await), before);
    let entitlement = before.0.unwrap().entitlements[0].id;
    world
        .registry
        .entitlement_edit(
            EntitlementSelector::Id(entitlement),
            EntitlementEdit::Revoke,
            None,
            actor(),
        )
        .await
        .unwrap();
    let status = world.registry.credential_verify(&old).await.unwrap();
    assert!(
        !status.entitlement_active
            && !status.connected_eligible
            && status.edition.as_str() == "essentials"
    );
}

/// Check-ins that race each other and a revocation all succeed, and at most one of them renews the
/// license.
pub async fn racing_check_ins_renew_once(store: Arc<dyn Store>) {
    let world = Arc::new(World::over(store.clone()));
    let (tenant, credential) = installed(&world, "Acme").await;
    let entitlement = store.tenant_show(tenant).await.unwrap().unwrap().entitlements[0].id;
    world.clock.advance(TimeDelta::days(2));
    let racers = (0..12).map(|number| {
        let (world, credential) = (world.clone(), credential.clone());
        tokio::spawn(async move {
            if number == 6 {
                let selector = EntitlementSelector::Id(entitlement);
                world
                    .registry
                    .entitlement_edit(selector, EntitlementEdit::Revoke, None, actor())
                    .await
                    .unwrap();
            }
            check_in(&world, &credential).await.unwrap()
        })
    });
    let results: Vec<_> = join_all(racers).await.into_iter().map(|it| it.unwrap()).collect();
    assert!(results.iter().filter(|it| has_token(it)).count() <= 1, "more than one renewal");
    assert!(results.iter().any(|it| matches!(it.status, LicenseStatus::Revoked)));
    let renewals =
        actions(&store, tenant).await.iter().filter(|&&it| it == "license_renewed").count();
    assert!(renewals <= 1);
    let last = check_in(&world, &credential).await.unwrap();
    assert!(matches!(last.status, LicenseStatus::Revoked));
}

/// While a tenant is suspended or cancelled, check-ins return `revoked` and re-issues are refused.
/// Repeating a change writes no second audit entry. R-check-in-9.
pub async fn suspended_tenant_is_refused_until_resumed(store: Arc<dyn Store>) {
    let world = World::over(store.clone());
    let (tenant, credential) = installed(&world, "Acme").await;
    assert!(check_in(&world, &credential).await.is_ok());
    for edit in [TenantEdit::Suspend, TenantEdit::Suspend, TenantEdit::Cancel] {
        world.registry.tenant_edit(tenant, edit, actor()).await.unwrap();
        assert!(matches!(
            check_in(&world, &credential).await.unwrap().status,
            LicenseStatus::Revoked
        ));
        let refused = world.reissue(tenant).await.unwrap_err();
        assert!(matches!(refused, Error::Refused(Refusal::TenantSuspended { .. })));
        assert!(!world.registry.credential_verify(&credential).await.unwrap().connected_eligible);
    }
    let resumed = world.registry.tenant_edit(tenant, TenantEdit::Resume, actor()).await.unwrap();
    assert_eq!(resumed.status, TenantStatus::Installed);
    assert!(matches!(
        check_in(&world, &credential).await.unwrap().status,
        LicenseStatus::Licensed(_)
    ));
    assert_eq!(
        store.tenant_show(tenant).await.unwrap().unwrap().tenant.status,
        TenantStatus::Active
    );
    let actions = actions(&store, tenant).await;
    for action in ["tenant_suspended", "tenant_cancelled", "tenant_resumed"] {
        assert_eq!(actions.iter().filter(|&&it| it == action).count(), 1, "{action}");
    }
    let nobody = TenantId(world.registry.new_id());
    let refused =
        world.registry.tenant_edit(nobody, TenantEdit::Suspend, actor()).await.unwrap_err();
    assert!(matches!(refused, Error::Refused(Refusal::TenantNotFound)));
}

/// Licensed appliances that stopped checking in are listed, longest overdue first. Revoked
/// appliances and appliances of suspended tenants are not.
pub async fn overdue_appliances_are_listed(store: Arc<dyn Store>) {
    let world = World::over(store.clone());
    let mut installs = Vec::new();
    for company in ["Never", "Long ago", "Recent", "Revoked", "Suspended"] {
        installs.push(installed(&world, company).await);
    }
    let free = world.register("Free", "essentials").await;
    world.redeem(&free.code, "appliance-1").await.unwrap();
    world.clock.advance(TimeDelta::hours(1));
    check_in(&world, &installs[1].1).await.unwrap();
    world.clock.advance(TimeDelta::days(3));
    check_in(&world, &installs[2].1).await.unwrap();
    world
        .registry
        .appliance_revoke(installs[3].0, ApplianceId::parse("appliance-1").unwrap(), actor())
        .await
        .unwrap();
    world.registry.tenant_edit(installs[4].0, TenantEdit::Suspend, actor()).await.unwrap();
    let overdue = async |limit| {
        let found = world.registry.appliances_overdue(2, limit).await.unwrap();
        found.iter().map(|it| it.tenant.company_name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(overdue(10).await, ["Never", "Long ago"], "longest overdue first");
    assert_eq!(overdue(1).await, ["Never"]);
    let found = world.registry.appliances_overdue(2, 1).await.unwrap().remove(0);
    assert_eq!(found.appliance, appliance(&store, installs[0].0).await);
    world.clock.advance(TimeDelta::days(2));
    assert_eq!(
        overdue(10).await,
        ["Never", "Long ago"],
        "an appliance is overdue after more than two intervals, not after exactly two"
    );
    world.clock.advance(TimeDelta::microseconds(1));
    assert_eq!(overdue(10).await, ["Never", "Long ago", "Recent"]);
    check_in(&world, &installs[0].1).await.unwrap();
    assert_eq!(overdue(10).await, ["Long ago", "Recent"]);
}
