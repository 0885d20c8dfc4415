//! What went wrong, as a page in the reader's language.

use axum::extract::Request;
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use registry_core::refusal::Refusal;

use super::language::Language;
use super::pages::{AlreadyPage, Side, WebPages};
use crate::app::AppState;
use crate::problem::ApiError;

/// What the pages' paths begin with.
pub(super) const PAGES: [&str; 3] = ["/signup", "/portal", "/console"];

/// Why a refusal was, in the reader's language; by the rules' own words where it is none that pages
/// come to.
pub(super) fn why(web: &WebPages, language: Language, refusal: &Refusal) -> String {
    let name = match refusal {
        Refusal::TenantSuspended => "why_suspended",
        Refusal::TenantNotFound => "why_no_tenant",
        Refusal::KeyReused => "why_sent_before",
        Refusal::MailNotFound => "why_no_mail",
        Refusal::MailSettled { .. } => "why_settled",
        Refusal::MailOutdated { .. } => "why_outdated",
        Refusal::TooOften { retry_after } => {
            let minutes = (retry_after.num_minutes() + 1).to_string();
            return web.text(language, "too_often", &[("minutes", &minutes)]);
        }
        Refusal::NothingToDownload => "download_none",
        Refusal::Invalid { field: "contact_email", .. } => "why_no_contact",
        Refusal::Invalid { .. } => "why_address",
        other => return other.to_string(),
    };
    web.text(language, name, &[])
}

/// The page for a form that was not made for this session.
pub(super) fn stale(
    web: &WebPages,
    page_errors: (Language, Side),
    again: &str,
) -> Result<Response, ApiError> {
    let text = web.text(page_errors.0, "stale", &[]);
    web.message(
        page_errors,
        StatusCode::FORBIDDEN,
        ("stale_title", text),
        Some((again, "stale_again")),
    )
}

/// Whoever asked for a page: an error is shown to them as one.
pub(crate) struct PageErrors {
    language: Language,
    side: Side,
    is_signup: bool,
    method: Method,
}

impl PageErrors {
    /// Who asks; `None` where it is for no page.
    pub(crate) fn of(app: &AppState, request: &Request) -> Option<Self> {
        let path = request.uri().path();
        let is_below = |start: &str| {
            path.strip_prefix(start).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let is_page = app.has_web() && PAGES.into_iter().any(is_below);
        let page_errors = || Self {
            language: Language::of_headers(request.headers()),
            side: Side::of(path),
            is_signup: path.starts_with("/signup"),
            method: request.method().clone(),
        };
        is_page.then(page_errors)
    }

    /// An error that is no page yet becomes one. What the log says about it stays with it; `id`
    /// names it there.
    pub(crate) fn page_response(&self, web: &WebPages, id: &str, refused: Response) -> Response {
        let status = refused.status();
        let is_page = refused.extensions().get::<AlreadyPage>().is_some();
        if is_page || !(status.is_client_error() || status.is_server_error()) {
            return refused;
        }
        let error = refused.extensions().get::<ApiError>().cloned();
        let mut page = match self.page(web, status, error.as_ref(), id) {
            Ok(page) => web.secured(page),
            Err(error) => return error.into_response(),
        };
        let kept = [header::ALLOW, header::RETRY_AFTER].into_iter();
        page.headers_mut().extend(
            kept.filter_map(|name| Some((name.clone(), refused.headers().get(&name)?.clone()))),
        );
        if let Some(error) = error {
            page.extensions_mut().insert(error);
        }
        page
    }

    fn page(
        &self,
        web: &WebPages,
        status: StatusCode,
        error: Option<&ApiError>,
        id: &str,
    ) -> Result<Response, ApiError> {
        let text = |name: &str, gaps: &[(&str, &str)]| web.text(self.language, name, gaps);
        let refusal = error.and_then(|error| error.refusal.as_ref());
        let (status, title, text) = match (status, refusal) {
            (_, Some(refusal @ Refusal::TooOften { .. })) => {
                (status, "too_often_title", why(web, self.language, refusal))
            }
            (_, Some(refusal)) => (status, "cannot_title", why(web, self.language, refusal)),
            (StatusCode::PAYLOAD_TOO_LARGE, _) => {
                (status, "cannot_title", text("form_too_large", &[]))
            }
            (StatusCode::SERVICE_UNAVAILABLE, _) => (status, "busy_title", text("busy", &[])),
            _ if status.is_server_error() => {
                (status, "failed_title", text("failed", &[("id", id)]))
            }
            _ if self.method == Method::POST => {
                (status, "cannot_title", text("form_unreadable", &[]))
            }
            // An address that is cut off in its id is one of nothing, too.
            (StatusCode::BAD_REQUEST, _) => {
                (StatusCode::NOT_FOUND, "nowhere_title", text("nowhere", &[]))
            }
            _ => (status, "nowhere_title", text("nowhere", &[])),
        };
        let home = match self.side {
            // Whoever asked too often is led nowhere.
            _ if matches!(refusal, Some(Refusal::TooOften { .. })) => None,
            Side::Customers if self.is_signup => Some(("/signup", "register")),
            Side::Customers => Some(("/portal", "portal")),
            Side::Operators => Some(("/console", "console")),
        };
        web.message((self.language, self.side), status, (title, text), home)
    }
}

#[cfg(test)]
mod tests {
    use registry_core::signup::{BlockedDomains, SelfService};

    use super::*;
    use crate::web::pages::WebSettings;

    fn web() -> WebPages {
        let settings = WebSettings {
            brand: serde_json::json!({ "product": "Gate", "logo_url": "https://cdn.example/logo.png" }),
            self_service: SelfService {
                editions: vec![],
                products: vec![],
                blocked: BlockedDomains::default(),
            },
            checkout_url: None,
            public_url: "https://registry.example".to_owned(),
        };
        WebPages::new(settings).unwrap()
    }

    #[tokio::test]
    async fn what_fails_says_so_keeps_its_cause_for_the_log_and_names_the_request() {
        let page_errors = PageErrors {
            language: Language::German,
            side: Side::Operators,
            is_signup: false,
            method: Method::POST,
        };
        for (error, status, title, part) in [
            (ApiError::overloaded("locked"), 503, "Einen Moment bitte", "überlastet"),
            (ApiError::internal("torn"), 500, "Hier ist etwas schiefgegangen", "request-7"),
            (Refusal::KeyReused.into(), 422, "Das ging nicht", "für etwas anderes"),
        ] {
            let cause = error.cause.clone();
            let shown = page_errors.page_response(&web(), "request-7", error.into_response());
            assert_eq!(shown.status().as_u16(), status);
            assert_eq!(shown.headers().contains_key("retry-after"), status == 503);
            assert_eq!(shown.extensions().get::<ApiError>().unwrap().cause, cause);
            let policy = shown.headers()["content-security-policy"].to_str().unwrap();
            assert!(policy.contains("img-src 'self' https://cdn.example;"), "{policy}");
            assert!(shown.headers().contains_key("strict-transport-security"));
            let body = axum::body::to_bytes(shown.into_body(), 100_000).await.unwrap();
            let body = String::from_utf8(body.to_vec()).unwrap();
            assert!(body.contains(title) && body.contains(part), "{body}");
        }
    }

    #[test]
    fn every_refusal_that_pages_come_to_has_a_text_of_its_own() {
        let since = registry_core::clock::Timestamp::from_timestamp(1_800_000_000, 0).unwrap();
        let contact = Refusal::Invalid { field: "contact_email", problem: "is missing".to_owned() };
        let address =
            Refusal::Invalid { field: "cursor", problem: "is not one of ours".to_owned() };
        for refusal in [
            Refusal::TenantSuspended,
            Refusal::TenantNotFound,
            Refusal::KeyReused,
            Refusal::MailNotFound,
            Refusal::MailSettled { state: registry_core::mail::MailState::Sent },
            Refusal::MailOutdated { since },
            Refusal::NothingToDownload,
            contact,
            address,
        ] {
            let texts = [Language::English, Language::German]
                .map(|language| why(&web(), language, &refusal));
            assert!(texts[0] != texts[1], "{texts:?}");
        }
    }
}
