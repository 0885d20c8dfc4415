//! Renders the web pages from their templates and catalogues.

use std::collections::BTreeMap;

use axum::Extension;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::{Html, IntoResponse as _, Response};
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, UndefinedBehavior, context};
use registry_core::edition::EditionCatalogue;
use registry_core::signup::SelfService;
use serde_json::Value;

use super::language::{Catalogue, Language, catalogues};
use crate::problem::ApiError;

const TEMPLATES: [(&str, &str); 14] = [
    ("layout.html", include_str!("../../templates/web/layout.html")),
    ("signup.html", include_str!("../../templates/web/signup.html")),
    ("signup_sent.html", include_str!("../../templates/web/signup_sent.html")),
    ("message.html", include_str!("../../templates/web/message.html")),
    ("sign_in.html", include_str!("../../templates/web/sign_in.html")),
    ("sign_in_link.html", include_str!("../../templates/web/sign_in_link.html")),
    ("portal.html", include_str!("../../templates/web/portal.html")),
    ("reissue.html", include_str!("../../templates/web/reissue.html")),
    ("console_layout.html", include_str!("../../templates/web/console_layout.html")),
    ("console_sign_in.html", include_str!("../../templates/web/console_sign_in.html")),
    ("console.html", include_str!("../../templates/web/console.html")),
    ("console_tenant.html", include_str!("../../templates/web/console_tenant.html")),
    ("console_confirm.html", include_str!("../../templates/web/console_confirm.html")),
    ("pages.css", include_str!("../../templates/web/pages.css")),
];

/// The vendor's settings for the web pages.
#[derive(Clone, Debug)]
pub struct WebSettings {
    /// The branding, as the mail templates have it: `product`, `vendor`, `color`, `on_color`,
    /// `logo_url`, `support_link`.
    pub brand: Value,
    /// All editions, with the labels that people read.
    pub editions: EditionCatalogue,
    /// Editions and products that customers register without the vendor.
    pub self_service: SelfService,
    /// URL at which customers buy the other editions. `{edition}` in it is replaced.
    pub checkout_url: Option<String>,
    /// URL of the pages. If it is https, cookies are sent over https only.
    pub public_url: String,
}

impl WebSettings {
    /// True if the pages are reached over https.
    pub(super) fn is_secure(&self) -> bool {
        self.public_url.starts_with("https://")
    }
}

/// The web pages could not be loaded.
#[derive(Debug, thiserror::Error)]
#[error("the web pages cannot be loaded: {0}")]
pub struct WebPagesError(String);

/// The web pages of customers and operators.
pub struct WebPages {
    pub(crate) settings: WebSettings,
    templates: Environment<'static>,
    catalogues: BTreeMap<Language, Catalogue>,
    headers: HeaderMap,
}

/// The people that a page is written for.
#[derive(Clone, Copy)]
pub(crate) enum Audience {
    Customers,
    Operators,
}

impl Audience {
    /// Returns the audience of the page at this path.
    pub(super) fn of_path(path: &str) -> Self {
        if path.starts_with("/console") { Self::Operators } else { Self::Customers }
    }

    /// Returns the first value for customers, the second for operators.
    pub(super) fn pick<T>(self, for_customers: T, for_operators: T) -> T {
        match self {
            Self::Customers => for_customers,
            Self::Operators => for_operators,
        }
    }

    fn layout(self) -> &'static str {
        self.pick("layout.html", "console_layout.html")
    }
}

/// A response extension: the response is a page already, also if its status is an error.
#[derive(Clone, Copy)]
pub(crate) struct AlreadyPage;

/// The headers of every page.
fn headers(settings: &WebSettings) -> HeaderMap {
    // Only the logo is loaded from another host.
    let logo = settings
        .brand
        .get("logo_url")
        .and_then(Value::as_str)
        .and_then(|url| url.parse::<Uri>().ok());
    let is_plain = |origin: &String| {
        origin.chars().skip(1).all(|c| c.is_ascii_alphanumeric() || ":/.-[]".contains(c))
    };
    let origin = logo
        .and_then(|url| Some(format!(" {}://{}", url.scheme_str()?, url.authority()?)))
        .filter(is_plain);
    let policy = format!(
        "default-src 'none'; style-src 'self'; img-src 'self'{}; form-action 'self'; \
         frame-ancestors 'none'; base-uri 'none'",
        origin.unwrap_or_default()
    );
    let mut headers = HeaderMap::new();
    let all = [
        (header::CONTENT_SECURITY_POLICY, policy.as_str()),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // The browser sends `Origin` with our own forms, and no referrer to other sites.
        (header::REFERRER_POLICY, "same-origin"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::VARY, "accept-language"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=()"),
    ];
    headers.extend(
        all.into_iter()
            .filter_map(|(name, value)| Some((name, HeaderValue::from_str(value).ok()?))),
    );
    if settings.is_secure() {
        // For a year, browsers use https only (RFC 6797).
        headers.insert(
            header::STRICT_TRANSPORT_SECURITY,
            HeaderValue::from_static("max-age=31536000"),
        );
    }
    headers
}

/// Replaces the `{placeholders}` of a text by their values. Braces in a value stay as they are.
fn interpolate(text: &str, values: &[(&str, &str)]) -> String {
    let (mut result, mut rest) = (String::with_capacity(text.len()), text);
    while let Some((before, after)) = rest.split_once('{') {
        let replacement = after.split_once('}').and_then(|(name, tail)| {
            let (_, value) = values.iter().find(|(placeholder, _)| *placeholder == name)?;
            Some((*value, tail))
        });
        let (value, tail) = replacement.unwrap_or(("{", after));
        result.push_str(before);
        result.push_str(value);
        rest = tail;
    }
    result + rest
}

impl WebPages {
    /// Loads the templates and the catalogues.
    pub fn new(settings: WebSettings) -> Result<Self, WebPagesError> {
        let mut templates = Environment::new();
        // A page with an undefined value fails, so its test finds it. Only an `if` may test an
        // undefined value.
        templates.set_undefined_behavior(UndefinedBehavior::SemiStrict);
        templates.set_auto_escape_callback(|name| {
            if name == "pages.css" { AutoEscape::None } else { AutoEscape::Html }
        });
        for (name, source) in TEMPLATES {
            templates
                .add_template(name, source)
                .map_err(|error| WebPagesError(error.to_string()))?;
        }
        let catalogues = catalogues().map_err(|error| WebPagesError(error.to_string()))?;
        let headers = headers(&settings);
        Ok(Self { settings, templates, catalogues, headers })
    }

    /// Adds the headers of every page, except those that the response has already.
    pub(super) fn with_page_headers(&self, mut response: Response) -> Response {
        for (name, value) in &self.headers {
            response.headers_mut().entry(name).or_insert_with(|| value.clone());
        }
        response
    }

    /// The catalogue of a language.
    pub(crate) fn texts(&self, language: Language) -> &Catalogue {
        // Never used: `new` loads the catalogue of every language.
        static EMPTY: Catalogue = Catalogue::new();
        self.catalogues.get(&language).unwrap_or(&EMPTY)
    }

    /// Returns the text with this key, with its placeholders replaced.
    pub(crate) fn text(&self, language: Language, key: &str, values: &[(&str, &str)]) -> String {
        let text = self.texts(language).get(key);
        debug_assert!(text.is_some(), "the catalogue has no text `{key}`");
        interpolate(text.map_or("", String::as_str), values)
    }

    pub(crate) fn page(
        &self,
        name: &str,
        language: Language,
        status: StatusCode,
        values: minijinja::Value,
    ) -> Result<Response, ApiError> {
        let all = context! {
            t => Serde(self.texts(language)),
            brand => Serde(&self.settings.brand),
            ..values
        };
        let rendered = self.templates.get_template(name).and_then(|template| template.render(all));
        let page = rendered.map_err(|error| {
            ApiError::internal(format!("the page {name} cannot be rendered: {error}"))
        })?;
        Ok((status, Extension(AlreadyPage), Html(page)).into_response())
    }

    /// The stylesheet of all pages.
    pub(crate) fn stylesheet(&self) -> Result<Response, ApiError> {
        let template = self.templates.get_template("pages.css");
        let stylesheet = template.and_then(|template| {
            template.render(context! { brand => Serde(&self.settings.brand) })
        });
        let stylesheet = stylesheet.map_err(|error| {
            ApiError::internal(format!("the stylesheet cannot be rendered: {error}"))
        })?;
        let headers = [
            (header::CONTENT_TYPE, "text/css; charset=utf-8"),
            (header::CACHE_CONTROL, "max-age=600"),
        ];
        Ok((headers, stylesheet).into_response())
    }

    /// A page with a title (by its key), a text and, optionally, a link: its path and the key of
    /// its label.
    pub(crate) fn message(
        &self,
        (language, audience): (Language, Audience),
        status: StatusCode,
        (title, text): (&str, String),
        link: Option<(&str, &str)>,
    ) -> Result<Response, ApiError> {
        let (title, texts) = (self.text(language, title, &[]), self.texts(language));
        let (link, link_text) =
            link.map(|(path, label)| (path.to_owned(), texts.get(label).cloned())).unzip();
        let values = context! { layout => audience.layout(), title, text, link, link_text };
        self.page("message.html", language, status, values)
    }

    /// Returns the label of an enum's value, such as a status or an action. A value without a text
    /// in the catalogue is its own label.
    pub(crate) fn label(&self, language: Language, kind: &str, value: &str) -> String {
        self.texts(language)
            .get(&format!("{kind}_{value}"))
            .cloned()
            .unwrap_or_else(|| value.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_replaced_once() {
        let values = [("company", "{email}"), ("email", "a@b")];
        for (text, expected) in [
            ("For {company}: to {email}.", "For {email}: to a@b."),
            ("{email}{email}", "a@ba@b"),
            ("{other} {", "{other} {"),
            ("{{email}}", "{a@b}"),
            ("", ""),
        ] {
            assert_eq!(interpolate(text, &values), expected);
        }
    }
}
