//! Reuse of a readiness result, for one second.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderName, Request};
use http_body_util::BodyExt as _;
use registry_core::Registry;
use registry_core::mail::MailError;
use registry_http::{AppState, HttpSettings, ServiceTokens};
use registry_testkit::World;
use serde_json::Value;
use tower::ServiceExt as _;

/// The router over the registry of a world.
fn router(world: &World) -> Router {
    let registry = Registry::new(world.ports.clone(), world.registry.settings().clone());
    let settings = HttpSettings {
        refusal_delay: Duration::ZERO,
        body_limit: 65_536,
        request_timeout: Duration::from_secs(30),
        read_timeout: Duration::from_secs(15),
        keep_alive: Duration::from_secs(75),
        shutdown_timeout: Duration::from_secs(1),
        connections: 64,
        trusted_proxies: Vec::new(),
        source_header: HeaderName::from_static("x-forwarded-for"),
    };
    let tokens = Arc::new(ServiceTokens::default());
    registry_http::router(AppState::new(Arc::new(registry), None, tokens, Arc::new(settings)))
}

/// The state of the part `mail`, as `/readyz` reports it.
async fn mail_state(router: &Router) -> String {
    let request = Request::get("/readyz").body(Body::empty()).unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let ready: Value = serde_json::from_slice(&body).unwrap();
    let parts = ready["parts"].as_array().unwrap();
    let mail = parts.iter().find(|part| part["name"] == "mail").unwrap();
    mail["state"].as_str().unwrap().to_owned()
}

/// R-health-4.
#[tokio::test(start_paused = true)]
async fn readiness_is_reused_for_one_second() {
    let world = World::in_memory();
    let router = router(&world);
    assert_eq!(mail_state(&router).await, "ok");
    world.mailer.fail(Some(MailError::Unavailable("connection refused".to_owned())));
    tokio::time::advance(Duration::from_millis(999)).await;
    assert_eq!(mail_state(&router).await, "ok", "the result is reused for a second");
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!(mail_state(&router).await, "down");
}
