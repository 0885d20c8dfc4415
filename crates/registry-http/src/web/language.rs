//! The languages of the pages, and which one a reader wants.

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

/// All texts of a language, by their names.
pub(crate) type Catalogue = BTreeMap<String, String>;

/// The catalogues.
pub(crate) fn catalogues() -> Result<BTreeMap<Language, Catalogue>, serde_json::Error> {
    ALL.iter().map(|(language, _, text)| Ok((*language, serde_json::from_str(text)?))).collect()
}

impl Language {
    /// What the reader's browser asks for.
    pub(super) fn of_headers(headers: &HeaderMap) -> Self {
        let accepted = headers.get(ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
        Self::of(accepted.unwrap_or_default())
    }

    /// The first of the reader's languages, by their weight, that there is a catalogue for; else
    /// English.
    fn of(accepted: &str) -> Self {
        let mut wanted: Vec<(f32, &str)> = accepted
            .split(',')
            .filter_map(|part| {
                let (range, weight) = part.split_once(';').unwrap_or((part, "q=1"));
                let weight = weight.trim().strip_prefix("q=")?.trim();
                Some((weight.parse().ok()?, range.trim()))
            })
            .filter(|(weight, _)| *weight > 0.0 && *weight <= 1.0)
            .collect();
        // Stable: of the same weight, the first one named.
        wanted.sort_by(|(left, _), (right, _)| right.total_cmp(left));
        let known = |range: &str| {
            let primary = range.split('-').next().unwrap_or_default().to_ascii_lowercase();
            ALL.iter().find(|(_, name, _)| *name == primary).map(|(language, ..)| *language)
        };
        wanted.into_iter().find_map(|(_, range)| known(range)).unwrap_or(Self::English)
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
    use registry_core::signup::Mistake;
    use registry_core::tenant::TenantStatus;

    use super::*;

    #[test]
    fn the_reader_gets_the_first_language_there_is() {
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
            assert_eq!(Language::of(accepted), language, "{accepted}");
        }
    }

    #[test]
    fn every_word_of_ours_has_a_text() {
        let english = catalogues().unwrap().remove(&Language::English).unwrap();
        let words: [(&str, Vec<&str>); 6] = [
            ("action", Action::ALL.iter().map(|it| it.as_str()).collect()),
            ("code", NewestCode::ALL.iter().map(|it| it.as_str()).collect()),
            ("mail", MailState::ALL.iter().map(|it| it.as_str()).collect()),
            ("status", TenantStatus::ALL.iter().map(|it| it.as_str()).collect()),
            ("wrong", Mistake::ALL.iter().map(|it| it.as_str()).collect()),
            ("kind", vec!["install_code", "install_code_reissued", "portal_link"]),
        ];
        for (kind, words) in words {
            for word in words {
                assert!(english.contains_key(&format!("{kind}_{word}")), "{kind}_{word}");
            }
        }
    }

    #[test]
    fn every_text_stands_in_every_language() {
        let catalogues = catalogues().unwrap();
        let names = |language| catalogues[&language].keys().collect::<Vec<_>>();
        assert_eq!(names(Language::English), names(Language::German));
        let gaps = |text: &str| {
            let mut gaps: Vec<_> = text
                .split('{')
                .skip(1)
                .map(|it| it.split('}').next().unwrap().to_owned())
                .collect();
            gaps.sort();
            gaps
        };
        for (name, text) in &catalogues[&Language::English] {
            assert!(!text.trim().is_empty(), "{name}");
            assert_eq!(gaps(text), gaps(&catalogues[&Language::German][name]), "{name}");
        }
    }
}
