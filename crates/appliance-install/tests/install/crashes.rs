//! Crashes: the tests drop the engine and open it again between steps.

use std::collections::VecDeque;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use appliance_install::{
    Admin, EditionChoice, Identity, Install, InstallError, Licensed, Manifests, Next, Product,
    ProvisioningMethod, RedeemClient, RedeemOutcome, RedeemRequest, Refusal, SecretText,
    ServiceError, SetupForm, Step, StoreError, SubmitError, UnverifiedIdentity, UnverifiedLicense,
};
use async_trait::async_trait;
use uuid::Uuid;

/// A registry with prepared outcomes. It records the requests.
#[derive(Default)]
struct Registry {
    outcomes: Mutex<VecDeque<RedeemOutcome>>,
    verify_errors: Mutex<VecDeque<ServiceError>>,
    requests: Mutex<Vec<(String, String)>>,
}

impl Registry {
    fn with(outcomes: impl IntoIterator<Item = RedeemOutcome>) -> Self {
        Self { outcomes: Mutex::new(outcomes.into_iter().collect()), ..Self::default() }
    }

    /// Returns code and idempotency key of each request.
    fn requests(&self) -> Vec<(String, String)> {
        self.requests.lock().unwrap().clone()
    }
}

#[async_trait]
impl RedeemClient for Registry {
    async fn redeem(&self, request: &RedeemRequest) -> RedeemOutcome {
        assert_eq!(request.appliance_id, "appliance-1");
        self.requests
            .lock()
            .unwrap()
            .push((request.code.expose().to_owned(), request.idempotency_key.clone()));
        self.outcomes.lock().unwrap().pop_front().unwrap()
    }

    async fn verify(&self, unverified: &UnverifiedIdentity) -> Result<Identity, ServiceError> {
        if let Some(service_error) = self.verify_errors.lock().unwrap().pop_front() {
            return Err(service_error);
        }
        let licensed = unverified.paid.clone().map(|paid| Licensed {
            license: paid.license,
            sub: "lic_1".into(),
            expires_at: 1_800_000_000,
            credential: paid.credential,
            check_in_url: paid.check_in_url,
        });
        let (tenant_id, edition) = (unverified.tenant_id, unverified.edition.clone());
        Ok(Identity { tenant_id, edition, licensed })
    }
}

/// A product that fails a number of times. It records what it received.
#[derive(Default)]
struct Cluster {
    failures: Mutex<u32>,
    written: Mutex<Vec<Manifests>>,
    bootstrapped: Mutex<u32>,
}

impl Cluster {
    fn failing(times: u32) -> Self {
        Self { failures: Mutex::new(times), ..Self::default() }
    }

    fn fail_or_continue(&self) -> Result<(), String> {
        let mut failures = self.failures.lock().unwrap();
        if *failures == 0 {
            return Ok(());
        }
        *failures -= 1;
        Err("no space left on device".to_owned())
    }
}

#[async_trait]
impl Product for Cluster {
    fn namespace(&self) -> &'static str {
        "default"
    }

    async fn check(&self) -> Result<(), String> {
        Ok(())
    }

    async fn write(&self, manifests: &Manifests) -> Result<(), String> {
        self.fail_or_continue()?;
        self.written.lock().unwrap().push(manifests.clone());
        Ok(())
    }

    async fn renew(&self, _license_seed: &str) -> Result<(), String> {
        unreachable!("an installation renews no license")
    }

    async fn bootstrap(&self) -> Result<(), String> {
        self.fail_or_continue()?;
        *self.bootstrapped.lock().unwrap() += 1;
        Ok(())
    }
}

fn setup_form(method: ProvisioningMethod) -> SetupForm {
    let admin = Admin {
        first_name: "Ada".into(),
        last_name: "Lovelace".into(),
        email: "ada@example.com".into(),
        password: SecretText::new("correct horse battery staple".into()),
    };
    SetupForm { company: "Acme".into(), admin, method }
}

/// Returns a new idempotency key with each call.
fn key() -> String {
    static KEYS: AtomicU32 = AtomicU32::new(0);
    format!("idempotency-key-{}", KEYS.fetch_add(1, Ordering::Relaxed))
}

fn with_code(code: &str) -> SetupForm {
    setup_form(ProvisioningMethod::Code { code: SecretText::new(code.to_owned()) })
}

fn without_code() -> SetupForm {
    setup_form(ProvisioningMethod::WithoutCode { edition: EditionChoice::Ee, license: None })
}

fn redeemed() -> RedeemOutcome {
    let paid = UnverifiedLicense {
        license: SecretText::new("a.b.c".into()),
        credential: SecretText::new("00ff".into()),
        check_in_url: "https://registry.example/check-in".into(),
    };
    let tenant_id = Uuid::from_u128(7);
    RedeemOutcome::Redeemed(Box::new(UnverifiedIdentity {
        tenant_id,
        edition: "pro".into(),
        paid: Some(paid),
    }))
}

fn open(folder: &Path) -> Install {
    Install::open(folder, "appliance-1".to_owned()).unwrap()
}

/// R-idempotency-2.
#[tokio::test]
async fn crash_after_every_step_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    // The registry has redeemed the code, but its first two responses are lost.
    let lost = || RedeemOutcome::ServiceError(ServiceError::Disconnected);
    let (registry, cluster) = (Registry::with([lost(), lost(), redeemed()]), Cluster::failing(3));
    // After a response, the code is not sent again, even if its license cannot be verified yet.
    let clock = ServiceError::Clock { problem: "has already expired".into() };
    registry.verify_errors.lock().unwrap().extend([clock, ServiceError::TimedOut]);
    open(&path).submit(with_code("K7QP-M2RX-9TDV"), key()).unwrap();
    let mut steps = 0;
    loop {
        steps += 1;
        assert!(steps < 20, "not installed after 20 steps");
        // Opened again for each step: nothing is in memory only.
        match open(&path).advance(&registry, &cluster, 0).await {
            Ok(Next::Finished) => break,
            Ok(next) => assert_ne!(next, Next::WaitForInstaller),
            Err(error) => assert!(matches!(error, InstallError::Product(_)), "{error}"),
        }
    }
    let requests = registry.requests();
    assert_eq!(requests.len(), 3);
    assert!(requests.iter().all(|it| *it == requests[0]), "one code, one key: {requests:?}");
    assert!(requests[0].1.len() >= 16, "{requests:?}");
    assert_eq!(
        (cluster.written.lock().unwrap().len(), *cluster.bootstrapped.lock().unwrap()),
        (1, 1)
    );
    assert_eq!(*open(&path).step(), Step::Done { tenant_id: Some(Uuid::from_u128(7)) });
    let state = std::fs::read_to_string(path.join("install.json")).unwrap();
    for secret in ["correct horse", "K7QP", "00ff", "a.b.c"] {
        assert!(!state.contains(secret), "{secret} is stored after the installation");
    }
}

#[tokio::test]
async fn appliance_id_stays_after_first_attempt() {
    let folder = tempfile::tempdir().unwrap();
    let registry =
        Registry::with([RedeemOutcome::ServiceError(ServiceError::Disconnected), redeemed()]);
    open(folder.path()).submit(with_code("K7QP"), key()).unwrap();
    for host in ["appliance-2", "appliance-3", "appliance-4", "appliance-5"] {
        // The host name changes with each restart.
        let mut install = Install::open(folder.path(), host.to_owned()).unwrap();
        install.advance(&registry, &Cluster::default(), 0).await.unwrap();
        assert_eq!(install.appliance_id(), "appliance-1");
    }
}

/// R-messages-1.
#[tokio::test]
async fn refused_code_reopens_the_form() {
    let folder = tempfile::tempdir().unwrap();
    let refusal =
        Refusal { code: "expired_claim_code".into(), text: "Install code has expired.".into() };
    let registry = Registry::with([RedeemOutcome::Refused(refusal.clone()), redeemed()]);
    let cluster = Cluster::default();
    let mut install = open(folder.path());
    install.submit(with_code("OLD"), key()).unwrap();
    assert_eq!(install.advance(&registry, &cluster, 0).await.unwrap(), Next::WaitForInstaller);
    let reopened = open(folder.path());
    assert!(matches!(reopened.step(), Step::Collect { refusal: Some(it), .. } if *it == refusal));
    assert_eq!(reopened.setup_form(), Some(&with_code("OLD")), "the form keeps the entries");
    assert_eq!(
        install.advance(&registry, &cluster, 0).await.unwrap(),
        Next::WaitForInstaller,
        "no automatic retry"
    );
    install.submit(with_code("NEW"), key()).unwrap();
    install.advance(&registry, &cluster, 0).await.unwrap();
    let requests = registry.requests();
    assert_eq!((requests[0].0.as_str(), requests[1].0.as_str()), ("OLD", "NEW"));
    assert_ne!(requests[0].1, requests[1].1, "the new code has a new key");
}

#[tokio::test]
async fn resubmitted_code_keeps_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let registry =
        Registry::with([RedeemOutcome::ServiceError(ServiceError::TimedOut), redeemed()]);
    let mut install = open(folder.path());
    install.submit(with_code("K7QP"), key()).unwrap();
    let attempt = install.advance(&registry, &Cluster::default(), 0).await.unwrap();
    assert!(
        matches!(attempt, Next::Retry { service_error: ServiceError::TimedOut, .. }),
        "{attempt:?}"
    );
    install.submit(with_code("K7QP"), key()).unwrap();
    install.advance(&registry, &Cluster::default(), 0).await.unwrap();
    let requests = registry.requests();
    assert_eq!(requests[0], requests[1], "the first response may have been lost");
}

#[tokio::test]
async fn code_keeps_its_key_after_another() {
    let folder = tempfile::tempdir().unwrap();
    let refusal =
        Refusal { code: "invalid_claim_code".into(), text: "Invalid install code.".into() };
    // The registry has redeemed the first code, but its response is lost.
    let registry = Registry::with([
        RedeemOutcome::ServiceError(ServiceError::Disconnected),
        RedeemOutcome::Refused(refusal),
        redeemed(),
    ]);
    for code in ["K7QP-M2RX-9TDV", "WRONG", "k7qp m2rx 9tdv"] {
        open(folder.path()).submit(with_code(code), key()).unwrap();
        open(folder.path()).advance(&registry, &Cluster::default(), 0).await.unwrap();
    }
    let keys: Vec<_> = registry.requests().into_iter().map(|(_, key)| key).collect();
    assert!(keys[0] == keys[2] && keys[0] != keys[1], "{keys:?}");
}

/// R-messages-2.
#[tokio::test]
async fn entered_code_excludes_installing_without_code() {
    let folder = tempfile::tempdir().unwrap();
    let refusal =
        Refusal { code: "invalid_claim_code".into(), text: "Invalid install code.".into() };
    let registry = Registry::with([
        RedeemOutcome::ServiceError(ServiceError::Dns),
        RedeemOutcome::Refused(refusal),
    ]);
    let cluster = Cluster::default();
    let mut install = open(folder.path());
    install.submit(with_code("K7QP"), key()).unwrap();
    for _ in 0..2 {
        install.advance(&registry, &cluster, 0).await.unwrap();
        let attempt = open(folder.path()).submit(without_code(), key());
        assert!(matches!(attempt, Err(SubmitError::CodeWasEntered)), "{attempt:?}");
    }
    assert_eq!(cluster.written.lock().unwrap().len(), 0);
    Install::reset(folder.path()).unwrap();
    let mut install = open(folder.path());
    install.submit(without_code(), key()).unwrap();
    while install.advance(&registry, &cluster, 0).await.unwrap() == Next::Continue {}
    assert_eq!(*install.step(), Step::Done { tenant_id: None });
    let again = install.submit(with_code("K7QP"), key());
    assert!(matches!(again, Err(SubmitError::Installed)), "{again:?}");
}

#[tokio::test]
async fn step_that_cannot_be_stored_is_repeated() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    let registry = Registry::with([redeemed()]);
    let mut install = open(&path);
    install.submit(with_code("K7QP"), key()).unwrap();
    // Without its folder the state cannot be written, like on a full disk.
    std::fs::remove_dir_all(&path).unwrap();
    let failed = install.advance(&registry, &Cluster::default(), 0).await.unwrap_err();
    assert!(failed.to_string().contains("disk is not full"), "{failed}");
    assert!(matches!(install.step(), Step::Redeem { .. }), "the same request is sent again");
    assert!(matches!(install.submit(with_code("OTHER"), key()), Err(SubmitError::Store(_))));
}

#[test]
fn exposed_or_damaged_state_is_rejected() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    open(&path).submit(with_code("K7QP"), key()).unwrap();
    let file = path.join("install.json");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(&file)), (0o700, 0o600));
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let exposed = Install::open(&path, "appliance-1".into());
    assert!(matches!(exposed, Err(StoreError::Exposed(_, 0o644))));
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(&file, "{").unwrap();
    let damaged = Install::open(&path, "appliance-1".into()).err().unwrap().to_string();
    assert!(damaged.contains("re-issued code"), "{damaged}");
    Install::reset(&path).unwrap();
    assert_eq!(
        *open(&path).step(),
        Step::Collect { refusal: None, previous_form: None },
        "`reset` repairs the folder, as the message says"
    );
    let unusable = Install::open(Path::new("/proc/nowhere"), "appliance-1".into());
    assert!(matches!(unusable, Err(StoreError::Unusable(..))));
}
