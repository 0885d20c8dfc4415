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
use axum::http::{HeaderMap, Method};
use axum::middleware::{self, from_fn_with_state};
use axum::response::{Redirect, Response};
use axum::routing::get;

use self::errors::{PAGES, expired_form_page};
use self::language::Language;
use self::pages::Audience;
use crate::app::AppState;
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

/// True if a form was sent from one of our pages, or by a program. Browsers name the sending site
/// in `Sec-Fetch-Site` (W3C Fetch Metadata), over plain http in `Origin` (RFC 6454). Programs send
/// neither header.
fn is_same_origin(headers: &HeaderMap, public_url: &str) -> bool {
    let header = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    if let Some(site) = header("sec-fetch-site") {
        return matches!(site, "same-origin" | "none");
    }
    let Some(origin) = header("origin") else { return true };
    let authority = |url: &str| {
        let (_, rest) = url.split_once("://")?;
        rest.split('/').next().map(str::to_ascii_lowercase)
    };
    let sender = authority(origin);
    sender.is_some()
        && (sender == header("host").map(str::to_ascii_lowercase)
            || sender == authority(public_url))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_other_sites_are_recognized() {
        for (site, origin, expected) in [
            ("", "", true),
            ("same-origin", "", true),
            ("none", "", true),
            ("same-site", "", false),
            ("cross-site", "", false),
            ("same-origin", "null", true),
            ("", "http://registry.internal:8080", true),
            ("", "https://Registry.example", true),
            ("", "https://other.registry.example", false),
            ("", "https://registry.example.evil.example", false),
            ("", "null", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("host", "registry.internal:8080".parse().unwrap());
            for (name, value) in [("sec-fetch-site", site), ("origin", origin)] {
                if !value.is_empty() {
                    headers.insert(name, value.parse().unwrap());
                }
            }
            let public_url = "https://registry.example/";
            assert_eq!(is_same_origin(&headers, public_url), expected, "{site} {origin}");
        }
    }
}
