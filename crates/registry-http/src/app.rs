//! State that all handlers share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::http::{HeaderName, StatusCode};
use ipnet::IpNet;
use registry_core::blob::LinkedFiles;
use registry_core::registry::readiness::{Part, PartState};
use registry_core::{Error, Registry};
use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::metrics::Metrics;
use tokio::sync::Semaphore;

use crate::middleware::log_budget::LogBudget;
use crate::problem::ApiError;
use crate::tokens::ServiceTokens;
use crate::web::pages::WebPages;

/// Settings of the HTTP server.
#[derive(Clone, Debug)]
pub struct HttpSettings {
    /// Maximum size of a request body, in bytes.
    pub body_limit: usize,
    /// Time limit of a request, after which its response is a 503. The body of a download is not
    /// limited.
    pub request_timeout: Duration,
    /// Time limit for a client to send its headers or its body.
    pub read_timeout: Duration,
    /// Time that a connection waits for its next request. Load balancers keep theirs for a minute:
    /// a server that closes them sooner does so while a request is on its way.
    pub keep_alive: Duration,
    /// Delay of the response to a wrong secret.
    pub refusal_delay: Duration,
    /// Time limit for requests in flight to finish at shutdown.
    pub shutdown_timeout: Duration,
    /// Maximum number of connections that are served at once. One source has at most half of them.
    pub connections: usize,
    /// Proxies whose `source_header` is trusted.
    pub trusted_proxies: Vec<IpNet>,
    /// Header in which trusted proxies name the client.
    pub source_header: HeaderName,
}

/// Time for which a readiness result is reused: each check costs a write, and `/readyz` needs no
/// authentication.
const READINESS_LIFETIME: Duration = Duration::from_secs(1);

/// The result of the last readiness check.
struct Readiness {
    at: Instant,
    parts: Vec<Part>,
}

/// State that all handlers share.
#[derive(Clone)]
pub struct AppState {
    pub(crate) registry: Arc<Registry>,
    pub(crate) files: Option<Arc<dyn LinkedFiles>>,
    pub(crate) tokens: Arc<ServiceTokens>,
    pub(crate) settings: Arc<HttpSettings>,
    pub(crate) metrics: Arc<Metrics>,
    web: Option<Arc<WebPages>>,
    background: TaskTracker,
    readiness: Arc<Mutex<Option<Readiness>>>,
    draining: Arc<AtomicBool>,
    pub(crate) log_budget: Arc<LogBudget>,
    /// For failures, whose causes are in the log only.
    pub(crate) failure_budget: Arc<LogBudget>,
    /// Responses to wrong secrets that may wait at the same time.
    pub(crate) delays: Arc<Semaphore>,
}

impl AppState {
    /// The state without web pages. `files` are the files of a local blob store, which `/files`
    /// serves; `tokens` are the service tokens that are accepted.
    #[must_use]
    pub fn new(
        registry: Arc<Registry>,
        files: Option<Arc<dyn LinkedFiles>>,
        tokens: Arc<ServiceTokens>,
        settings: Arc<HttpSettings>,
    ) -> Self {
        let metrics = Arc::new(Metrics::new());
        let delays = Arc::new(Semaphore::new((settings.connections * 3 / 4).max(1)));
        Self {
            registry,
            files,
            tokens,
            settings,
            metrics,
            web: None,
            background: TaskTracker::new(),
            readiness: Arc::default(),
            draining: Arc::default(),
            log_budget: Arc::new(LogBudget::new()),
            failure_budget: Arc::new(LogBudget::new()),
            delays,
        }
    }

    /// Adds the pages of customers and operators.
    #[must_use]
    pub fn with_web(self, web: WebPages) -> Self {
        Self { web: Some(Arc::new(web)), ..self }
    }

    /// Runs a task in the background. Responses do not wait for it, but a shutdown does.
    pub(crate) fn do_later(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.background.spawn(task);
    }

    /// Runs a use case to its end, even if the client disconnects. Needed if the use case does more
    /// than one change of the store, which finishes by itself.
    pub(crate) async fn complete<T: Send + 'static>(
        &self,
        use_case: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, ApiError> {
        let ended = self.background.spawn(use_case).await;
        Ok(ended
            .map_err(|error| ApiError::internal(format!("a use case ended early: {error}")))??)
    }

    /// Waits until all background tasks are done, at most `shutdown_timeout`.
    pub async fn finish(&self) {
        self.background.close();
        let finished =
            tokio::time::timeout(self.settings.shutdown_timeout, self.background.wait()).await;
        if finished.is_err() {
            tracing::warn!("stopped before all requested mails were queued");
        }
    }

    /// Makes `/readyz` 503 and closes each connection after its response, so that load balancers
    /// turn away before a shutdown.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    pub(crate) fn has_web(&self) -> bool {
        self.web.is_some()
    }

    /// Returns the pages, or 404 if they are turned off.
    pub(crate) fn web(&self) -> Result<&WebPages, ApiError> {
        self.web.as_deref().ok_or_else(|| ApiError::of_status(StatusCode::NOT_FOUND))
    }

    /// Returns the parts that do not work now, each with its problem.
    pub async fn not_ready(&self) -> Vec<(&'static str, String)> {
        let parts = self.registry.readiness().await.into_iter();
        let problem = |part: Part| match part.state {
            PartState::Ok => None,
            PartState::Down(problem) | PartState::Failed(problem) => Some((part.name, problem)),
        };
        parts.filter_map(problem).collect()
    }

    /// Returns the state of every part, at most a second old. Failures are logged with their cause.
    pub(crate) async fn readiness(&self) -> Vec<Part> {
        let mut last = self.readiness.lock().await;
        let now = Instant::now();
        if let Some(last) = last.as_ref().filter(|last| now - last.at < READINESS_LIFETIME) {
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
