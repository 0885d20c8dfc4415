//! Check-ins over real HTTP, on a clock that the test sets: a week of them, what ends them, and a
//! fleet after an outage.

use std::path::Path;

use crate::served::{Served, Turning, install, key};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use appliance_install::{
    CheckInClient, CheckInOutcome, CheckIns, Client, Clock as _, Files, Job, LicenseState,
    LicenseStatus, ServiceError, Step, Trust, license_state,
};
use async_trait::async_trait;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use registry_core::audit::Actor;
use registry_core::registry::entitlements::EntitlementEdit;
use registry_core::results::Issued;
use registry_core::store::EntitlementSelector;
use registry_core::text::ApplianceId;

const HOUR: u64 = 60 * 60;
const DAY: u64 = 24 * HOUR;

fn operator() -> Actor {
    Actor { name: "operator:test".to_owned(), source: "test".to_owned() }
}

/// A pro appliance in this folder.
async fn installed(served: &Served, folder: &Path) -> Issued {
    let issued = served.world.register("Acme", "pro").await;
    let client = served.client(&served.url, folder);
    let install =
        install(folder, &client, &issued.code, |_| panic!("no service_error was expected")).await;
    assert_eq!(*install.step(), Step::Done { tenant_id: Some(issued.tenant_id.0) });
    issued
}

/// What the agent does when it is due.
async fn check_in(served: &Served, folder: &Path) -> LicenseState {
    let client = served.client(license_state(folder).unwrap().unwrap().service(), folder);
    check_in_with(served, folder, &client).await
}

async fn check_in_with(served: &Served, folder: &Path, client: &Client) -> LicenseState {
    // Opened anew each time, as after a restart.
    let mut check_ins = CheckIns::open(folder).unwrap().unwrap();
    check_ins
        .check_in(client, &Files::new(folder.join("out"), Job::None), served.time.now(), 30_000)
        .await
        .unwrap();
    check_ins.license_state().clone()
}

fn seed(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("out/appliance-license-seed.json")).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_week_of_check_ins_renews_the_license_as_the_registry_asks() {
    let (served, folder) = (Served::start().await, tempfile::tempdir().unwrap());
    let folder = folder.path();
    installed(&served, folder).await;
    let (began, first) = (served.time.now(), license_state(folder).unwrap().unwrap());
    assert_eq!(first.schedule.due_in(began), 0, "the first one is due at once");
    let (mut calls, mut renewals, mut last) = (0, 0, first.clone());
    while served.time.now() < began + 7 * DAY {
        let seed_before = seed(folder);
        let license_state = check_in(&served, folder).await;
        calls += 1;
        assert_eq!(license_state.standing, Some(LicenseStatus::Entitled));
        let pause = license_state.schedule.due_in(served.time.now());
        assert!(
            (18 * HOUR..=30 * HOUR).contains(&pause),
            "three to five quarters of a day: {pause}"
        );
        assert_eq!(license_state.licensed.sub, first.licensed.sub, "the same over all renewals");
        let renewed = license_state.licensed.expires_at > last.licensed.expires_at;
        renewals += u32::from(renewed);
        assert_eq!(
            seed(folder) != seed_before,
            renewed,
            "the product gets each new license, and no other"
        );
        assert!(license_state.licensed.expires_at >= served.time.now() + 29 * DAY);
        last = license_state;
        served.time.pass(pause);
    }
    assert!((6..=10).contains(&calls), "{calls}");
    assert!(renewals >= 3, "{renewals}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_knows_what_ended_and_keeps_its_license() {
    let (served, folder) = (Served::start().await, tempfile::tempdir().unwrap());
    let folder = folder.path();
    let issued = installed(&served, folder).await;
    let before = check_in(&served, folder).await;
    let record = served.world.registry.tenant_show(issued.tenant_id).await.unwrap().record;
    let by_id = EntitlementSelector::Id(record.entitlements[0].id);
    let edit = async |edit| {
        served.world.registry.entitlement_edit(by_id.clone(), edit, None, operator()).await.unwrap()
    };
    edit(EntitlementEdit::Revoke).await;
    served.time.pass(2 * DAY);
    let revoked = check_in(&served, folder).await;
    assert_eq!(
        (revoked.standing, &revoked.licensed),
        (Some(LicenseStatus::Revoked), &before.licensed),
        "grace"
    );
    edit(EntitlementEdit::Restore).await;
    let restored = check_in(&served, folder).await;
    assert_eq!(restored.standing, Some(LicenseStatus::Entitled));
    assert!(restored.licensed.expires_at > before.licensed.expires_at);
    let appliance = ApplianceId::parse("appliance-1").unwrap();
    served.world.registry.appliance_revoke(issued.tenant_id, appliance, operator()).await.unwrap();
    let ended = check_in(&served, folder).await;
    assert_eq!(
        (ended.standing, ended.licensed),
        (Some(LicenseStatus::CredentialRevoked), restored.licensed)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_is_not_reached_costs_nothing_and_is_tried_again() {
    let (served, folder) = (Served::start().await, tempfile::tempdir().unwrap());
    let folder = folder.path();
    installed(&served, folder).await;
    let before = license_state(folder).unwrap().unwrap();
    let mut gone = before.clone();
    gone.licensed.check_in_url = "http://127.0.0.1:1/check-in".to_owned();
    std::fs::write(folder.join("license.json"), serde_json::to_string(&gone).unwrap()).unwrap();
    let failed = check_in(&served, folder).await;
    assert_eq!(failed.standing, Some(LicenseStatus::ServiceError(ServiceError::Refused)));
    assert_eq!((failed.schedule.failures, &failed.licensed.license), (1, &before.licensed.license));
    let pause = failed.schedule.due_in(served.time.now());
    assert!((30..=60).contains(&pause), "{pause}");
    let again = check_in(&served, folder).await;
    assert_eq!(again.schedule.failures, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_license_that_is_not_believed_is_not_taken_and_what_the_product_missed_is_handed_again() {
    let (served, folder) = (Served::start().await, tempfile::tempdir().unwrap());
    let folder = folder.path();
    installed(&served, folder).await;
    let before = license_state(folder).unwrap().unwrap();
    served.time.pass(2 * DAY);
    // The image brought the keys of another registry along.
    let given = folder.join("given.json");
    let other = r#"{"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "a", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
    std::fs::write(&given, other).unwrap();
    let trust = Trust {
        given: Some(given),
        pinned: folder.join("keys.json"),
        issuer: "appliance-registry".to_owned(),
        free_edition: "essentials".to_owned(),
    };
    let client = Client::new(&served.url, None, trust, std::time::Duration::from_secs(5)).unwrap();
    let held_then = check_in_with(&served, folder, &client).await;
    assert!(
        matches!(
            held_then.standing,
            Some(LicenseStatus::ServiceError(ServiceError::Untrusted { .. }))
        ),
        "{:?}",
        held_then.standing
    );
    assert_eq!(held_then.licensed, before.licensed);

    // The folder of the product is gone: the license is kept, and handed on when it is back.
    std::fs::rename(folder.join("out"), folder.join("away")).unwrap();
    let mut check_ins = CheckIns::open(folder).unwrap().unwrap();
    let (client, product) =
        (served.client(&served.url, folder), Files::new(folder.join("out"), Job::None));
    served.time.pass(2 * DAY);
    let now = served.time.now();
    let failed = check_ins.check_in(&client, &product, now, 0).await.unwrap_err();
    assert!(failed.to_string().contains("cannot be written"), "{failed}");
    drop(check_ins);
    let kept = license_state(folder).unwrap().unwrap();
    assert!(!kept.handed && kept.licensed.expires_at > before.licensed.expires_at);
    std::fs::rename(folder.join("away"), folder.join("out")).unwrap();
    CheckIns::open(folder).unwrap().unwrap().hand(&product).await.unwrap();
    assert!(license_state(folder).unwrap().unwrap().handed);
    assert!(seed(folder).contains(&BASE64_STANDARD.encode(kept.licensed.license.expose())));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_turn_bit_by_bit_are_followed_and_a_set_of_strangers_is_not() {
    let signer = Arc::new(Turning::new(1));
    let (served, folder) =
        (Served::signing_with(Some(signer.clone())).await, tempfile::tempdir().unwrap());
    let folder = folder.path();
    installed(&served, folder).await;
    let pinned = |number: u8| {
        let kid = key(number).public_key().kid.clone();
        std::fs::read_to_string(folder.join("keys.json")).unwrap().contains(&kid)
    };
    assert!(pinned(1) && !pinned(2));
    // The next key is published before it signs, and the last one for long after.
    signer.turn(1, &[1, 2]);
    check_in(&served, folder).await;
    assert!(pinned(1) && pinned(2), "every check-in refreshes them");
    signer.turn(2, &[1, 2]);
    served.time.pass(2 * DAY);
    let turned = check_in(&served, folder).await;
    assert_eq!(turned.standing, Some(LicenseStatus::Entitled));
    signer.turn(2, &[2]);
    check_in(&served, folder).await;
    assert!(!pinned(1) && pinned(2));
    // Somebody else's keys, out of nowhere.
    signer.turn(3, &[3, 4]);
    served.time.pass(2 * DAY);
    let strange = check_in(&served, folder).await;
    assert!(
        matches!(&strange.standing, Some(LicenseStatus::ServiceError(ServiceError::Keys { problem })) if problem.contains("all other ones"))
    );
    assert_eq!(strange.licensed, turned.licensed);
    assert!(pinned(2) && !pinned(3), "what was pinned stays");
}

/// A registry whose next answer to a check-in is lost.
struct LosingOnce(Client, AtomicBool);

#[async_trait]
impl CheckInClient for LosingOnce {
    async fn check_in(&self, license_state: &LicenseState) -> CheckInOutcome {
        let outcome = self.0.check_in(license_state).await;
        if self.1.swap(false, Ordering::Relaxed) {
            CheckInOutcome::ServiceError(ServiceError::BrokeOff)
        } else {
            outcome
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_license_whose_answer_is_lost_is_had_again() {
    let (served, folder) = (Served::start().await, tempfile::tempdir().unwrap());
    let folder = folder.path();
    installed(&served, folder).await;
    let before = check_in(&served, folder).await;
    served.time.pass(2 * DAY);
    let losing = LosingOnce(served.client(&served.url, folder), true.into());
    for renewed in [false, true] {
        let mut check_ins = CheckIns::open(folder).unwrap().unwrap();
        let product = Files::new(folder.join("out"), Job::None);
        check_ins.check_in(&losing, &product, served.time.now(), 0).await.unwrap();
        assert_eq!(check_ins.license_state().licensed.license != before.licensed.license, renewed);
        served.time.pass(60);
    }
}
