//! The languages of the pages, and the choice of one for each request.

use std::collections::BTreeMap;
use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::header::ACCEPT_LANGUAGE;
use axum::http::request::Parts;

/// A language.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Language {
    English,
    German,
}

const ALL: [(Language, &str, &str); 2] = [
    (Language::English, "en", include_str!("../../catalogue/en.json")),
    (Language::German, "de", include_str!("../../catalogue/de.json")),
];

/// All texts of a language, by their keys.
pub(crate) type Catalogue = BTreeMap<String, String>;

/// Parses the catalogues of all languages.
pub(crate) fn catalogues() -> Result<BTreeMap<Language, Catalogue>, serde_json::Error> {
    ALL.iter().map(|(language, _, text)| Ok((*language, serde_json::from_str(text)?))).collect()
}

impl Language {
    /// Returns the language that the browser prefers.
    pub(super) fn of_headers(headers: &HeaderMap) -> Self {
        let accepted = headers.get(ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
        Self::of_accepted(accepted.unwrap_or_default())
    }

    /// Returns the language with a catalogue that has the highest weight in `Accept-Language`, or
    /// English.
    fn of_accepted(accepted: &str) -> Self {
        let mut ranges: Vec<(f32, &str)> = accepted
            .split(',')
            .filter_map(|part| {
                let (range, weight) = part.split_once(';').unwrap_or((part, "q=1"));
                let weight = weight.trim().strip_prefix("q=")?.trim();
                Some((weight.parse().ok()?, range.trim()))
            })
            .filter(|(weight, _)| *weight > 0.0 && *weight <= 1.0)
            .collect();
        // The sort is stable: of two with the same weight, the first in the header wins.
        ranges.sort_by(|(left, _), (right, _)| right.total_cmp(left));
        let known = |range: &str| {
            let primary = range.split('-').next().unwrap_or_default().to_ascii_lowercase();
            ALL.iter().find(|(_, name, _)| *name == primary).map(|(language, ..)| *language)
        };
        ranges.into_iter().find_map(|(_, range)| known(range)).unwrap_or(Self::English)
    }
}

impl<S: Sync> FromRequestParts<S> for Language {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of_headers(&parts.headers))
    }
}

#[cfg(test)]
mod tests {
    use registry_core::audit::Action;
    use registry_core::mail::MailState;
    use registry_core::registry::directory::NewestCode;
    use registry_core::signup::FieldError;
    use registry_core::tenant::TenantStatus;

    use super::*;

    #[test]
    fn preferred_language_is_chosen() {
        for (accepted, language) in [
            ("", Language::English),
            ("de", Language::German),
            ("de-CH, en;q=0.5", Language::German),
            ("fr, en;q=0.3, de;q=0.7", Language::German),
            ("en-GB,en;q=0.9,de;q=0.8", Language::English),
            ("de;q=0, en", Language::English),
            ("*", Language::English),
            (";;;q=x", Language::English),
            ("en ; q=0.5, de ; q=0.9", Language::German),
            ("en; q=0, de; q=1", Language::German),
            ("de;q=inf, en", Language::English),
        ] {
            assert_eq!(Language::of_accepted(accepted), language, "{accepted}");
        }
    }

    #[test]
    fn every_enum_value_has_a_label() {
        let english = catalogues().unwrap().remove(&Language::English).unwrap();
        let values: [(&str, Vec<&str>); 6] = [
            ("action", Action::ALL.iter().map(|it| it.as_str()).collect()),
            ("code", NewestCode::ALL.iter().map(|it| it.as_str()).collect()),
            ("mail", MailState::ALL.iter().map(|it| it.as_str()).collect()),
            ("status", TenantStatus::ALL.iter().map(|it| it.as_str()).collect()),
            ("mistake", FieldError::ALL.iter().map(|it| it.as_str()).collect()),
            ("kind", vec!["install_code", "install_code_reissued", "portal_link"]),
        ];
        for (kind, values) in values {
            for value in values {
                assert!(english.contains_key(&format!("{kind}_{value}")), "{kind}_{value}");
            }
        }
    }

    #[test]
    fn catalogues_have_the_same_keys_and_placeholders() {
        let catalogues = catalogues().unwrap();
        let keys = |language| catalogues[&language].keys().collect::<Vec<_>>();
        assert_eq!(keys(Language::English), keys(Language::German));
        let placeholders = |text: &str| {
            let mut names: Vec<_> = text
                .split('{')
                .skip(1)
                .map(|it| it.split('}').next().unwrap().to_owned())
                .collect();
            names.sort();
            names
        };
        for (key, text) in &catalogues[&Language::English] {
            let german = &catalogues[&Language::German][key];
            assert!(!text.trim().is_empty() && !german.trim().is_empty(), "{key}");
            assert_eq!(placeholders(text), placeholders(german), "{key}");
        }
    }
}
