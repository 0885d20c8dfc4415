//! The router over all endpoints.

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;

use crate::app::App;
use crate::{door, endpoints, frame};

/// All endpoints, framed.
pub fn router(app: App) -> Router {
    let (router, api) = endpoints::described();
    let router = if app.has_door() { router.merge(door::routes(&app)) } else { router };
    router
        .merge(endpoints::docs::routes(api))
        .layer(DefaultBodyLimit::disable())
        .layer(tower_http::catch_panic::CatchPanicLayer::custom(frame::after_panic))
        .layer(from_fn_with_state(app.clone(), frame::frame))
        .with_state(app)
}
