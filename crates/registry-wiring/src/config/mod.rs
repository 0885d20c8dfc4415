//! The configuration: one TOML file, each key also as an environment variable, and a default for
//! every key that can have one.
//!
//! `a.b` in the file is `REGISTRY_A_B` in the environment, and the environment takes precedence. An
//! unknown key is an error: a misspelt key would silently leave the default in force.

mod check;
mod load;
mod page;
mod renamed;
mod schema;
mod sections;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;
use chrono::TimeDelta;
use registry_core::edition::{Edition, EditionCatalogue};
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer};
use zeroize::Zeroizing;

use self::schema::{Describe, section};
pub use load::{Loaded, Origin};
pub use page::page;
pub use schema::{Entry, Value};
pub use sections::{
    Branding, Codes, Database, Downloads, Http, License, Log, Mail, RateLimit, Retention, S3,
    SignIn, Smtp, Web,
};

section!(
    /// The whole configuration.
    Config {
        /// Data folder.
        data: PathBuf = "registry-data".into(),
        /// Address and port that registryd listens on.
        listen: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 8080)),
        /// URL at which customers and appliances reach registryd, without a path. Links and the
        /// check-in URL begin with it. By default `http://` and the listening address; required if
        /// `listen` is not a loopback address.
        public_url: Option<String> = None,
        /// URL at which customers re-issue their codes: refusals and mails name it. By default
        /// `/portal` of this registry, if `web.enabled`.
        portal_url: Option<String> = None,
        /// File with the service token, at least 32 visible ASCII characters, mode 0600. It
        /// replaces the generated token.
        service_token_file: Option<PathBuf> = None,
        /// File with the master key, 64 hexadecimal digits a line, the current key first and older
        /// keys after it, mode 0600. It replaces the generated key.
        master_key_file: Option<PathBuf> = None,
        /// Products. A request that names no product gets the first one. The pages show no product
        /// if there is only one.
        products: Vec<String> = vec!["default".to_owned()],
        /// Editions, each a table with a `name`; a `tier` if licenses are signed for it; a `label`
        /// that people read, by default the name; and `aliases`, other names that are accepted.
        /// By default the free edition `essentials` and the paid edition `pro`, with the tier
        /// `pro` and the alias `premium`. The first edition without a tier is the one that a
        /// tenant falls back to when its entitlement ends.
        editions: Option<Vec<Edition>> = None,
        /// The database.
        database: Database = Database::default(),
        /// Codes.
        codes: Codes = Codes::default(),
        /// Rate limits.
        rate_limit: RateLimit = RateLimit::default(),
        /// Pages.
        web: Web = Web::default(),
        /// Sign-in links and sessions.
        sign_in: SignIn = SignIn::default(),
        /// Licenses.
        license: License = License::default(),
        /// Download links.
        downloads: Downloads = Downloads::default(),
        /// The bucket of the images.
        s3: Option<S3> = None,
        /// Mail.
        mail: Mail = Mail::default(),
        /// Branding.
        branding: Branding = Branding::default(),
        /// Retention.
        retention: Retention = Retention::default(),
        /// The HTTP server.
        http: Http = Http::default(),
        /// The log.
        log: Log = Log::default(),
    }
);

/// A secret in the configuration.
#[derive(Clone)]
pub struct SecretText(Zeroizing<String>);

impl SecretText {
    /// The secret itself.
    #[must_use]
    pub fn expose(&self) -> &Zeroizing<String> {
        &self.0
    }
}

impl<'de> Deserialize<'de> for SecretText {
    /// Errors never contain the value.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const NOT_TEXT: &str = "a secret must be text in quotes";

        struct Text;

        impl Visitor<'_> for Text {
            type Value = SecretText;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text in quotes")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<SecretText, E> {
                Ok(SecretText(Zeroizing::new(text.to_owned())))
            }

            fn visit_i64<E: de::Error>(self, _: i64) -> Result<SecretText, E> {
                Err(E::custom(NOT_TEXT))
            }

            fn visit_u64<E: de::Error>(self, _: u64) -> Result<SecretText, E> {
                Err(E::custom(NOT_TEXT))
            }

            fn visit_i128<E: de::Error>(self, _: i128) -> Result<SecretText, E> {
                Err(E::custom(NOT_TEXT))
            }

            fn visit_u128<E: de::Error>(self, _: u128) -> Result<SecretText, E> {
                Err(E::custom(NOT_TEXT))
            }

            fn visit_f64<E: de::Error>(self, _: f64) -> Result<SecretText, E> {
                Err(E::custom(NOT_TEXT))
            }

            fn visit_bool<E: de::Error>(self, _: bool) -> Result<SecretText, E> {
                Err(E::custom(NOT_TEXT))
            }
        }

        deserializer.deserialize_any(Text)
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(..)")
    }
}

/// Algorithm of a license key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Algorithm {
    /// Ed25519.
    #[serde(rename = "EdDSA")]
    EdDsa,
    /// P-256.
    #[serde(rename = "ES256")]
    Es256,
}

/// TLS mode of the mail server's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TlsMode {
    /// STARTTLS; the connection is refused if the upgrade fails.
    StartTls,
    /// TLS from the first byte.
    Implicit,
    /// No TLS.
    None,
}

/// Format of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Readable text.
    Human,
    /// One JSON object per line.
    Json,
}

/// A duration, written as `7d`, `10m`, `1h 30m`.
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

    const fn milliseconds(milliseconds: i64) -> Self {
        Self(TimeDelta::milliseconds(milliseconds))
    }

    const fn seconds(seconds: i64) -> Self {
        Self(TimeDelta::seconds(seconds))
    }

    /// Converts to a standard duration; a negative one becomes zero.
    #[must_use]
    pub fn to_std(self) -> std::time::Duration {
        self.0.to_std().unwrap_or_default()
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
        let (mut rest, mut space) = (self.0.num_milliseconds(), "");
        for (unit, size) in units {
            if rest >= size {
                write!(f, "{space}{}{unit}", rest / size)?;
                (rest, space) = (rest % size, " ");
            }
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        let text = String::deserialize(deserializer)?;
        let parsed = humantime::parse_duration(&text).map_err(|error| {
            D::Error::custom(format!("`{text}` is not a duration such as `7d`: {error}"))
        })?;
        match TimeDelta::from_std(parsed) {
            Ok(span) if span >= TimeDelta::milliseconds(1) && span <= TimeDelta::days(36_500) => {
                Ok(Self(span))
            }
            _ => Err(D::Error::custom(format!(
                "`{text}` must be at least 1ms and at most 100 years"
            ))),
        }
    }
}

impl Config {
    /// Every section and key, in the order of `docs/configuration.md`, with its value here.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        let mut entries = Vec::new();
        self.describe("", "", &mut entries);
        entries
    }

    /// Number of files that registryd may have open beside its connections to clients: connections
    /// to PostgreSQL, the database file, images, mails, and those of the runtime.
    #[must_use]
    pub fn other_files(&self) -> usize {
        40 + if self.database.is_postgres() { self.database.pool_size } else { 0 }
    }

    /// Number of files that a connection to a client may need: registryd reads images of its own for
    /// it.
    #[must_use]
    pub fn files_per_connection(&self) -> usize {
        if self.s3.is_some() { 1 } else { 2 }
    }

    /// URL at which customers re-issue codes: `portal_url`, or else the portal of this registry's
    /// pages.
    pub(crate) fn portal(&self, public_url: &str) -> Option<String> {
        let own =
            || self.web.enabled.then(|| format!("{}/portal", public_url.trim_end_matches('/')));
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

impl Codes {
    /// Returns the length of a new activation code.
    #[must_use]
    pub fn activation_length(&self) -> usize {
        self.activation_length.unwrap_or(self.length)
    }
}
