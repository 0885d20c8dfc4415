//! Shows errors as pages, in the reader's language.
//!
//! Customers and operators read different texts for the same refusal: an operator can act on it.

use axum::extract::Request;
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use registry_core::refusal::Refusal;

use super::formatting::minutes;
use super::language::Language;
use super::pages::{AlreadyPage, Audience, WebPages};
use crate::app::AppState;
use crate::problem::ApiError;

/// First segments of the pages' paths.
pub(super) const PAGES: [&str; 3] = ["/signup", "/portal", "/console"];

/// Returns the text of a refusal, in the reader's language. Refusals that no page leads to have
/// the English text of the core.
pub(super) fn refusal_text(
    web: &WebPages,
    (language, audience): (Language, Audience),
    refusal: &Refusal,
) -> String {
    let key = match refusal {
        Refusal::RateLimited { retry_after, .. } | Refusal::Overloaded { retry_after } => {
            let key = audience.pick("rate_limited", "console_rate_limited");
            let minutes = minutes(web, language, retry_after.num_minutes() + 1);
            return web.text(language, key, &[("minutes", &minutes)]);
        }
        Refusal::TenantSuspended { .. } => {
            audience.pick("refusal_tenant_suspended", "console_tenant_suspended")
        }
        Refusal::TenantNotFound => {
            audience.pick("refusal_tenant_not_found", "console_tenant_not_found")
        }
        Refusal::KeyReused => "refusal_form_reused",
        Refusal::NothingToDownload => "refusal_no_image",
        Refusal::MailNotFound => "console_mail_not_found",
        Refusal::MailSettled { .. } => "console_mail_settled",
        Refusal::MailOutdated { .. } => "console_mail_outdated",
        Refusal::Invalid { field: "contact_email", .. } => "console_no_contact",
        Refusal::Invalid { .. } => audience.pick("refusal_invalid_query", "console_invalid_query"),
        Refusal::CodeInvalid
        | Refusal::NotAnActivationCode
        | Refusal::CodeExpired { .. }
        | Refusal::CodeConsumed { .. }
        | Refusal::CodeSuperseded { .. }
        | Refusal::TenantMismatch
        | Refusal::AlreadyEntitled
        | Refusal::EntitlementRevoked { .. }
        | Refusal::TenantRequired
        | Refusal::CodeNotBound
        | Refusal::AmbiguousContact
        | Refusal::ApplianceRevoked
        | Refusal::CredentialInvalid
        | Refusal::ApplianceNotFound
        | Refusal::EntitlementNotFound
        | Refusal::SignInLinkInvalid
        | Refusal::ReleaseExists { .. }
        | Refusal::ReleaseYanked { .. }
        | Refusal::ReleaseNotFound
        | Refusal::NoEarlierRelease { .. }
        | Refusal::DownloadLinkInvalid
        | Refusal::DownloadLinkEnded { .. }
        | Refusal::DownloadFileGone
        | Refusal::ImageWithdrawn { .. } => return refusal.to_string(),
    };
    web.text(language, key, &[])
}

/// The page for a form that does not belong to the session, with a link to open it again.
pub(super) fn expired_form_page(
    web: &WebPages,
    (language, audience): (Language, Audience),
    form_path: &str,
) -> Result<Response, ApiError> {
    let text = web.text(language, "form_expired", &[]);
    web.message(
        (language, audience),
        StatusCode::FORBIDDEN,
        ("form_expired_title", text),
        Some((form_path, "form_expired_reopen")),
    )
}

/// Facts about the request for a page, from which its errors become pages.
pub(crate) struct PageErrors {
    language: Language,
    audience: Audience,
    is_signup: bool,
    method: Method,
}

impl PageErrors {
    /// Reads the facts from the request; `None` if the request is not for a page.
    pub(crate) fn of(app: &AppState, request: &Request) -> Option<Self> {
        let path = request.uri().path();
        let is_below = |start: &str| {
            path.strip_prefix(start).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let is_page = app.has_web() && PAGES.into_iter().any(is_below);
        let page_errors = || Self {
            language: Language::of_headers(request.headers()),
            audience: Audience::of_path(path),
            is_signup: path.starts_with("/signup"),
            method: request.method().clone(),
        };
        is_page.then(page_errors)
    }

    /// Turns an error response into a page; other responses stay as they are. The page keeps the
    /// cause for the log, where `id`, the request id, finds it.
    pub(crate) fn page_response(&self, web: &WebPages, id: &str, response: Response) -> Response {
        let status = response.status();
        let is_page = response.extensions().get::<AlreadyPage>().is_some();
        if is_page || !(status.is_client_error() || status.is_server_error()) {
            return response;
        }
        let error = response.extensions().get::<ApiError>().cloned();
        let mut page = match self.page(web, status, error.as_ref(), id) {
            Ok(page) => web.with_page_headers(page),
            Err(error) => return error.into_response(),
        };
        let copied = [header::ALLOW, header::RETRY_AFTER].into_iter();
        page.headers_mut().extend(
            copied.filter_map(|name| Some((name.clone(), response.headers().get(&name)?.clone()))),
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
        let reader = (self.language, self.audience);
        let Some(refusal) = error.and_then(|error| error.refusal.as_ref()) else {
            let (status, title, text) = self.failure(web, status, id);
            return web.message(reader, status, (title, text), Some(self.start_page()));
        };
        let text = refusal_text(web, reader, refusal);
        if matches!(refusal, Refusal::RateLimited { .. } | Refusal::Overloaded { .. }) {
            // Without a link: it would only invite further requests.
            return web.message(reader, status, ("rate_limited_title", text), None);
        }
        web.message(reader, status, ("refused_title", text), Some(self.start_page()))
    }

    /// Returns the status, the title's key and the text for an error that is not a refusal.
    fn failure(
        &self,
        web: &WebPages,
        status: StatusCode,
        id: &str,
    ) -> (StatusCode, &'static str, String) {
        let text = |key: &str| web.text(self.language, key, &[("id", id)]);
        let pick = |customers, operators| text(self.audience.pick(customers, operators));
        match status {
            StatusCode::PAYLOAD_TOO_LARGE => (status, "refused_title", text("form_too_large")),
            StatusCode::SERVICE_UNAVAILABLE => {
                (status, "overloaded_title", pick("overloaded", "console_overloaded"))
            }
            _ if status.is_server_error() => {
                (status, "internal_error_title", pick("internal_error", "console_internal_error"))
            }
            _ if self.method == Method::POST => (status, "refused_title", text("form_unreadable")),
            // A path whose id cannot be parsed is the path of no page.
            StatusCode::BAD_REQUEST => {
                (StatusCode::NOT_FOUND, "not_found_title", text("not_found"))
            }
            _ => (status, "not_found_title", text("not_found")),
        }
    }

    /// Returns the path of the page to start again from, and the key of its label.
    fn start_page(&self) -> (&'static str, &'static str) {
        match self.audience {
            Audience::Customers if self.is_signup => ("/signup", "register"),
            Audience::Customers => ("/portal", "portal"),
            Audience::Operators => ("/console", "console"),
        }
    }
}

#[cfg(test)]
mod tests {
    use registry_core::edition::EditionCatalogue;
    use registry_core::signup::{BlockedDomains, SelfService};

    use super::*;
    use crate::web::pages::WebSettings;

    fn web() -> WebPages {
        let logo = "https://cdn.example/logo.png";
        let settings = WebSettings {
            brand: serde_json::json!({ "product": "Gate", "logo_url": logo }),
            editions: EditionCatalogue::default(),
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
    async fn error_becomes_page_and_keeps_cause() {
        let page_errors = PageErrors {
            language: Language::German,
            audience: Audience::Operators,
            is_signup: false,
            method: Method::POST,
        };
        for (error, status, title, part) in [
            (ApiError::overloaded("locked"), 503, "Dienst vorübergehend nicht", "überlastet"),
            (ApiError::internal("torn"), 500, "Es ist ein Fehler aufgetreten", "request-7"),
            (Refusal::KeyReused.into(), 422, "konnte nicht ausgeführt", "für eine andere Anfrage"),
        ] {
            let cause = error.cause.clone();
            let page = page_errors.page_response(&web(), "request-7", error.into_response());
            assert_eq!(page.status().as_u16(), status);
            assert_eq!(page.headers().contains_key("retry-after"), status == 503);
            assert_eq!(page.extensions().get::<ApiError>().unwrap().cause, cause);
            let policy = page.headers()["content-security-policy"].to_str().unwrap();
            assert!(policy.contains("img-src 'self' https://cdn.example;"), "{policy}");
            assert!(page.headers().contains_key("strict-transport-security"));
            let body = axum::body::to_bytes(page.into_body(), 100_000).await.unwrap();
            let body = String::from_utf8(body.to_vec()).unwrap();
            assert!(body.contains(title) && body.contains(part), "{body}");
        }
    }

    #[test]
    fn refusals_of_pages_are_translated() {
        let since = registry_core::clock::Timestamp::from_timestamp(1_800_000_000, 0).unwrap();
        let contact = Refusal::Invalid { field: "contact_email", problem: "is missing".to_owned() };
        let cursor = Refusal::Invalid { field: "cursor", problem: "is not valid".to_owned() };
        for refusal in [
            Refusal::TenantSuspended { tenant: None, since: None },
            Refusal::TenantNotFound,
            Refusal::KeyReused,
            Refusal::MailNotFound,
            Refusal::MailSettled { state: registry_core::mail::MailState::Sent },
            Refusal::MailOutdated { since },
            Refusal::NothingToDownload,
            contact,
            cursor,
        ] {
            for audience in [Audience::Customers, Audience::Operators] {
                let texts = [Language::English, Language::German]
                    .map(|language| refusal_text(&web(), (language, audience), &refusal));
                assert!(texts[0] != texts[1], "{texts:?}");
                let is_operator = matches!(audience, Audience::Operators);
                assert!(!(is_operator && texts[0].contains("your vendor")), "{texts:?}");
            }
        }
    }
}
