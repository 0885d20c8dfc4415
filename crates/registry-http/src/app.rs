//! What handlers share, and the router over all of them.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::HeaderName;
use axum::middleware::from_fn_with_state;
use ipnet::IpNet;
use registry_core::Registry;
use registry_core::blob::LinkedFiles;

use crate::auth::ServiceTokens;
use crate::endpoints;
use crate::frame;

/// How the service speaks HTTP.
#[derive(Clone, Debug)]
pub struct HttpSettings {
    /// The largest request body, in bytes.
    pub body_limit: usize,
    /// How long a request may take before it is answered with a 503. Downloads stream as long as they need.
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

/// What handlers share.
#[derive(Clone)]
pub struct App {
    /// The use cases.
    pub registry: Arc<Registry>,
    /// The files behind links of our own, where the blob store is a local one.
    pub files: Option<Arc<dyn LinkedFiles>>,
    /// Who may call as a service.
    pub tokens: Arc<ServiceTokens>,
    /// How it speaks HTTP.
    pub settings: Arc<HttpSettings>,
}

/// All endpoints, framed.
pub fn router(app: App) -> Router {
    let (router, api) = endpoints::routes().split_for_parts();
    router
        .merge(endpoints::docs::routes(api))
        .layer(DefaultBodyLimit::disable())
        .layer(tower_http::catch_panic::CatchPanicLayer::custom(frame::after_panic))
        .layer(from_fn_with_state(app.clone(), frame::frame))
        .with_state(app)
}
