//! The router of all endpoints and pages.

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};

use crate::app::AppState;
use crate::middleware::{drain, errors, headers, host, logging, request_id, timeout};
use crate::{api, web};

/// Builds the router of all endpoints and pages, behind the middleware.
pub fn router(app: AppState) -> Router {
    let (router, description) = api::routes_and_description();
    let router = if app.has_web() { router.merge(web::routes(&app)) } else { router };
    router
        .merge(api::docs::routes(description))
        .layer(DefaultBodyLimit::disable())
        .layer(tower_http::catch_panic::CatchPanicLayer::custom(errors::after_panic))
        .layer(from_fn_with_state(app.clone(), timeout::timeout))
        .layer(from_fn(host::host))
        .layer(from_fn_with_state(app.clone(), errors::errors))
        .layer(from_fn_with_state(app.clone(), logging::logging))
        .layer(from_fn_with_state(app.clone(), request_id::request_id))
        .layer(from_fn_with_state(app.clone(), drain::drain))
        .layer(from_fn(headers::headers))
        .with_state(app)
}
