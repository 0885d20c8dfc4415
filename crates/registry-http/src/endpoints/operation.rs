//! How the registry itself is: `/healthz`, `/readyz`, `/.well-known/jwks.json`.

use axum::Json;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use registry_api::{Health, Jwk, Jwks, Problem, ReadyPart, Readyz};
use registry_core::license::{JwkMaterial, PublicKey};
use registry_core::registry::readiness::{Part, PartState};

use crate::app::App;
use crate::metrics;
use crate::problem::ApiError;

/// Whether the process is alive. It asks nothing else.
#[utoipa::path(
    get, path = "/healthz", tag = "operation",
    responses((status = 200, description = "Alive", body = Health))
)]
pub(crate) async fn healthz() -> Json<Health> {
    Json(Health { status: "ok".to_owned() })
}

/// What works now, part by part: `ready`; `degraded` where requests succeed and something is
/// missing; 503 where they fail.
#[utoipa::path(
    get, path = "/readyz", tag = "operation",
    responses(
        (status = 200, description = "`ready` or `degraded`", body = Readyz),
        (status = 503, description = "`not_ready`; `parts` says what is down", body = Problem,
         content_type = "application/problem+json"),
    )
)]
pub(crate) async fn readyz(State(app): State<App>) -> Result<Json<Readyz>, ApiError> {
    let parts = app.readiness().await;
    let is_down = |part: &Part| part.state != PartState::Ok;
    let fails = parts.iter().any(|part| part.required && is_down(part));
    let status = if parts.iter().any(is_down) { "degraded" } else { "ready" };
    let parts = parts.into_iter().map(ready_part).collect();
    if fails {
        Err(ApiError::not_ready(parts))
    } else {
        Ok(Json(Readyz { status: status.to_owned(), parts }))
    }
}

fn ready_part(part: Part) -> ReadyPart {
    let (state, detail) = match part.state {
        PartState::Ok => ("ok", None),
        PartState::Down(problem) => ("down", Some(problem)),
        PartState::Failed(_) => {
            ("down", Some("it does not answer as it should; the log says why".to_owned()))
        }
    };
    ReadyPart {
        name: part.name.to_owned(),
        required: part.required,
        state: state.to_owned(),
        detail,
    }
}

/// Figures for monitoring, as `OpenMetrics` text: requests by path and status, how long they took,
/// and which parts work.
#[utoipa::path(
    get, path = "/metrics", tag = "operation",
    responses((status = 200, description = "The figures", body = String, content_type = metrics::CONTENT_TYPE))
)]
pub(crate) async fn metrics(State(app): State<App>) -> Result<impl IntoResponse, ApiError> {
    let text = app.metrics.text(&app.readiness().await);
    let text = text
        .map_err(|error| ApiError::internal(format!("the figures cannot be written: {error}")))?;
    Ok(([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text))
}

/// The keys that licenses can be verified with.
#[utoipa::path(
    get, path = "/.well-known/jwks.json", tag = "appliances",
    responses((status = 200, description = "The keys", body = Jwks))
)]
pub(crate) async fn jwks(State(app): State<App>) -> Json<Jwks> {
    Json(Jwks { keys: app.registry.public_keys().iter().map(jwk).collect() })
}

fn jwk(key: &PublicKey) -> Jwk {
    let JwkMaterial { kty, crv, alg, x, y } = key.material.jwk();
    let kid = key.kid.clone();
    Jwk {
        kty: kty.to_owned(),
        crv: crv.to_owned(),
        x,
        y,
        kid,
        alg: alg.to_owned(),
        r#use: "sig".to_owned(),
    }
}
