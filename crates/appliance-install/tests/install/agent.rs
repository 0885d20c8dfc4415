//! Check-ins over real HTTP, on a clock that the test sets: renewals, revocations, and failures.

use std::path::Path;

use crate::served::{Served, install};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

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
pub(crate) const DAY: u64 = 24 * HOUR;

fn operator() -> Actor {
    Actor { name: "operator:test".to_owned(), source: "test".to_owned() }
}

/// Installs a pro appliance in this folder.
pub(crate) async fn installed(served: &Served, folder: &Path) -> Issued {
    let issued = served.world.register("Acme", "pro").await;
    let client = served.client(&served.url, folder);
    let install =
        install(folder, &client, &issued.code, |_| panic!("unexpected service error")).await;
    assert_eq!(*install.step(), Step::Done { tenant_id: Some(issued.tenant_id.0) });
    issued
}

/// Returns another nonce each time.
fn nonce() -> [u8; 16] {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    (u128::from(NUMBER.fetch_add(1, Ordering::Relaxed)) + (30_000 << 112)).to_be_bytes()
}

/// Checks in as the agent does.
pub(crate) async fn check_in(served: &Served, folder: &Path) -> LicenseState {
    let client = served.client(license_state(folder).unwrap().unwrap().service(), folder);
    check_in_with(served, folder, &client).await
}

pub(crate) async fn check_in_with(served: &Served, folder: &Path, client: &Client) -> LicenseState {
    // Opened for each check-in, like after a restart.
    let mut check_ins = CheckIns::open(folder).unwrap().unwrap();
    check_ins
        .check_in(
            client,
            &Files::new(folder.join("out"), "default".into(), Job::None),
            served.time.now(),
            nonce(),
        )
        .await
        .unwrap();
    check_ins.license_state().clone()
}

fn seed(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("out/appliance-license-seed.json")).unwrap()
}

/// R-check-in-8, R-check-in-11.
#[tokio::test(flavor = "multi_thread")]
async fn license_is_renewed_over_a_week() {
    let (served, folder) = (Served::start().await, tempfile::tempdir().unwrap());
    let folder = folder.path();
    installed(&served, folder).await;
    let (start, first) = (served.time.now(), license_state(folder).unwrap().unwrap());
    assert_eq!(first.schedule.due_in(start), 0, "the first check-in is due at once");
    let (mut check_ins, mut renewals, mut last) = (0, 0, first.clone());
    while served.time.now() < start + 7 * DAY {
        let seed_before = seed(folder);
        let license_state = check_in(&served, folder).await;
        check_ins += 1;
        assert_eq!(license_state.status, Some(LicenseStatus::Entitled));
        let pause = license_state.schedule.due_in(served.time.now());
        assert!(
            (18 * HOUR..=30 * HOUR).contains(&pause),
            "three to five quarters of a day: {pause}"
        );
        assert_eq!(license_state.licensed.sub, first.licensed.sub, "renewals keep the `sub`");
        let renewed = license_state.licensed.expires_at > last.licensed.expires_at;
        renewals += u32::from(renewed);
        assert_eq!(
            seed(folder) != seed_before,
            renewed,
            "the product receives each new license once"
        );
        assert!(license_state.licensed.expires_at >= served.time.now() + 29 * DAY);
        last = license_state;
        served.time.advance(pause);
    }
    assert!((6..=10).contains(&check_ins), "{check_ins}");
    assert!(renewals >= 3, "{renewals}");
}

/// R-check-in-2, R-check-in-3.
#[tokio::test(flavor = "multi_thread")]
async fn revoked_appliance_keeps_its_license() {
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
    served.time.advance(2 * DAY);
    let revoked = check_in(&served, folder).await;
    assert_eq!(
        (revoked.status, &revoked.licensed),
        (Some(LicenseStatus::Revoked), &before.licensed),
        "the license stays until it expires"
    );
    edit(EntitlementEdit::Restore).await;
    let restored = check_in(&served, folder).await;
    assert_eq!(restored.status, Some(LicenseStatus::Entitled));
    assert!(restored.licensed.expires_at > before.licensed.expires_at);
    let appliance = ApplianceId::parse("appliance-1").unwrap();
    served.world.registry.appliance_revoke(issued.tenant_id, appliance, operator()).await.unwrap();
    let rejected = check_in(&served, folder).await;
    assert_eq!(
        (rejected.status, rejected.licensed),
        (Some(LicenseStatus::CredentialRevoked), restored.licensed)
    );
}

/// R-messages-2.
#[tokio::test(flavor = "multi_thread")]
async fn unreachable_registry_is_retried() {
    let (served, folder) = (Served::start().await, tempfile::tempdir().unwrap());
    let folder = folder.path();
    installed(&served, folder).await;
    let before = license_state(folder).unwrap().unwrap();
    let mut unreachable = before.clone();
    unreachable.licensed.check_in_url = "http://127.0.0.1:1/check-in".to_owned();
    std::fs::write(folder.join("license.json"), serde_json::to_string(&unreachable).unwrap())
        .unwrap();
    let failed = check_in(&served, folder).await;
    assert_eq!(failed.status, Some(LicenseStatus::ServiceError(ServiceError::Refused)));
    assert_eq!((failed.schedule.failures, &failed.licensed.license), (1, &before.licensed.license));
    let pause = failed.schedule.due_in(served.time.now());
    assert!((30..=60).contains(&pause), "{pause}");
    let again = check_in(&served, folder).await;
    assert_eq!(again.schedule.failures, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn untrusted_license_is_not_stored() {
    let (served, folder) = (Served::start().await, tempfile::tempdir().unwrap());
    let folder = folder.path();
    installed(&served, folder).await;
    let before = license_state(folder).unwrap().unwrap();
    served.time.advance(2 * DAY);
    // The configured keys are those of another registry.
    let configured = folder.join("configured.json");
    let other = r#"{"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "a",
        "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
    std::fs::write(&configured, other).unwrap();
    let trust = Trust {
        configured: Some(configured),
        pinned: folder.join("keys.json"),
        issuer: "appliance-registry".to_owned(),
        free_edition: "essentials".to_owned(),
    };
    let client = Client::new(&served.url, None, trust, std::time::Duration::from_secs(5)).unwrap();
    let after = check_in_with(&served, folder, &client).await;
    assert!(
        matches!(after.status, Some(LicenseStatus::ServiceError(ServiceError::Untrusted { .. }))),
        "{:?}",
        after.status
    );
    assert_eq!(after.licensed, before.licensed);
}

#[tokio::test(flavor = "multi_thread")]
async fn undelivered_license_is_delivered_later() {
    let (served, folder) = (Served::start().await, tempfile::tempdir().unwrap());
    let folder = folder.path();
    installed(&served, folder).await;
    let before = license_state(folder).unwrap().unwrap();
    // The product cannot receive the license while its folder is missing.
    std::fs::rename(folder.join("out"), folder.join("away")).unwrap();
    let mut check_ins = CheckIns::open(folder).unwrap().unwrap();
    let (client, product) = (
        served.client(&served.url, folder),
        Files::new(folder.join("out"), "default".into(), Job::None),
    );
    served.time.advance(2 * DAY);
    let now = served.time.now();
    let failed = check_ins.check_in(&client, &product, now, nonce()).await.unwrap_err();
    assert!(failed.to_string().contains("cannot be written"), "{failed}");
    drop(check_ins);
    let stored = license_state(folder).unwrap().unwrap();
    assert!(!stored.delivered && stored.licensed.expires_at > before.licensed.expires_at);
    std::fs::rename(folder.join("away"), folder.join("out")).unwrap();
    CheckIns::open(folder).unwrap().unwrap().deliver(&product).await.unwrap();
    assert!(license_state(folder).unwrap().unwrap().delivered);
    assert!(seed(folder).contains(&BASE64_STANDARD.encode(stored.licensed.license.expose())));
}

/// A client that loses the next response.
struct LossyClient(Client, AtomicBool);

#[async_trait]
impl CheckInClient for LossyClient {
    async fn check_in(&self, license_state: &LicenseState) -> CheckInOutcome {
        let outcome = self.0.check_in(license_state).await;
        if self.1.swap(false, Ordering::Relaxed) {
            CheckInOutcome::ServiceError(ServiceError::Disconnected)
        } else {
            outcome
        }
    }
}

/// R-idempotency-2.
#[tokio::test(flavor = "multi_thread")]
async fn lost_license_is_received_again() {
    let (served, folder) = (Served::start().await, tempfile::tempdir().unwrap());
    let folder = folder.path();
    installed(&served, folder).await;
    let before = check_in(&served, folder).await;
    served.time.advance(2 * DAY);
    let lossy = LossyClient(served.client(&served.url, folder), true.into());
    for renewed in [false, true] {
        let mut check_ins = CheckIns::open(folder).unwrap().unwrap();
        let product = Files::new(folder.join("out"), "default".into(), Job::None);
        check_ins.check_in(&lossy, &product, served.time.now(), nonce()).await.unwrap();
        assert_eq!(check_ins.license_state().licensed.license != before.licensed.license, renewed);
        served.time.advance(60);
    }
}
