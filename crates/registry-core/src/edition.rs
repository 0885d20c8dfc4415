//! Editions. They are a catalogue in the configuration; the code has no names of editions.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Refusal;

/// The name of an edition.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EditionName(String);

impl EditionName {
    /// Wraps a name from the catalogue or the store. Names from clients go through
    /// [`EditionCatalogue::find`].
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EditionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An edition of the product.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edition {
    /// Name in requests and responses.
    pub name: EditionName,
    /// License tier of a paid edition. A free edition has none, and never gets a license.
    #[serde(default)]
    pub tier: Option<String>,
    /// Name that people read on pages and in mails. By default the name.
    #[serde(default)]
    pub label: Option<String>,
    /// Other names that clients may use for this edition.
    #[serde(default)]
    pub aliases: Vec<String>,
}

/// The vendor's editions.
#[derive(Clone, Debug)]
pub struct EditionCatalogue {
    editions: Vec<Edition>,
    free: EditionName,
}

/// Reasons why a catalogue is invalid.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CatalogueError {
    /// No edition is free. Tenants fall back to a free edition when their entitlement ends.
    #[error(
        "no edition without a `tier`: a tenant needs a free edition to fall back to when its \
         entitlement ends"
    )]
    NoFreeEdition,
    /// Two editions share a name or an alias.
    #[error("the edition name `{0}` is used twice")]
    Duplicate(String),
    /// A license tier has the name of a free edition: clients would treat such a license as none.
    #[error("the tier `{0}` has the name of a free edition")]
    FreeTier(String),
    /// A name or a tier is empty.
    #[error("an edition has an empty name or tier")]
    Empty,
    /// A label is empty, too long, or has a control character.
    #[error("the `label` of the edition `{0}` must have 1 to 100 characters on one line")]
    Label(String),
}

impl Default for EditionCatalogue {
    /// `essentials` (free) and `pro` (tier `pro`, alias `premium`).
    fn default() -> Self {
        let edition = |name: &str, tier: Option<&str>, aliases: &[&str]| Edition {
            name: EditionName::new(name),
            tier: tier.map(str::to_owned),
            label: None,
            aliases: aliases.iter().map(|&alias| alias.to_owned()).collect(),
        };
        Self {
            editions: vec![
                edition("essentials", None, &[]),
                edition("pro", Some("pro"), &["premium"]),
            ],
            free: EditionName::new("essentials"),
        }
    }
}

/// A label is shown on pages and in mails.
fn is_label(label: &str) -> bool {
    let length = label.trim().chars().count();
    (1..=100).contains(&length) && !label.contains(char::is_control)
}

impl EditionCatalogue {
    /// Validates a catalogue. Tenants whose entitlement ended fall back to the first free edition.
    pub fn new(editions: Vec<Edition>) -> Result<Self, CatalogueError> {
        let mut seen = std::collections::BTreeSet::new();
        for edition in &editions {
            if edition.name.as_str().is_empty() || edition.tier.as_deref() == Some("") {
                return Err(CatalogueError::Empty);
            }
            if edition.label.as_ref().is_some_and(|label| !is_label(label)) {
                return Err(CatalogueError::Label(edition.name.to_string()));
            }
            for name in edition.aliases.iter().map(String::as_str).chain([edition.name.as_str()]) {
                if !seen.insert(name) {
                    return Err(CatalogueError::Duplicate(name.to_owned()));
                }
            }
        }
        let free = editions
            .iter()
            .find(|edition| edition.tier.is_none())
            .ok_or(CatalogueError::NoFreeEdition)?;
        let free = free.name.clone();
        // Clients in the field treat `essentials` as free, even if the catalogue has no such
        // edition.
        let is_free = |tier: &&String| {
            *tier == "essentials"
                || editions.iter().any(|it| it.tier.is_none() && it.name.as_str() == **tier)
        };
        if let Some(tier) =
            editions.iter().filter_map(|edition| edition.tier.as_ref()).find(is_free)
        {
            return Err(CatalogueError::FreeTier(tier.clone()));
        }
        Ok(Self { editions, free })
    }

    /// Finds the edition that a client named, by name or alias.
    pub fn find(&self, name: &str) -> Result<&Edition, Refusal> {
        let known = |edition: &&Edition| {
            edition.name.as_str() == name || edition.aliases.iter().any(|a| a == name)
        };
        self.editions.iter().find(known).ok_or_else(|| {
            let names: Vec<_> = self.names().map(EditionName::as_str).collect();
            Refusal::Invalid {
                field: "edition",
                problem: format!("must be one of: {}", names.join(", ")),
            }
        })
    }

    /// The names of all editions.
    pub fn names(&self) -> impl Iterator<Item = &EditionName> {
        self.editions.iter().map(|edition| &edition.name)
    }

    /// The name of an edition that people read.
    #[must_use]
    pub fn label<'a>(&'a self, name: &'a EditionName) -> &'a str {
        let edition = self.editions.iter().find(|edition| edition.name == *name);
        edition.and_then(|edition| edition.label.as_deref()).unwrap_or(name.as_str())
    }

    /// The license tier of an edition; `None` for a free edition or one that was removed.
    #[must_use]
    pub fn tier(&self, name: &EditionName) -> Option<&str> {
        self.find(name.as_str()).ok()?.tier.as_deref()
    }

    /// The edition of tenants without an active entitlement.
    #[must_use]
    pub fn free(&self) -> &EditionName {
        &self.free
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_defaults_to_the_name() {
        let edition = |name: &str, label: Option<&str>| Edition {
            name: EditionName::new(name),
            tier: None,
            label: label.map(str::to_owned),
            aliases: Vec::new(),
        };
        let editions = vec![edition("free", Some("Community")), edition("other", None)];
        let catalogue = EditionCatalogue::new(editions).unwrap();
        for label in ["", " ", "two\nlines", &"x".repeat(101)] {
            let refused = EditionCatalogue::new(vec![edition("free", Some(label))]).unwrap_err();
            assert_eq!(refused, CatalogueError::Label("free".to_owned()), "{label:?}");
        }
        for (name, label) in [("free", "Community"), ("other", "other"), ("gone", "gone")] {
            assert_eq!(catalogue.label(&EditionName::new(name)), label);
        }
    }

    #[test]
    fn premium_is_read_as_pro() {
        let catalogue = EditionCatalogue::default();
        assert_eq!(catalogue.find("premium").unwrap().name.as_str(), "pro");
        assert_eq!(catalogue.find("pro").unwrap().tier.as_deref(), Some("pro"));
        assert_eq!(catalogue.find("essentials").unwrap().tier, None);
        assert!(matches!(
            catalogue.find("platinum"),
            Err(Refusal::Invalid { field: "edition", .. })
        ));
    }

    /// R-license-3: no tier may be named `essentials`.
    #[test]
    fn invalid_catalogue_is_refused() {
        let edition = |name: &str, tier: Option<&str>| Edition {
            name: EditionName::new(name),
            tier: tier.map(str::to_owned),
            label: None,
            aliases: vec![],
        };
        let refused = |editions| EditionCatalogue::new(editions).unwrap_err();
        assert_eq!(refused(vec![edition("pro", Some("pro"))]), CatalogueError::NoFreeEdition);
        assert_eq!(
            refused(vec![edition("a", None), edition("a", None)]),
            CatalogueError::Duplicate("a".into())
        );
        assert_eq!(refused(vec![edition("", None)]), CatalogueError::Empty);
        let confusing = vec![edition("essentials", None), edition("pro", Some("essentials"))];
        assert_eq!(refused(confusing), CatalogueError::FreeTier("essentials".into()));
        let other_names = vec![edition("free", None), edition("basic", Some("essentials"))];
        assert_eq!(refused(other_names), CatalogueError::FreeTier("essentials".into()));
    }
}
