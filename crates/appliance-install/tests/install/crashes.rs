//! The engine is dropped and opened again at every step, as a crash would have it.

use std::collections::VecDeque;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use appliance_install::{
    Admin, EditionChoice, Identity, Install, InstallError, Licensed, Manifests, Next, Product,
    ProvisioningMethod, RedeemClient, RedeemOutcome, RedeemRequest, Refused, SecretText,
    ServiceError, SetupForm, Step, StoreError, SubmitError, UnverifiedIdentity, UnverifiedLicense,
};
use async_trait::async_trait;
use uuid::Uuid;

/// A registry that answers as told, and remembers what it was asked.
#[derive(Default)]
struct Registry {
    answers: Mutex<VecDeque<RedeemOutcome>>,
    doubts: Mutex<VecDeque<ServiceError>>,
    asked: Mutex<Vec<(String, String)>>,
}

impl Registry {
    fn telling(answers: impl IntoIterator<Item = RedeemOutcome>) -> Self {
        Self { answers: Mutex::new(answers.into_iter().collect()), ..Self::default() }
    }

    /// The codes and keys it was asked with.
    fn asked(&self) -> Vec<(String, String)> {
        self.asked.lock().unwrap().clone()
    }
}

#[async_trait]
impl RedeemClient for Registry {
    async fn redeem(&self, request: &RedeemRequest) -> RedeemOutcome {
        assert_eq!(request.appliance_id, "appliance-1");
        self.asked
            .lock()
            .unwrap()
            .push((request.code.expose().to_owned(), request.idempotency_key.clone()));
        self.answers.lock().unwrap().pop_front().unwrap()
    }

    async fn believe(&self, claimed: &UnverifiedIdentity) -> Result<Identity, ServiceError> {
        if let Some(service_error) = self.doubts.lock().unwrap().pop_front() {
            return Err(service_error);
        }
        let licensed = claimed.paid.clone().map(|paid| Licensed {
            license: paid.license,
            sub: "lic_1".into(),
            expires_at: 1_800_000_000,
            credential: paid.credential,
            check_in_url: paid.check_in_url,
        });
        Ok(Identity { tenant_id: claimed.tenant_id, edition: claimed.edition.clone(), licensed })
    }
}

/// A product that fails as often as told, and remembers what it was given.
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

    fn works(&self) -> Result<(), String> {
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
    async fn write(&self, manifests: &Manifests) -> Result<(), String> {
        self.works()?;
        self.written.lock().unwrap().push(manifests.clone());
        Ok(())
    }

    async fn renew(&self, _license_seed: &str) -> Result<(), String> {
        unreachable!("no license is renewed before all is done")
    }

    async fn bootstrap(&self) -> Result<(), String> {
        self.works()?;
        *self.bootstrapped.lock().unwrap() += 1;
        Ok(())
    }
}

fn setup_form(way: ProvisioningMethod) -> SetupForm {
    let admin = Admin {
        first_name: "Ada".into(),
        last_name: "Lovelace".into(),
        email: "ada@example.com".into(),
        password: SecretText::new("correct horse battery staple".into()),
    };
    SetupForm { company: "Acme".into(), admin, way }
}

/// A key that no other call returns.
fn key() -> String {
    static KEYS: AtomicU32 = AtomicU32::new(0);
    format!("a-key-of-its-own-{}", KEYS.fetch_add(1, Ordering::Relaxed))
}

fn with_code(code: &str) -> SetupForm {
    setup_form(ProvisioningMethod::Code { code: SecretText::new(code.to_owned()) })
}

fn without_code() -> SetupForm {
    setup_form(ProvisioningMethod::WithoutCode { edition: EditionChoice::Ee, license: None })
}

fn identity() -> RedeemOutcome {
    let paid = UnverifiedLicense {
        license: SecretText::new("a.b.c".into()),
        credential: SecretText::new("00ff".into()),
        check_in_url: "https://registry.example/check-in".into(),
    };
    let tenant_id = Uuid::from_u128(7);
    RedeemOutcome::Answered(Box::new(UnverifiedIdentity {
        tenant_id,
        edition: "pro".into(),
        paid: Some(paid),
    }))
}

fn open(folder: &Path) -> Install {
    Install::open(folder, "appliance-1".to_owned()).unwrap()
}

#[tokio::test]
async fn a_crash_after_every_step_loses_nothing_and_asks_with_the_same_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    // The first answers get lost on their way; the registry has redeemed the code by then.
    let lost = || RedeemOutcome::ServiceError(ServiceError::BrokeOff);
    let (registry, cluster) =
        (Registry::telling([lost(), lost(), identity()]), Cluster::failing(3));
    // Once it has answered, it is not asked again, whatever its license is taken for.
    let clock = ServiceError::Clock { problem: "has ended already".into() };
    registry.doubts.lock().unwrap().extend([clock, ServiceError::TimedOut]);
    open(&path).submit(with_code("K7QP-M2RX-9TDV"), key()).unwrap();
    let mut steps = 0;
    loop {
        steps += 1;
        assert!(steps < 20, "it goes on for ever");
        // Opened anew each time: nothing is in memory only.
        match open(&path).advance(&registry, &cluster, 0).await {
            Ok(Next::Finished) => break,
            Ok(next) => assert_ne!(next, Next::WaitForOperator),
            Err(error) => assert!(matches!(error, InstallError::Product(_)), "{error}"),
        }
    }
    let asked = registry.asked();
    assert_eq!(asked.len(), 3);
    assert!(asked.iter().all(|it| *it == asked[0]) && asked[0].1.len() >= 16, "{asked:?}");
    assert_eq!(
        (cluster.written.lock().unwrap().len(), *cluster.bootstrapped.lock().unwrap()),
        (1, 1)
    );
    assert_eq!(*open(&path).step(), Step::Done { tenant_id: Some(Uuid::from_u128(7)) });
    let kept = std::fs::read_to_string(path.join("install.json")).unwrap();
    for secret in ["correct horse", "K7QP", "00ff", "a.b.c"] {
        assert!(!kept.contains(secret), "{secret} is kept once all is done");
    }
}

#[tokio::test]
async fn an_appliance_keeps_the_name_that_its_code_was_tried_under() {
    let folder = tempfile::tempdir().unwrap();
    let registry =
        Registry::telling([RedeemOutcome::ServiceError(ServiceError::BrokeOff), identity()]);
    open(folder.path()).submit(with_code("K7QP"), key()).unwrap();
    for host in ["appliance-2", "appliance-3", "appliance-4", "appliance-5"] {
        // The machine's name is another one after each restart.
        let mut install = Install::open(folder.path(), host.to_owned()).unwrap();
        install.advance(&registry, &Cluster::default(), 0).await.unwrap();
        assert_eq!(install.appliance_id(), "appliance-1");
    }
}

#[tokio::test]
async fn a_refused_code_reopens_the_form_and_the_next_one_is_tried_under_a_key_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let refused =
        Refused { code: "expired_claim_code".into(), text: "Install code has expired.".into() };
    let registry = Registry::telling([RedeemOutcome::Refused(refused.clone()), identity()]);
    let cluster = Cluster::default();
    let mut install = open(folder.path());
    install.submit(with_code("OLD"), key()).unwrap();
    assert_eq!(install.advance(&registry, &cluster, 0).await.unwrap(), Next::WaitForOperator);
    let reopened = open(folder.path());
    assert!(
        matches!(reopened.step(), Step::Collect { refused: Some(outcome), .. } if *outcome == refused)
    );
    assert_eq!(reopened.setup_form(), Some(&with_code("OLD")), "the rest need not be typed again");
    assert_eq!(
        install.advance(&registry, &cluster, 0).await.unwrap(),
        Next::WaitForOperator,
        "nothing retries by itself"
    );
    install.submit(with_code("NEW"), key()).unwrap();
    install.advance(&registry, &cluster, 0).await.unwrap();
    let asked = registry.asked();
    assert_eq!((asked[0].0.as_str(), asked[1].0.as_str()), ("OLD", "NEW"));
    assert_ne!(asked[0].1, asked[1].1);
}

#[tokio::test]
async fn a_code_that_is_typed_again_while_it_waits_keeps_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let registry =
        Registry::telling([RedeemOutcome::ServiceError(ServiceError::TimedOut), identity()]);
    let mut install = open(folder.path());
    install.submit(with_code("K7QP"), key()).unwrap();
    let attempt = install.advance(&registry, &Cluster::default(), 0).await.unwrap();
    assert!(
        matches!(attempt, Next::TryAgain { service_error: ServiceError::TimedOut, .. }),
        "{attempt:?}"
    );
    install.submit(with_code("K7QP"), key()).unwrap();
    install.advance(&registry, &Cluster::default(), 0).await.unwrap();
    let asked = registry.asked();
    assert_eq!(asked[0], asked[1], "its answer may only have been lost");
}

#[tokio::test]
async fn a_code_that_is_typed_again_after_another_one_keeps_its_key_too() {
    let folder = tempfile::tempdir().unwrap();
    let refused =
        Refused { code: "invalid_claim_code".into(), text: "Invalid install code.".into() };
    // The registry has redeemed the first one: only its answer was lost.
    let registry = Registry::telling([
        RedeemOutcome::ServiceError(ServiceError::BrokeOff),
        RedeemOutcome::Refused(refused),
        identity(),
    ]);
    for code in ["K7QP-M2RX-9TDV", "WRONG", "k7qp m2rx 9tdv"] {
        open(folder.path()).submit(with_code(code), key()).unwrap();
        open(folder.path()).advance(&registry, &Cluster::default(), 0).await.unwrap();
    }
    let keys: Vec<_> = registry.asked().into_iter().map(|(_, key)| key).collect();
    assert!(keys[0] == keys[2] && keys[0] != keys[1], "{keys:?}");
}

#[tokio::test]
async fn once_a_code_was_entered_no_way_leads_to_a_tenant_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let refused =
        Refused { code: "invalid_claim_code".into(), text: "Invalid install code.".into() };
    let registry = Registry::telling([
        RedeemOutcome::ServiceError(ServiceError::Dns),
        RedeemOutcome::Refused(refused),
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
    while install.advance(&registry, &cluster, 0).await.unwrap() == Next::GoOn {}
    assert_eq!(*install.step(), Step::Done { tenant_id: None });
    assert!(
        matches!(install.submit(with_code("K7QP"), key()), Err(SubmitError::Installed)),
        "it is installed"
    );
}

#[tokio::test]
async fn what_cannot_be_written_down_does_not_happen() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    let registry = Registry::telling([identity()]);
    let mut install = open(&path);
    install.submit(with_code("K7QP"), key()).unwrap();
    // The folder is gone: as with a full disk, no state can be written.
    std::fs::remove_dir_all(&path).unwrap();
    let failed = install.advance(&registry, &Cluster::default(), 0).await.unwrap_err();
    assert!(failed.to_string().contains("disk is not full"), "{failed}");
    assert!(
        matches!(install.step(), Step::Redeem { .. }),
        "the answer is asked for again, under the same key"
    );
    assert!(matches!(install.submit(with_code("OTHER"), key()), Err(SubmitError::Store(_))));
}

#[test]
fn the_state_is_for_its_owner_only_and_damage_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    open(&path).submit(with_code("K7QP"), key()).unwrap();
    let file = path.join("install.json");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(&file)), (0o700, 0o600));
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(Install::open(&path, "appliance-1".into()), Err(StoreError::Open(_, 0o644))));
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(&file, "{").unwrap();
    let damaged = Install::open(&path, "appliance-1".into()).err().unwrap().to_string();
    assert!(damaged.contains("re-issued code"), "{damaged}");
    Install::reset(&path).unwrap();
    assert_eq!(
        *open(&path).step(),
        Step::Collect { refused: None, before: None },
        "what is told to do helps"
    );
    let unusable = Install::open(Path::new("/proc/nowhere"), "appliance-1".into());
    assert!(matches!(unusable, Err(StoreError::Unusable(..))));
}
