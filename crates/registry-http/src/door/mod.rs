//! The customer's door: the page to register on, and the portal. Server-rendered; they work without JavaScript, and have none.

mod language;
mod pages;
mod portal;
mod signup;
mod visitor;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::header;
use axum::middleware;
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::{get, post};
use serde_json::Value;

use crate::app::App;

pub(crate) use pages::Shown;
pub use pages::{Door, DoorError};

/// What a vendor sets for the pages.
#[derive(Clone, Debug)]
pub struct DoorSettings {
    /// The branding: `product`, `vendor`, `color`, `on_color`, `logo_url`, `support_link`, as mails have it.
    pub brand: Value,
    /// The editions that customers register for by themselves.
    pub self_service: Vec<String>,
    /// The products to choose from; nothing is chosen where there is one.
    pub products: Vec<String>,
    /// Where customers buy other editions.
    pub checkout_url: Option<String>,
    /// Domains whose addresses are not registered, in lower case.
    pub blocked_domains: Vec<String>,
    /// Whether the pages are reached over https: then cookies go nowhere else.
    pub is_secure: bool,
}

/// The largest form, in bytes.
const FORM: usize = 64 * 1024;

/// The pages' paths; none where the vendor has pages of its own.
pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/", get(|| async { Redirect::to("/signup") }))
        .route("/signup", get(signup::show).post(signup::register))
        .route("/portal", get(portal::show))
        .route("/portal/sign-in", get(portal::ask).post(portal::mail_link))
        .route("/portal/sign-in/{token}", get(portal::link).post(portal::sign_in))
        .route("/portal/sign-out", post(portal::sign_out))
        .route("/portal/download", get(portal::download))
        .route("/portal/tenants/{tenant_id}/reissue", get(portal::reissue).post(portal::reissue_now))
        .route("/assets/door.css", get(pages::style))
        .layer(DefaultBodyLimit::max(FORM))
        .layer(middleware::from_fn(guard))
}

/// What every page has in its headers; and no form of another site is taken: browsers say where a request comes from.
async fn guard(request: axum::extract::Request, next: middleware::Next) -> Response {
    let is_foreign = request.headers().get("sec-fetch-site").is_some_and(|site| site == "cross-site");
    let mut response = if is_foreign && request.method() == axum::http::Method::POST {
        pages::marked(axum::http::StatusCode::FORBIDDEN.into_response())
    } else {
        next.run(request).await
    };
    let policy = "default-src 'none'; style-src 'self'; img-src 'self' https:; form-action 'self'; \
                  frame-ancestors 'none'; base-uri 'none'";
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ] {
        response.headers_mut().entry(name).or_insert(axum::http::HeaderValue::from_static(value));
    }
    response
}
