//! A registry that serves, in the test's own process, as `registryd` wires it.

use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderName;
use registry_core::Registry;
use registry_core::audit::Actor;
use registry_core::id::TenantId;
use registry_core::registry::register::NewTenant;
use registry_http::{AppState, HttpSettings, ServiceTokens};
use registry_wiring::Config;
use tokio::net::TcpListener;

/// A registry that serves, and where its mails arrive.
pub(crate) struct Served {
    pub(crate) registry: Arc<Registry>,
    pub(crate) url: String,
    data: tempfile::TempDir,
}

pub(crate) async fn serve() -> Served {
    let data = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let path = data.path().to_str().unwrap().to_owned();
    let config =
        Config::load(None, |name| (name == "REGISTRY_DATA").then(|| path.clone())).unwrap();
    let wired = registry_wiring::build(&config, &url).await.unwrap();
    let settings = Arc::new(HttpSettings {
        body_limit: 65_536,
        request_timeout: Duration::from_secs(30),
        read_timeout: Duration::from_secs(15),
        shutdown_timeout: Duration::from_secs(1),
        connections: 64,
        trusted_proxies: Vec::new(),
        source_header: HeaderName::from_static("x-forwarded-for"),
    });
    let registry = wired.registry.clone();
    let app = AppState::new(
        wired.registry,
        wired.files,
        Arc::new(ServiceTokens::default()),
        settings.clone(),
    );
    tokio::spawn(async move {
        registry_http::serve(
            listener,
            registry_http::router(app),
            &settings,
            std::future::pending(),
        )
        .await
    });
    Served { registry, url, data }
}

pub(crate) fn operator() -> Actor {
    Actor { name: "operator:test".to_owned(), source: "test".to_owned() }
}

impl Served {
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

    /// The code in the newest mail: on a line of its own.
    pub(crate) async fn mailed_code(&self) -> String {
        while self.registry.mail_deliver().await.unwrap().is_some() {}
        let mut mails: Vec<_> = std::fs::read_dir(self.data.path().join("mailbox"))
            .unwrap()
            .map(|it| it.unwrap())
            .collect();
        mails.sort_by_key(std::fs::DirEntry::path);
        let mail = std::fs::read_to_string(mails.pop().unwrap().path()).unwrap();
        let is_code =
            |line: &&str| line.len() == 14 && line.split('-').all(|group| group.len() == 4);
        mail.lines().map(str::trim).find(is_code).unwrap().to_owned()
    }
}
