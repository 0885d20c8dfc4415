//! The customer's door: the page to register on, and the portal; and the operators' console.
//! Server-rendered; they work without JavaScript, and have none.

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

use self::errors::PAGES;
use self::language::Language;
use self::pages::Side;
use crate::app::AppState;
use crate::problem::ApiError;

pub(crate) use errors::PageErrors;
pub use pages::{WebPages, WebPagesError, WebSettings};

/// The pages' paths; none where the vendor has pages of its own.
pub(crate) fn routes(app: &AppState) -> Router<AppState> {
    Router::new()
        .route("/", get(|| async { Redirect::to("/signup") }))
        .route("/signup", get(signup::show).post(signup::register))
        .route("/portal", get(portal::show))
        .route("/portal/sign-in", get(portal::ask).post(portal::mail_link))
        .route("/portal/sign-in/{token}", get(portal::link).post(portal::sign_in))
        .route("/portal/sign-out", get(|| async { Redirect::to("/portal") }).post(portal::sign_out))
        .route("/portal/download", get(portal::download))
        .route(
            "/portal/tenants/{tenant_id}/reissue",
            get(portal::reissue).post(portal::reissue_now),
        )
        .merge(console::routes())
        .merge(with_a_slash())
        .route("/assets/pages.css", get(style))
        .route_layer(from_fn_with_state(app.clone(), guard))
}

/// A path with a slash at its end is the path without.
fn with_a_slash() -> Router<AppState> {
    PAGES.into_iter().fold(Router::new(), |router, path| {
        router.route(&format!("{path}/"), get(move || async move { Redirect::to(path) }))
    })
}

/// Whether the page that sent a form is one of ours: browsers say so in `Sec-Fetch-Site` (W3C Fetch
/// Metadata), and over plain http in `Origin` (RFC 6454). Programs send neither.
fn is_own(headers: &HeaderMap, public_url: &str) -> bool {
    let header = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    if let Some(site) = header("sec-fetch-site") {
        return matches!(site, "same-origin" | "none");
    }
    let Some(origin) = header("origin") else { return true };
    let authority = |url: &str| {
        let (_, rest) = url.split_once("://")?;
        rest.split('/').next().map(str::to_ascii_lowercase)
    };
    let from = authority(origin);
    from.is_some()
        && (from == header("host").map(str::to_ascii_lowercase) || from == authority(public_url))
}

async fn style(State(app): State<AppState>) -> Result<Response, ApiError> {
    app.web()?.style()
}

/// What every page has in its headers; and no form of another site is taken.
async fn guard(
    State(app): State<AppState>,
    request: Request,
    next: middleware::Next,
) -> Result<Response, ApiError> {
    let web = app.web()?;
    let response = if request.method() == Method::POST
        && !is_own(request.headers(), &web.settings.public_url)
    {
        let again = request.uri().path();
        errors::stale(web, (Language::of_headers(request.headers()), Side::of(again)), again)?
    } else {
        next.run(request).await
    };
    Ok(web.secured(response))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_other_sites_are_told_by_what_browsers_say() {
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
            assert_eq!(is_own(&headers, "https://registry.example/"), expected, "{site} {origin}");
        }
    }
}
