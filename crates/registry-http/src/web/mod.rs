//! The web pages: registration and portal for customers, and the console for operators.
//!
//! The pages are rendered on the server and contain no JavaScript.

mod console;
mod errors;
mod form;
mod formatting;
mod language;
pub(crate) mod pages;
mod portal;
mod reissue;
mod session;
mod signup;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::Method;
use axum::middleware::{self, from_fn_with_state};
use axum::response::{Redirect, Response};
use axum::routing::get;

use self::errors::{PAGES, expired_form_page};
use self::language::Language;
use self::pages::Audience;
use crate::app::AppState;
use crate::origin::is_same_origin;
use crate::problem::ApiError;

pub(crate) use errors::PageErrors;
pub use pages::{WebPages, WebPagesError, WebSettings};

/// The routes of the pages.
pub(crate) fn routes(app: &AppState) -> Router<AppState> {
    Router::new()
        .route("/", get(|| async { Redirect::to("/signup") }))
        .route("/signup", get(signup::signup_page).post(signup::register))
        .route("/portal", get(portal::portal_page))
        .route("/portal/sign-in", get(portal::sign_in_page).post(portal::send_link))
        .route("/portal/sign-in/{token}", get(portal::sign_in_link_page).post(portal::sign_in))
        .route("/portal/sign-out", get(|| async { Redirect::to("/portal") }).post(portal::sign_out))
        .route("/portal/download", get(portal::download))
        .route(
            "/portal/tenants/{tenant_id}/reissue",
            get(portal::reissue_page).post(portal::reissue),
        )
        .merge(console::routes())
        .merge(trailing_slash_redirects())
        .route("/assets/pages.css", get(stylesheet))
        .route_layer(from_fn_with_state(app.clone(), protect))
}

/// Redirects `/portal/` to `/portal`, and so on.
fn trailing_slash_redirects() -> Router<AppState> {
    PAGES.into_iter().fold(Router::new(), |router, path| {
        router.route(&format!("{path}/"), get(move || async move { Redirect::to(path) }))
    })
}

async fn stylesheet(State(app): State<AppState>) -> Result<Response, ApiError> {
    app.web()?.stylesheet()
}

/// Refuses forms of other sites, and adds the headers that every page has.
async fn protect(
    State(app): State<AppState>,
    request: Request,
    next: middleware::Next,
) -> Result<Response, ApiError> {
    let web = app.web()?;
    let is_foreign_form = request.method() == Method::POST
        && !is_same_origin(request.headers(), &web.settings.public_url);
    let response = if is_foreign_form {
        let path = request.uri().path();
        let reader = (Language::of_headers(request.headers()), Audience::of_path(path));
        expired_form_page(web, reader, path)?
    } else {
        next.run(request).await
    };
    Ok(web.with_page_headers(response))
}
