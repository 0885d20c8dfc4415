//! The pages, out of their templates and catalogues.

use std::collections::BTreeMap;

use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse as _, Response};
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, context};
use serde_json::Value;

use super::language::{Catalogue, Language, catalogues};
use crate::problem::ApiError;

const TEMPLATES: [(&str, &str); 14] = [
    ("layout.html", include_str!("../../templates/door/layout.html")),
    ("signup.html", include_str!("../../templates/door/signup.html")),
    ("done.html", include_str!("../../templates/door/done.html")),
    ("message.html", include_str!("../../templates/door/message.html")),
    ("sign_in.html", include_str!("../../templates/door/sign_in.html")),
    ("link.html", include_str!("../../templates/door/link.html")),
    ("portal.html", include_str!("../../templates/door/portal.html")),
    ("reissue.html", include_str!("../../templates/door/reissue.html")),
    ("console_layout.html", include_str!("../../templates/door/console_layout.html")),
    ("console_sign_in.html", include_str!("../../templates/door/console_sign_in.html")),
    ("console.html", include_str!("../../templates/door/console.html")),
    ("console_tenant.html", include_str!("../../templates/door/console_tenant.html")),
    ("console_confirm.html", include_str!("../../templates/door/console_confirm.html")),
    ("door.css", include_str!("../../templates/door/door.css")),
];

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
    /// Domains whose addresses are not registered, nor those of domains below them.
    pub blocked_domains: Vec<String>,
    /// Where the pages are reached. Where that is https, cookies go nowhere else.
    pub public_url: String,
}

/// Why there are no pages.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    /// A template or a catalogue is damaged.
    #[error("the pages cannot be read: {0}")]
    Pages(String),
    /// A setting that cannot be used.
    #[error("`door.blocked_domains`: `{0}` is no domain")]
    Domain(String),
}

/// A domain as it is compared: in ASCII, by IDNA (UTS #46), in lower case.
fn compared(domain: &str) -> Option<String> {
    let ascii = idna::domain_to_ascii_strict(domain.trim_end_matches('.')).ok()?;
    Some(ascii).filter(|ascii| !ascii.is_empty())
}

/// The pages.
pub struct Door {
    pub(crate) settings: DoorSettings,
    templates: Environment<'static>,
    catalogues: BTreeMap<Language, Catalogue>,
    /// As they are compared.
    blocked: Vec<String>,
}

/// Which side of the door a page is on.
#[derive(Clone, Copy)]
pub(crate) enum Side {
    Customers,
    Operators,
}

impl Side {
    fn layout(self) -> &'static str {
        match self {
            Self::Customers => "layout.html",
            Self::Operators => "console_layout.html",
        }
    }
}

/// A page is shown as it is, also where its status is an error's.
#[derive(Clone, Copy)]
pub(crate) struct Shown;

/// Marks a page.
pub(crate) fn marked(mut response: Response) -> Response {
    response.extensions_mut().insert(Shown);
    response
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

impl Door {
    /// Reads the pages.
    pub fn new(settings: DoorSettings) -> Result<Self, DoorError> {
        let mut templates = Environment::new();
        templates.set_auto_escape_callback(|name| if name == "door.css" { AutoEscape::None } else { AutoEscape::Html });
        for (name, source) in TEMPLATES {
            templates.add_template(name, source).map_err(|error| DoorError::Pages(error.to_string()))?;
        }
        let catalogues = catalogues().map_err(|error| DoorError::Pages(error.to_string()))?;
        let blocked =
            settings.blocked_domains.iter().map(|it| compared(it).ok_or_else(|| DoorError::Domain(it.clone())));
        let blocked = blocked.collect::<Result<_, _>>()?;
        Ok(Self { settings, templates, catalogues, blocked })
    }

    /// Whether addresses like this one are not registered.
    pub(crate) fn is_blocked(&self, email: &str) -> bool {
        let domain = email.trim().rsplit('@').next().and_then(compared);
        domain.is_some_and(|domain| {
            self.blocked.iter().any(|it| {
                domain.strip_suffix(it.as_str()).is_some_and(|above| above.is_empty() || above.ends_with('.'))
            })
        })
    }

    /// Whether cookies go over https only.
    pub(crate) fn is_secure(&self) -> bool {
        self.settings.public_url.starts_with("https://")
    }

    /// The texts of a language.
    pub(crate) fn texts(&self, language: Language) -> &Catalogue {
        // There is one of each: all are read when the door is made.
        static NONE: Catalogue = Catalogue::new();
        self.catalogues.get(&language).unwrap_or(&NONE)
    }

    /// A text with its gaps filled.
    pub(crate) fn text(&self, language: Language, name: &str, gaps: &[(&str, &str)]) -> String {
        let text = self.texts(language).get(name).cloned().unwrap_or_default();
        filled(&text, gaps)
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
        let page = rendered.map_err(|error| ApiError::internal(format!("the page {name} cannot be shown: {error}")))?;
        Ok(marked((status, Html(page)).into_response()))
    }

    /// The style of all pages.
    pub(crate) fn style(&self) -> Result<Response, ApiError> {
        let template = self.templates.get_template("door.css");
        let style = template.and_then(|template| template.render(context! { brand => Serde(&self.settings.brand) }));
        let style = style.map_err(|error| ApiError::internal(format!("the style cannot be made: {error}")))?;
        let headers = [(header::CONTENT_TYPE, "text/css; charset=utf-8"), (header::CACHE_CONTROL, "max-age=600")];
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
        let (link, link_text) = link.map(|(to, name)| (to.to_owned(), texts.get(name).cloned())).unzip();
        let values = context! { layout => side.layout(), title, text, link, link_text };
        self.page("message.html", language, status, values)
    }

    /// What one of our words is called: a status, an action. One that no text is written for is shown as it is.
    pub(crate) fn word(&self, language: Language, kind: &str, word: &str) -> String {
        self.texts(language).get(&format!("{kind}_{word}")).cloned().unwrap_or_else(|| word.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blocked_domain_is_known_however_it_is_written() {
        let settings = |blocked: &str| DoorSettings {
            brand: Value::Null,
            self_service: vec![],
            products: vec![],
            checkout_url: None,
            blocked_domains: vec![blocked.to_owned()],
            public_url: String::new(),
        };
        for (blocked, email, expected) in [
            ("Spam.example", "a@spam.example", true),
            ("spam.example", "a@mail.SPAM.example ", true),
            ("spam.example", "a@nospam.example", false),
            ("spam.example", "a@spam.example.org", false),
            ("bücher.example", "a@BÜCHER.example", true),
            ("bücher.example", "a@xn--bcher-kva.example", true),
            ("xn--bcher-kva.example", "a@shop.bücher.example", true),
            ("spam.example", "a@ｓｐａｍ．example", true),
            ("spam.example", "a@spam.example.", true),
            ("spam.example", "", false),
        ] {
            assert_eq!(Door::new(settings(blocked)).unwrap().is_blocked(email), expected, "{blocked} {email}");
        }
        for no_domain in ["", "spam example", "."] {
            assert!(matches!(Door::new(settings(no_domain)), Err(DoorError::Domain(_))), "{no_domain}");
        }
    }

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
