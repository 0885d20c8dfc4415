//! `GET /readyz`

use axum::Json;
use axum::extract::State;
use registry_api::{Problem, ReadyPart, Readyz};
use registry_core::registry::readiness::{Part, PartState};

use crate::app::AppState;
use crate::problem::ApiError;

/// Reports the state of every part: `ready`; `degraded` if an optional part is down; 503 if a
/// required part is down, so requests fail.
#[utoipa::path(
    get, path = "/readyz", tag = "operation",
    responses(
        (status = 200, description = "`ready` or `degraded`", body = Readyz),
        (status = 503, description = "`not_ready`; `parts` lists what is down",
         body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn readyz(State(app): State<AppState>) -> Result<Json<Readyz>, ApiError> {
    let mut parts = app.readiness().await;
    if app.is_draining() {
        let state = PartState::Down("this process is about to stop".to_owned());
        parts.push(Part { name: "shutdown", required: true, state });
    }
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
            ("down", Some("it does not work; the log has the cause".to_owned()))
        }
    };
    ReadyPart {
        name: part.name.to_owned(),
        required: part.required,
        state: state.to_owned(),
        detail,
    }
}
