//! `GET /metrics`

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;

use crate::app::AppState;
use crate::metrics;
use crate::problem::ApiError;

/// Returns metrics for monitoring, as `OpenMetrics` text: requests by path and status, their
/// duration, the parts that work, what the rate limits counted, and the numbers of mails.
#[utoipa::path(
    get, path = "/metrics", tag = "operation",
    responses((status = 200, description = "The metrics",
         body = String, content_type = metrics::CONTENT_TYPE))
)]
pub(crate) async fn metrics(State(app): State<AppState>) -> Result<impl IntoResponse, ApiError> {
    // Without the database, the other metrics still tell what is wrong.
    let mails = app.registry.mail_counts().await.ok();
    let limits = app.registry.rate_limit_figures();
    let text = app.metrics.text(&app.readiness().await, &limits, mails);
    let text = text
        .map_err(|error| ApiError::internal(format!("the metrics cannot be encoded: {error}")))?;
    Ok(([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text))
}
