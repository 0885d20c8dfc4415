//! Editions: a catalogue in the configuration, not names in the code.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Refusal;

/// The name of an edition.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EditionName(String);

impl EditionName {
    /// Takes a name from the catalogue or from the store; clients' texts go through
    /// [`EditionCatalogue::find`].
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// The name.
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
    /// Its name in requests and answers.
    pub name: EditionName,
    /// The license tier of a paid edition; a free one has none, and never gets a license.
    #[serde(default)]
    pub tier: Option<String>,
    /// Other names that are read as this one.
    #[serde(default)]
    pub aliases: Vec<String>,
}

/// The editions of this vendor.
#[derive(Clone, Debug)]
pub struct EditionCatalogue {
    editions: Vec<Edition>,
    free: EditionName,
}

/// Why a catalogue cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CatalogueError {
    /// Tenants whose entitlement ends fall back to a free edition; there must be one.
    #[error(
        "no edition without a `tier`: a tenant whose entitlement ends needs a free edition to fall back to"
    )]
    NoFreeEdition,
    /// A name or an alias stands twice.
    #[error("the edition name `{0}` stands twice")]
    Duplicate(String),
    /// A license tier is called like a free edition: a license for it would be taken for none.
    #[error("the tier `{0}` is called like a free edition")]
    FreeTier(String),
    /// A name is empty.
    #[error("an edition has an empty name or tier")]
    Empty,
}

impl Default for EditionCatalogue {
    /// `essentials` (free) and `pro` (tier `pro`, also read from `premium`).
    fn default() -> Self {
        let edition = |name: &str, tier: Option<&str>, aliases: &[&str]| Edition {
            name: EditionName::new(name),
            tier: tier.map(str::to_owned),
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

impl EditionCatalogue {
    /// Checks and takes a catalogue. The first free edition is the one that ended entitlements fall
    /// back to.
    pub fn new(editions: Vec<Edition>) -> Result<Self, CatalogueError> {
        let mut seen = std::collections::BTreeSet::new();
        for edition in &editions {
            if edition.name.as_str().is_empty() || edition.tier.as_deref() == Some("") {
                return Err(CatalogueError::Empty);
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
        // The clients in the field take `essentials` for free, whatever the catalogue says.
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

    /// Finds the edition a client names, aliases included.
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

    /// The license tier of an edition; `None` for a free or a removed one.
    #[must_use]
    pub fn tier(&self, name: &EditionName) -> Option<&str> {
        self.find(name.as_str()).ok()?.tier.as_deref()
    }

    /// The edition of whoever has no active entitlement.
    #[must_use]
    pub fn free(&self) -> &EditionName {
        &self.free
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn a_catalogue_without_a_free_edition_or_with_a_name_twice_is_refused() {
        let edition = |name: &str, tier: Option<&str>| Edition {
            name: EditionName::new(name),
            tier: tier.map(str::to_owned),
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
