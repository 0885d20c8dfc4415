//! The pages, out of their templates and catalogues.

use std::collections::BTreeMap;

use axum::Extension;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::{Html, IntoResponse as _, Response};
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, UndefinedBehavior, context};
use registry_core::signup::SelfService;
use serde_json::Value;

use super::language::{Catalogue, Language, catalogues};
use crate::problem::ApiError;

const TEMPLATES: [(&str, &str); 14] = [
    ("layout.html", include_str!("../../templates/web/layout.html")),
    ("signup.html", include_str!("../../templates/web/signup.html")),
    ("done.html", include_str!("../../templates/web/done.html")),
    ("message.html", include_str!("../../templates/web/message.html")),
    ("sign_in.html", include_str!("../../templates/web/sign_in.html")),
    ("link.html", include_str!("../../templates/web/link.html")),
    ("portal.html", include_str!("../../templates/web/portal.html")),
    ("reissue.html", include_str!("../../templates/web/reissue.html")),
    ("console_layout.html", include_str!("../../templates/web/console_layout.html")),
    ("console_sign_in.html", include_str!("../../templates/web/console_sign_in.html")),
    ("console.html", include_str!("../../templates/web/console.html")),
    ("console_tenant.html", include_str!("../../templates/web/console_tenant.html")),
    ("console_confirm.html", include_str!("../../templates/web/console_confirm.html")),
    ("pages.css", include_str!("../../templates/web/pages.css")),
];

/// What a vendor sets for the pages.
#[derive(Clone, Debug)]
pub struct WebSettings {
    /// The branding: `product`, `vendor`, `color`, `on_color`, `logo_url`, `support_link`, as mails
    /// have it.
    pub brand: Value,
    /// What customers register by themselves.
    pub self_service: SelfService,
    /// Where customers buy other editions.
    pub checkout_url: Option<String>,
    /// Where the pages are reached. Where that is https, cookies go nowhere else.
    pub public_url: String,
}

impl WebSettings {
    /// Whether the pages are reached over https, and cookies go nowhere else.
    pub(super) fn is_secure(&self) -> bool {
        self.public_url.starts_with("https://")
    }
}

/// Why there are no pages.
#[derive(Debug, thiserror::Error)]
#[error("the pages cannot be read: {0}")]
pub struct WebPagesError(String);

/// The pages.
pub struct WebPages {
    pub(crate) settings: WebSettings,
    templates: Environment<'static>,
    catalogues: BTreeMap<Language, Catalogue>,
    headers: HeaderMap,
}

/// Which side of the door a page is on.
#[derive(Clone, Copy)]
pub(crate) enum Side {
    Customers,
    Operators,
}

impl Side {
    /// The side that a path is on.
    pub(super) fn of(path: &str) -> Self {
        if path.starts_with("/console") { Self::Operators } else { Self::Customers }
    }

    fn layout(self) -> &'static str {
        match self {
            Self::Customers => "layout.html",
            Self::Operators => "console_layout.html",
        }
    }
}

/// A page is shown as it is, also where its status is an error's.
#[derive(Clone, Copy)]
pub(crate) struct AlreadyPage;

/// The headers of every page.
fn headers(settings: &WebSettings) -> HeaderMap {
    // The logo is the only thing that comes from elsewhere.
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
        "default-src 'none'; style-src 'self'; img-src 'self'{}; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
        origin.unwrap_or_default()
    );
    let mut headers = HeaderMap::new();
    let all = [
        (header::CONTENT_SECURITY_POLICY, policy.as_str()),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // The browser says in `Origin` where our own forms come from, and tells others nothing.
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
        // Browsers that were here once come by https only, for a year (RFC 6797).
        headers.insert(
            header::STRICT_TRANSPORT_SECURITY,
            HeaderValue::from_static("max-age=31536000"),
        );
    }
    headers
}

/// Fills the `{gaps}` of a text; what fills them is not looked through again.
fn filled(text: &str, gaps: &[(&str, &str)]) -> String {
    let (mut filled, mut rest) = (String::with_capacity(text.len()), text);
    while let Some((before, after)) = rest.split_once('{') {
        let gap = after.split_once('}').and_then(|(name, tail)| {
            let (_, value) = gaps.iter().find(|(gap, _)| *gap == name)?;
            Some((*value, tail))
        });
        let (value, tail) = gap.unwrap_or(("{", after));
        filled.push_str(before);
        filled.push_str(value);
        rest = tail;
    }
    filled + rest
}

impl WebPages {
    /// Reads the pages.
    pub fn new(settings: WebSettings) -> Result<Self, WebPagesError> {
        let mut templates = Environment::new();
        // A text that is missing fails the page's test; whether something is there may be asked.
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

    /// With what every page has in its headers, but for those that it has already.
    pub(super) fn secured(&self, mut response: Response) -> Response {
        for (name, value) in &self.headers {
            response.headers_mut().entry(name).or_insert_with(|| value.clone());
        }
        response
    }

    /// The texts of a language.
    pub(crate) fn texts(&self, language: Language) -> &Catalogue {
        // There is one of each: all are read when the door is made.
        static NONE: Catalogue = Catalogue::new();
        self.catalogues.get(&language).unwrap_or(&NONE)
    }

    /// A text with its gaps filled.
    pub(crate) fn text(&self, language: Language, name: &str, gaps: &[(&str, &str)]) -> String {
        let text = self.texts(language).get(name);
        debug_assert!(text.is_some(), "no text is called {name}");
        filled(text.map_or("", String::as_str), gaps)
    }

    pub(crate) fn page(
        &self,
        name: &str,
        language: Language,
        status: StatusCode,
        values: minijinja::Value,
    ) -> Result<Response, ApiError> {
        let all = context! { t => Serde(self.texts(language)), brand => Serde(&self.settings.brand), ..values };
        let rendered = self.templates.get_template(name).and_then(|template| template.render(all));
        let page = rendered.map_err(|error| {
            ApiError::internal(format!("the page {name} cannot be shown: {error}"))
        })?;
        Ok((status, Extension(AlreadyPage), Html(page)).into_response())
    }

    /// The style of all pages.
    pub(crate) fn style(&self) -> Result<Response, ApiError> {
        let template = self.templates.get_template("pages.css");
        let style = template.and_then(|template| {
            template.render(context! { brand => Serde(&self.settings.brand) })
        });
        let style = style
            .map_err(|error| ApiError::internal(format!("the style cannot be made: {error}")))?;
        let headers = [
            (header::CONTENT_TYPE, "text/css; charset=utf-8"),
            (header::CACHE_CONTROL, "max-age=600"),
        ];
        Ok((headers, style).into_response())
    }

    /// A page that says one thing, on this side of the door.
    pub(crate) fn message(
        &self,
        (language, side): (Language, Side),
        status: StatusCode,
        (title, text): (&str, String),
        link: Option<(&str, &str)>,
    ) -> Result<Response, ApiError> {
        let (title, texts) = (self.text(language, title, &[]), self.texts(language));
        let (link, link_text) =
            link.map(|(to, name)| (to.to_owned(), texts.get(name).cloned())).unzip();
        let values = context! { layout => side.layout(), title, text, link, link_text };
        self.page("message.html", language, status, values)
    }

    /// What one of our words is called: a status, an action. One that no text is written for is
    /// shown as it is.
    pub(crate) fn word(&self, language: Language, kind: &str, word: &str) -> String {
        self.texts(language)
            .get(&format!("{kind}_{word}"))
            .cloned()
            .unwrap_or_else(|| word.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_filled_once() {
        let gaps = [("company", "{email}"), ("email", "a@b")];
        for (text, expected) in [
            ("For {company}: to {email}.", "For {email}: to a@b."),
            ("{email}{email}", "a@ba@b"),
            ("{other} {", "{other} {"),
            ("{{email}}", "{a@b}"),
            ("", ""),
        ] {
            assert_eq!(filled(text, &gaps), expected);
        }
    }
}
