//! The configuration: one TOML file, every key also as an environment variable, defaults that need
//! no set-up.
//!
//! `a.b` in the file is `REGISTRY_A_B` in the environment, which goes before the file. Lists and
//! tables are written in the environment as TOML values. Unknown keys are refused: a misspelt one
//! would else be a default in disguise.

mod check;
mod load;
mod sections;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;
use chrono::TimeDelta;
use registry_core::edition::{Edition, EditionCatalogue};
use serde::{Deserialize, Deserializer};
use zeroize::Zeroizing;

pub use sections::{
    Branding, Codes, Database, Downloads, Guesses, Http, License, Log, Mail, Retention, S3, Smtp,
    WebPages,
};

/// The whole configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The data folder.
    pub data: PathBuf,
    /// Where registryd listens.
    pub listen: SocketAddr,
    /// How customers and appliances reach it; required where `listen` is not loopback.
    pub public_url: Option<String>,
    /// Where customers re-issue codes, where the vendor has such a place of its own.
    pub portal_url: Option<String>,
    /// A file with the service token, instead of the generated one.
    pub service_token_file: Option<PathBuf>,
    /// A file with the master key, instead of the generated one.
    pub master_key_file: Option<PathBuf>,
    /// The database.
    pub database: Database,
    /// Install codes.
    pub codes: Codes,
    /// The throttle of guesses.
    pub guesses: Guesses,
    /// The pages for customers.
    pub door: WebPages,
    /// Licenses.
    pub license: License,
    /// Downloads.
    pub downloads: Downloads,
    /// The bucket that the images are in, if not the data folder.
    pub s3: Option<S3>,
    /// Mail.
    pub mail: Mail,
    /// How mails look.
    pub branding: Branding,
    /// How long what ended is kept.
    pub retention: Retention,
    /// HTTP.
    pub http: Http,
    /// The log.
    pub log: Log,
    /// The editions; `essentials` and `pro` unless given.
    pub editions: Option<Vec<Edition>>,
    /// The products, the first for whoever names none.
    pub products: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data: "registry-data".into(),
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            public_url: None,
            portal_url: None,
            service_token_file: None,
            master_key_file: None,
            database: Database::default(),
            codes: Codes::default(),
            guesses: Guesses::default(),
            door: WebPages::default(),
            license: License::default(),
            downloads: Downloads::default(),
            s3: None,
            mail: Mail::default(),
            branding: Branding::default(),
            retention: Retention::default(),
            http: Http::default(),
            log: Log::default(),
            editions: None,
            products: vec!["psa".to_owned(), "algadesk".to_owned()],
        }
    }
}

/// A secret of the configuration.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct SecretText(Zeroizing<String>);

impl SecretText {
    /// The secret itself.
    #[must_use]
    pub fn expose(&self) -> &Zeroizing<String> {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(..)")
    }
}

/// A kind of license key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Algorithm {
    /// Ed25519.
    #[serde(rename = "EdDSA")]
    EdDsa,
    /// P-256.
    #[serde(rename = "ES256")]
    Es256,
}

/// How the connection to a mail server is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TlsMode {
    /// It begins in clear and is upgraded, or not used.
    StartTls,
    /// From the first byte.
    Implicit,
    /// Not at all: on this machine only.
    None,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Human,
    /// A JSON object a line.
    Json,
}

/// A length of time, written as `7d`, `10m`, `1h 30m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub TimeDelta);

impl Span {
    const fn days(days: i64) -> Self {
        Self(TimeDelta::days(days))
    }

    const fn hours(hours: i64) -> Self {
        Self(TimeDelta::hours(hours))
    }

    const fn minutes(minutes: i64) -> Self {
        Self(TimeDelta::minutes(minutes))
    }

    const fn seconds(seconds: i64) -> Self {
        Self(TimeDelta::seconds(seconds))
    }

    /// The same as the standard library has it; nothing for a negative one.
    #[must_use]
    pub fn to_std(self) -> std::time::Duration {
        self.0.to_std().unwrap_or_default()
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        let text = String::deserialize(deserializer)?;
        let parsed = humantime::parse_duration(&text).map_err(|error| {
            D::Error::custom(format!("`{text}` is not a length of time such as `7d`: {error}"))
        })?;
        match TimeDelta::from_std(parsed) {
            Ok(span) if span > TimeDelta::zero() && span <= TimeDelta::days(36_500) => {
                Ok(Self(span))
            }
            _ => Err(D::Error::custom(format!(
                "`{text}` must be more than nothing and at most 100 years"
            ))),
        }
    }
}

impl Config {
    /// Where customers re-issue codes: where it says, or on the pages that are served at this
    /// address.
    pub(crate) fn portal(&self, public_url: &str) -> Option<String> {
        let own =
            || self.door.enabled.then(|| format!("{}/portal", public_url.trim_end_matches('/')));
        self.portal_url.clone().or_else(own)
    }

    /// The catalogue of editions.
    pub fn catalogue(&self) -> anyhow::Result<EditionCatalogue> {
        match &self.editions {
            None => Ok(EditionCatalogue::default()),
            Some(editions) => {
                EditionCatalogue::new(editions.clone()).context("`editions` cannot be used")
            }
        }
    }
}
