//! What handlers share.

use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderName, StatusCode};
use chrono::TimeDelta;
use ipnet::IpNet;
use registry_core::Registry;
use registry_core::blob::LinkedFiles;
use registry_core::clock::Timestamp;
use registry_core::registry::readiness::{Part, PartState};
use tokio::sync::Mutex;
use tokio_util::task::TaskTracker;

use crate::metrics::Metrics;
use crate::problem::ApiError;
use crate::tokens::ServiceTokens;
use crate::web::pages::WebPages;

/// How the service speaks HTTP.
#[derive(Clone, Debug)]
pub struct HttpSettings {
    /// The largest request body, in bytes.
    pub body_limit: usize,
    /// How long a request may take before it is answered with a 503. Downloads stream as long as
    /// they need.
    pub request_timeout: Duration,
    /// How long a client may take to send its headers or its body.
    pub read_timeout: Duration,
    /// How long requests in flight have to finish at shutdown.
    pub shutdown_timeout: Duration,
    /// How many connections are served at once; more wait to be accepted.
    pub connections: usize,
    /// The proxies whose header is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// The header that names the client behind a trusted proxy.
    pub source_header: HeaderName,
}

/// How long an answer about readiness is given again: asking costs a write, and the path is open to
/// anyone.
const READINESS: TimeDelta = TimeDelta::seconds(1);

/// How the parts were, and when.
struct Readiness {
    at: Timestamp,
    parts: Vec<Part>,
}

/// What handlers share.
#[derive(Clone)]
pub struct AppState {
    pub(crate) registry: Arc<Registry>,
    pub(crate) files: Option<Arc<dyn LinkedFiles>>,
    pub(crate) tokens: Arc<ServiceTokens>,
    pub(crate) settings: Arc<HttpSettings>,
    pub(crate) metrics: Arc<Metrics>,
    web: Option<Arc<WebPages>>,
    later: TaskTracker,
    readiness: Arc<Mutex<Option<Readiness>>>,
}

impl AppState {
    /// The registry over HTTP: `files` are those behind links of our own, where the blob store is a
    /// local one; `tokens` say who may call as a service.
    #[must_use]
    pub fn new(
        registry: Arc<Registry>,
        files: Option<Arc<dyn LinkedFiles>>,
        tokens: Arc<ServiceTokens>,
        settings: Arc<HttpSettings>,
    ) -> Self {
        let metrics = Arc::new(Metrics::new());
        Self {
            registry,
            files,
            tokens,
            settings,
            metrics,
            web: None,
            later: TaskTracker::new(),
            readiness: Arc::default(),
        }
    }

    /// With the pages of customers and operators.
    #[must_use]
    pub fn with_web(self, web: WebPages) -> Self {
        Self { web: Some(Arc::new(web)), ..self }
    }

    /// Does something that no answer waits for, and that a shutdown does.
    pub(crate) fn do_later(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.later.spawn(task);
    }

    /// Waits until everything is done that was left for later; no longer than requests in flight
    /// have.
    pub async fn finish(&self) {
        self.later.close();
        if tokio::time::timeout(self.settings.shutdown_timeout, self.later.wait()).await.is_err() {
            tracing::warn!("stopped with mails that were asked for not queued");
        }
    }

    pub(crate) fn has_web(&self) -> bool {
        self.web.is_some()
    }

    /// The pages; their paths are there only where they are.
    pub(crate) fn web(&self) -> Result<&WebPages, ApiError> {
        self.web.as_deref().ok_or_else(|| ApiError::of_status(StatusCode::NOT_FOUND))
    }

    /// The parts that do not work now, and why.
    pub async fn not_ready(&self) -> Vec<(&'static str, String)> {
        let parts = self.registry.readiness().await.into_iter();
        let problem = |part: Part| match part.state {
            PartState::Ok => None,
            PartState::Down(problem) | PartState::Failed(problem) => Some((part.name, problem)),
        };
        parts.filter_map(problem).collect()
    }

    /// How every part is, or was a moment ago. What failed, and why, goes to the log.
    pub(crate) async fn readiness(&self) -> Vec<Part> {
        let mut last = self.readiness.lock().await;
        let now = self.registry.now();
        if let Some(last) = last.as_ref().filter(|last| now - last.at < READINESS) {
            return last.parts.clone();
        }
        let parts = self.registry.readiness().await;
        for part in &parts {
            if let PartState::Failed(cause) = &part.state {
                tracing::warn!(part = part.name, cause, "not ready");
            }
        }
        *last = Some(Readiness { at: now, parts: parts.clone() });
        parts
    }
}
