//! The service's own state: `/healthz`, `/readyz`, `/.well-known/jwks.json`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use registry_api::{Health, Jwk, Jwks, ReadyPart, Readyz};
use registry_core::license::{PublicKey, PublicKeyMaterial};
use registry_core::registry::readiness::{Part, PartState};

use crate::app::App;

/// Whether the process is alive. It asks nothing else.
#[utoipa::path(
    get, path = "/healthz", tag = "operation",
    responses((status = 200, description = "Alive", body = Health))
)]
pub(crate) async fn healthz() -> Json<Health> {
    Json(Health { status: "ok".to_owned() })
}

/// What works now, part by part. 503 where requests fail; `degraded` where they succeed and something is missing.
#[utoipa::path(
    get, path = "/readyz", tag = "operation",
    responses(
        (status = 200, description = "`ready` or `degraded`", body = Readyz),
        (status = 503, description = "`down`", body = Readyz),
    )
)]
pub(crate) async fn readyz(State(app): State<App>) -> (StatusCode, Json<Readyz>) {
    let parts = app.registry.readiness().await;
    let is_down = |part: &Part| part.state != PartState::Ok;
    let (status, word) = if parts.iter().any(|part| part.required && is_down(part)) {
        (StatusCode::SERVICE_UNAVAILABLE, "down")
    } else if parts.iter().any(is_down) {
        (StatusCode::OK, "degraded")
    } else {
        (StatusCode::OK, "ready")
    };
    (status, Json(Readyz { status: word.to_owned(), parts: parts.into_iter().map(ready_part).collect() }))
}

fn ready_part(part: Part) -> ReadyPart {
    let (state, detail) = match part.state {
        PartState::Ok => ("ok", None),
        PartState::Down(problem) => ("down", Some(problem)),
    };
    ReadyPart { name: part.name.to_owned(), required: part.required, state: state.to_owned(), detail }
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
    let encode = |coordinate: &[u8; 32]| BASE64_URL_SAFE_NO_PAD.encode(coordinate);
    let (kty, crv, alg, x, y) = match &key.material {
        PublicKeyMaterial::Ed25519 { x } => ("OKP", "Ed25519", "EdDSA", encode(x), None),
        PublicKeyMaterial::P256 { x, y } => ("EC", "P-256", "ES256", encode(x), Some(encode(y))),
    };
    let kid = key.kid.clone();
    Jwk { kty: kty.to_owned(), crv: crv.to_owned(), x, y, kid, alg: alg.to_owned(), r#use: "sig".to_owned() }
}
