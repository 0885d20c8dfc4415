//! `GET /.well-known/jwks.json`

use axum::Json;
use axum::extract::State;
use registry_api::{Jwk, Jwks};
use registry_core::license::{JwkMaterial, PublicKey, SignError};

use crate::app::AppState;

/// Returns the public keys that verify licenses, and the set of them, signed with each key.
#[utoipa::path(
    get, path = "/.well-known/jwks.json", tag = "appliances",
    responses((status = 200, description = "The keys", body = Jwks))
)]
pub(crate) async fn jwks(State(app): State<AppState>) -> Json<Jwks> {
    // Most clients need the keys only.
    let signatures = app.registry.signed_key_sets().unwrap_or_else(|SignError(cause)| {
        tracing::error!(cause, "the key set is served without signatures");
        Vec::new()
    });
    Json(Jwks { keys: app.registry.public_keys().iter().map(jwk).collect(), signatures })
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
