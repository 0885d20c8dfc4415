//! `GET /v1/rate-limits` and `DELETE /v1/rate-limits`

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use registry_api::{CountedNetworkItem, Problem, RateLimitItem, RateLimits, RateLimitsCleared};
use registry_core::registry::limits::LimitState;
use serde::Deserialize;
use utoipa::IntoParams;

use super::{ServerProblems, ServiceProblems, unreadable_query};
use crate::app::AppState;
use crate::auth::Service;
use crate::problem::ApiError;

/// Shows what the rate limits of this process have counted: the figures since it started, and the
/// networks with the most events.
#[utoipa::path(
    get, path = "/v1/rate-limits", tag = "operation", security(("service" = [])),
    responses(
        (status = 200, description = "The limits", body = RateLimits),
        ServerProblems, ServiceProblems,
    )
)]
pub(crate) async fn list(State(app): State<AppState>, _service: Service) -> Json<RateLimits> {
    Json(RateLimits { items: app.registry.rate_limits().into_iter().map(item).collect() })
}

/// The network to clear.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Cleared {
    /// A network as the list shows it, such as `203.0.113.7/32`. Without it, all are cleared.
    network: Option<String>,
}

/// Forgets the events of one network, or of all, in this process.
#[utoipa::path(
    delete, path = "/v1/rate-limits", tag = "operation", security(("service" = [])),
    params(Cleared),
    responses(
        (status = 200, description = "The number of counters that had events",
         body = RateLimitsCleared),
        (status = 422, description = "`invalid_request`",
         body = Problem, content_type = "application/problem+json"),
        ServerProblems, ServiceProblems,
    )
)]
pub(crate) async fn clear(
    State(app): State<AppState>,
    _service: Service,
    query: Result<Query<Cleared>, QueryRejection>,
) -> Result<Json<RateLimitsCleared>, ApiError> {
    let Query(Cleared { network }) = query.map_err(unreadable_query)?;
    Ok(Json(RateLimitsCleared { cleared: app.registry.rate_limits_clear(network.as_deref()) }))
}

fn item(state: LimitState) -> RateLimitItem {
    let networks = state.networks.into_iter().map(|it| CountedNetworkItem {
        network: it.network,
        count: it.count,
        limit: it.limit,
        ends_in_seconds: it.ends_in.num_seconds(),
    });
    RateLimitItem {
        name: state.name.to_owned(),
        counted: state.figures.counted,
        refused: state.figures.refused,
        overloaded: state.figures.overloaded,
        networks: networks.collect(),
    }
}
