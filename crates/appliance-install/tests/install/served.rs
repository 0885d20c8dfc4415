//! A registry over HTTP and an appliance. The test sets the clock of both.

use std::path::Path;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use appliance_install::{
    Admin, Client, Clock, Files, Install, Job, Next, ProvisioningMethod, RedeemClient, SecretText,
    SetupForm, Trust,
};
use axum::http::HeaderName;
use chrono::TimeDelta;
use registry_core::Registry;
use registry_core::clock::{Clock as _, Timestamp};
use registry_core::install_code::PlainCode;
use registry_core::license::{LicenseClaims, LicenseSigner, PublicKey, SignError, SignedLicense};
use registry_core::offline::OfflineAnswer;
use registry_core::secret::AnswerToken;
use registry_http::{AppState, HttpSettings, ServiceTokens};
use registry_license::{Signer, ed25519_pem};
use registry_testkit::World;
use registry_testkit::memory::MemoryStore;
use registry_testkit::ports::ManualClock;
use tokio::net::TcpListener;

/// The clock of registry and appliance.
#[derive(Clone)]
pub(crate) struct Time(pub(crate) Arc<ManualClock>);

impl Clock for Time {
    fn now(&self) -> u64 {
        self.0.now().timestamp().try_into().unwrap()
    }
}

impl Time {
    pub(crate) fn advance(&self, seconds: u64) {
        self.0.advance(TimeDelta::seconds(seconds.try_into().unwrap()));
    }
}

/// A registry that listens on a local port.
pub(crate) struct Served {
    pub(crate) world: World,
    pub(crate) url: String,
    pub(crate) time: Time,
}

/// A signer whose keys the test rotates.
pub(crate) struct RotatingSigner(RwLock<Rotation>);

struct Rotation {
    /// The key that signs licenses.
    current: Arc<Signer>,
    published: Vec<PublicKey>,
    /// The keys that sign the key set.
    signing: Vec<Arc<Signer>>,
    /// Signatures that are published in place of new ones.
    replayed: Option<Vec<String>>,
}

impl RotatingSigner {
    pub(crate) fn new(number: u8) -> Self {
        Self(RwLock::new(Rotation::new(number, &[number], &[number])))
    }

    /// Signs with the key `current` from now on, and publishes the keys `published`.
    pub(crate) fn rotate(&self, current: u8, published: &[u8]) {
        self.rotate_signed_with(current, published, published);
    }

    /// Rotates the keys like [`Self::rotate`], but only the keys `signing` sign the key set.
    pub(crate) fn rotate_signed_with(&self, current: u8, published: &[u8], signing: &[u8]) {
        *self.0.write().unwrap() = Rotation::new(current, published, signing);
    }

    /// Publishes these signatures from now on.
    pub(crate) fn replay(&self, signatures: Vec<String>) {
        self.0.write().unwrap().replayed = Some(signatures);
    }
}

impl Rotation {
    fn new(current: u8, published: &[u8], signing: &[u8]) -> Self {
        let public_key = |number: &u8| key(*number).public_key().clone();
        Self {
            current: key(current),
            published: published.iter().map(public_key).collect(),
            signing: signing.iter().map(|number| key(*number)).collect(),
            replayed: None,
        }
    }
}

/// Creates the key with this number.
pub(crate) fn key(number: u8) -> Arc<Signer> {
    Arc::new(Signer::from_pem(&ed25519_pem(&[number; 32]), None).unwrap())
}

impl LicenseSigner for RotatingSigner {
    fn sign(&self, claims: &LicenseClaims) -> Result<SignedLicense, SignError> {
        self.0.read().unwrap().current.sign(claims)
    }

    fn sign_answer(&self, answer: &OfflineAnswer) -> Result<AnswerToken, SignError> {
        self.0.read().unwrap().current.sign_answer(answer)
    }

    fn public_keys(&self) -> Vec<PublicKey> {
        self.0.read().unwrap().published.clone()
    }

    fn signed_key_sets(&self, issuer: &str, now: Timestamp) -> Result<Vec<String>, SignError> {
        let rotation = self.0.read().unwrap();
        if let Some(replayed) = &rotation.replayed {
            return Ok(replayed.clone());
        }
        let sign = |key: &Arc<Signer>| key.sign_key_set(&rotation.published, issuer, now);
        rotation.signing.iter().map(sign).collect()
    }
}

impl Served {
    pub(crate) async fn start() -> Self {
        Self::signing_with(None).await
    }

    pub(crate) async fn signing_with(signer: Option<Arc<dyn LicenseSigner>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let mut settings = None;
        let world = World::with(Arc::new(MemoryStore::default()), |it| {
            it.check_in_url = format!("{url}/check-in");
            settings = Some(it.clone());
        });
        let mut ports = world.ports.clone();
        ports.signer = signer.unwrap_or(ports.signer);
        let registry = Arc::new(Registry::new(ports, settings.unwrap()));
        let settings = Arc::new(HttpSettings {
            refusal_delay: Duration::ZERO,
            body_limit: 65_536,
            request_timeout: Duration::from_secs(30),
            read_timeout: Duration::from_secs(15),
            keep_alive: Duration::from_secs(75),
            shutdown_timeout: Duration::from_secs(1),
            connections: 64,
            trusted_proxies: Vec::new(),
            source_header: HeaderName::from_static("x-forwarded-for"),
        });
        let app =
            AppState::new(registry, None, Arc::new(ServiceTokens::default()), settings.clone());
        tokio::spawn(async move {
            registry_http::serve(
                listener,
                registry_http::router(app),
                &settings,
                std::future::pending(),
            )
            .await
        });
        let time = Time(world.clock.clone());
        Self { world, url, time }
    }

    /// Creates the appliance's client of the registry at this address.
    pub(crate) fn client(&self, url: &str, folder: &Path) -> Client {
        let trust = Trust {
            configured: None,
            pinned: folder.join("keys.json"),
            issuer: "appliance-registry".to_owned(),
            free_edition: "essentials".to_owned(),
        };
        let client = Client::new(url, None, trust, Duration::from_secs(5)).unwrap();
        client.with_clock(Arc::new(self.time.clone()))
    }
}

/// The installer's form with this code.
pub(crate) fn setup_form(code: &PlainCode) -> SetupForm {
    let admin = Admin {
        first_name: "Ada".into(),
        last_name: "Lovelace".into(),
        email: "ada@example.com".into(),
        password: SecretText::new("correct horse battery staple".into()),
    };
    SetupForm {
        company: "Acme".into(),
        admin,
        method: ProvisioningMethod::Code { code: SecretText::new(code.expose().to_owned()) },
    }
}

/// Installs with the state in `folder` and the Secrets in `folder/out`. `pause` runs between two
/// attempts.
pub(crate) async fn install(
    folder: &Path,
    registry: &dyn RedeemClient,
    code: &PlainCode,
    pause: impl Fn(Duration),
) -> Install {
    let out = folder.join("out");
    std::fs::create_dir_all(&out).unwrap();
    let mut install = Install::open(folder, "appliance-1".to_owned()).unwrap();
    install.submit(setup_form(code), "0123456789abcdef".to_owned()).unwrap();
    for _ in 0..50 {
        match install
            .advance(registry, &Files::new(out.clone(), "default".into(), Job::None), 0)
            .await
            .unwrap()
        {
            Next::Retry { after, .. } => pause(after),
            Next::Continue => {}
            Next::Finished | Next::WaitForInstaller => return install,
        }
    }
    panic!("not installed after 50 steps: {:?}", install.step())
}
