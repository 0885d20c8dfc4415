//! `GET /healthz`

use axum::Json;
use registry_api::Health;

/// Reports that the process is alive. Checks nothing else.
#[utoipa::path(
    get, path = "/healthz", tag = "operation",
    responses((status = 200, description = "Alive", body = Health))
)]
pub(crate) async fn healthz() -> Json<Health> {
    Json(Health { status: "ok".to_owned() })
}
