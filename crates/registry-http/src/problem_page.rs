//! The error page of download links. Programs get the same error as `application/problem+json`.

use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{Html, IntoResponse, Response};
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment};
use registry_api::Problem;
use serde::Serialize;

use crate::problem::ApiError;

const TEMPLATE: &str = include_str!("../templates/problem.html");

/// Paths of download links, which people open in a browser.
const LINK_PATHS: [&str; 3] = ["/download/{token}", "/download/{token}/{part}", "/files/{*key}"];

#[derive(Serialize)]
struct View<'a> {
    title: &'a str,
    text: &'a str,
    next_step: Option<&'a str>,
    status: u16,
    request_id: &'a str,
}

/// Returns the title of a refusal's page, if a browser opens a download link.
pub(crate) fn title(path: &str, headers: &HeaderMap) -> Option<&'static str> {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut kinds = accepted.flat_map(|value| value.split(','));
    let is_browser =
        kinds.any(|kind| kind.split(';').next().is_some_and(|kind| kind.trim() == "text/html"));
    (is_browser && LINK_PATHS.contains(&path)).then_some("This download is not available")
}

/// Renders a problem as a page. `text` says what happened, without the next step.
pub(crate) fn render(refusal_title: &str, problem: &Problem, text: &str) -> Response {
    let mut templates = Environment::new();
    templates.set_auto_escape_callback(|_| AutoEscape::Html);
    let title =
        if problem.status < 500 { refusal_title } else { "Service temporarily unavailable" };
    let next_step = problem.next_step.as_deref();
    let view =
        View { title, text, next_step, status: problem.status, request_id: &problem.request_id };
    match templates.render_str(TEMPLATE, Serde(&view)) {
        Ok(page) => {
            let mut response = Html(page).into_response();
            let policy = HeaderValue::from_static(
                "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
            );
            response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
            response
        }
        Err(error) => ApiError::internal(format!("the error page cannot be rendered: {error}"))
            .into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R-download-5.
    #[test]
    fn only_browsers_get_a_page() {
        let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
        for (path, accept, expected) in [
            ("/download/{token}", browser, true),
            ("/files/{*key}", "text/html;q=0.9", true),
            ("/download/{token}", "*/*", false),
            ("/download/{token}", "application/json", false),
            ("/tenants", browser, false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
            assert_eq!(title(path, &headers).is_some(), expected, "{path} {accept}");
        }
        assert_eq!(title("/download/{token}", &HeaderMap::new()), None);
    }
}
