//! A registry in the test's own process, set up as in `registryd`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::extract::Request;
use axum::http::HeaderName;
use axum::middleware::{Next, from_fn};
use registry_core::Registry;
use registry_core::audit::Actor;
use registry_core::id::TenantId;
use registry_core::registry::register::NewTenant;
use registry_core::registry::reissue::Reissue;
use registry_core::store::TenantSelector;
use registry_http::{AppState, HttpSettings, ServiceTokens};
use registry_wiring::Config;
use tokio::net::TcpListener;

/// A registry that serves HTTP, with its mailbox.
pub(crate) struct TestRegistry {
    pub(crate) registry: Arc<Registry>,
    pub(crate) url: String,
    data: tempfile::TempDir,
    requests: Arc<AtomicUsize>,
}

pub(crate) fn operator() -> Actor {
    Actor { name: "operator:test".to_owned(), source: "test".to_owned() }
}

impl TestRegistry {
    /// Starts a registry on a free port.
    pub(crate) async fn start() -> Self {
        let data = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let path = data.path().to_str().unwrap().to_owned();
        let config =
            Config::load(None, |name| (name == "REGISTRY_DATA").then(|| path.clone())).unwrap();
        let app = registry_wiring::build(&config, &url).await.unwrap();
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
        let registry = app.registry.clone();
        let tokens = Arc::new(ServiceTokens::default());
        let state = AppState::new(app.registry, app.files, tokens, settings.clone());
        let requests = Arc::new(AtomicUsize::new(0));
        let counter = requests.clone();
        let count = from_fn(move |request: Request, next: Next| {
            counter.fetch_add(1, Ordering::SeqCst);
            next.run(request)
        });
        let router = registry_http::router(state).layer(count);
        tokio::spawn(async move {
            registry_http::serve(listener, router, &settings, std::future::pending()).await
        });
        Self { registry, url, data, requests }
    }

    /// Returns the number of requests that have reached the registry.
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    pub(crate) async fn register(&self, edition: &str) -> TenantId {
        let new = NewTenant {
            company_name: "Acme Ltd".to_owned(),
            contact_email: "ada@acme.example".to_owned(),
            edition: edition.to_owned(),
            send_email: true,
            ..NewTenant::default()
        };
        self.registry.tenant_register(new, operator()).await.unwrap().tenant_id
    }

    /// Replaces a tenant's install code, and returns the new one from its mail.
    pub(crate) async fn reissue_code(&self, tenant: TenantId) -> String {
        let selector = TenantSelector::Id(tenant);
        let reissue =
            Reissue { selector, strict: false, send_email: true, mail_only: false, key: None };
        self.registry.code_reissue(reissue, operator()).await.unwrap();
        self.mailed_code().await
    }

    /// Returns the code in the newest mail.
    pub(crate) async fn mailed_code(&self) -> String {
        while self.registry.mail_deliver().await.unwrap().is_some() {}
        let mut mails: Vec<_> = std::fs::read_dir(self.data.path().join("mailbox"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        mails.sort();
        let mail = std::fs::read_to_string(mails.pop().unwrap()).unwrap();
        find_code(&mail)
    }
}

/// Finds the install code in a mail: the line that consists of three groups of four characters.
pub(crate) fn find_code(mail: &str) -> String {
    let is_code = |line: &&str| line.len() == 14 && line.split('-').all(|group| group.len() == 4);
    mail.lines().map(str::trim).find(is_code).unwrap().to_owned()
}
