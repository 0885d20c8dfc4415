//! The customer's door: the page to register on, and the portal; and the operators' console. Server-rendered; they work
//! without JavaScript, and have none.

mod console;
mod language;
mod limit;
pub(crate) mod pages;
mod portal;
mod refusals;
mod signup;
mod visitor;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::{self, from_fn_with_state};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::{any, get};

use self::language::Language;
use self::pages::Side;
use crate::app::App;
use crate::frame::RequestId;
use crate::problem::ApiError;

pub use pages::{Door, DoorError, DoorSettings};

/// The largest form, in bytes.
const FORM: usize = 64 * 1024;

/// The pages' paths; none where the vendor has pages of its own.
pub(crate) fn routes(app: &App) -> Router<App> {
    Router::new()
        .route("/", get(|| async { Redirect::to("/signup") }))
        .route("/signup", get(signup::show).post(signup::register))
        .route("/portal", get(portal::show))
        .route("/portal/sign-in", get(portal::ask).post(portal::mail_link))
        .route("/portal/sign-in/{token}", get(portal::link).post(portal::sign_in))
        .route("/portal/sign-out", get(|| async { Redirect::to("/portal") }).post(portal::sign_out))
        .route("/portal/download", get(portal::download))
        .route("/portal/tenants/{tenant_id}/reissue", get(portal::reissue).post(portal::reissue_now))
        .merge(console::routes())
        .merge(elsewhere())
        .route("/assets/door.css", get(style))
        .layer(DefaultBodyLimit::max(FORM))
        .layer(from_fn_with_state(app.clone(), guard))
}

/// What is not there beside the pages is said by a page, too.
fn elsewhere() -> Router<App> {
    let nowhere = || async { ApiError::of_status(StatusCode::NOT_FOUND) };
    ["/signup", "/portal", "/console"].into_iter().fold(Router::new(), |router, path| {
        let home = get(move || async move { Redirect::to(path) });
        router.route(&format!("{path}/"), home).route(&format!("{path}/{{*rest}}"), any(nowhere))
    })
}

/// Whether the page that sent a form is one of ours: browsers say so in `Sec-Fetch-Site` (W3C Fetch Metadata), and over
/// plain http in `Origin` (RFC 6454). Programs send neither.
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
    from.is_some() && (from == header("host").map(str::to_ascii_lowercase) || from == authority(public_url))
}

async fn style(State(app): State<App>) -> Result<Response, ApiError> {
    app.door()?.style()
}

/// What every page has in its headers; no form of another site is taken, and every error is a page.
async fn guard(State(app): State<App>, request: Request, next: middleware::Next) -> Response {
    let mut response = match app.door() {
        Ok(door) => guarded(door, request, next).await,
        Err(error) => error.into_response(),
    };
    let policy = "default-src 'none'; style-src 'self'; img-src 'self' https:; form-action 'self'; \
                  frame-ancestors 'none'; base-uri 'none'";
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // The browser says in `Origin` where our own forms come from, and tells others nothing.
        (header::REFERRER_POLICY, "same-origin"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::VARY, "accept-language"),
    ] {
        response.headers_mut().entry(name).or_insert(axum::http::HeaderValue::from_static(value));
    }
    response
}

async fn guarded(door: &Door, request: Request, next: middleware::Next) -> Response {
    let is_console = request.uri().path().starts_with("/console");
    let side = if is_console { Side::Operators } else { Side::Customers };
    let reader = (Language::of_headers(request.headers()), side);
    let (method, id) = (request.method().clone(), request.extensions().get::<RequestId>().cloned());
    if method == Method::POST && !is_own(request.headers(), &door.settings.public_url) {
        let again = request.uri().path().to_owned();
        return refusals::stale(door, reader, &again).unwrap_or_else(ApiError::into_response);
    }
    let response = next.run(request).await;
    refusals::shown(door, reader, &method, id.as_ref(), response)
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
