//! The configuration: one TOML file, every key also as an environment variable, defaults that need no set-up.
//!
//! `a.b` in the file is `REGISTRY_A_B` in the environment, which goes before the file. Lists and tables are written in
//! the environment as TOML values. Unknown keys are refused: a misspelt one would else be a default in disguise.

mod load;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;
use chrono::TimeDelta;
use ipnet::IpNet;
use registry_core::edition::{Edition, EditionCatalogue};
use serde::{Deserialize, Deserializer};
use zeroize::Zeroizing;

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
    /// Where customers re-issue codes, where the vendor has such a place.
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
    /// Licenses.
    pub license: License,
    /// Download links.
    pub downloads: Downloads,
    /// Mail.
    pub mail: Mail,
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
            license: License::default(),
            downloads: Downloads::default(),
            mail: Mail::default(),
            http: Http::default(),
            log: Log::default(),
            editions: None,
            products: vec!["psa".to_owned(), "algadesk".to_owned()],
        }
    }
}

macro_rules! section {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty = $default:expr),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $type,)+
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default),+ }
            }
        }
    };
}

section!(
    /// The database: SQLite in the data folder, or PostgreSQL where a URL is given.
    Database {
        /// PostgreSQL's URL.
        url: Option<SecretText> = None,
        /// A file with that URL.
        url_file: Option<PathBuf> = None,
        /// How many connections to PostgreSQL there are at most.
        pool_size: usize = 16,
        /// How long a request waits for a connection.
        pool_wait: Span = Span::seconds(5),
        /// How long making a connection may take.
        connect_timeout: Span = Span::seconds(5),
        /// How long a statement may take.
        statement_timeout: Span = Span::seconds(10),
        /// How long a statement may wait for a lock.
        lock_timeout: Span = Span::seconds(5),
        /// Whether migrations are run at start; else `registryctl migrate` runs them.
        migrate: bool = true,
        /// Whether migrating also makes any part of a name quick to find, which takes the extension `pg_trgm`.
        search_by_part: bool = true,
    }
);

section!(
    /// Install codes.
    Codes {
        /// How many characters, 8 to 32.
        length: usize = 12,
        /// How long a code lives.
        lifetime: Span = Span::days(7),
        /// Whether an activation code whose entitlement was not bound to a tenant beforehand is refused.
        activation_needs_bound_tenant: bool = false,
    }
);

section!(
    /// The throttle of guesses.
    Guesses {
        /// How many unknown codes one source may try within the window.
        limit: u32 = 30,
        /// The window.
        window: Span = Span::minutes(10),
    }
);

section!(
    /// Licenses.
    License {
        /// The `iss` of every license.
        issuer: String = "appliance-registry".to_owned(),
        /// A PKCS#8 PEM file with the signing key (Ed25519 or P-256), instead of the generated one.
        key_file: Option<PathBuf> = None,
        /// The key's id, instead of its RFC 7638 thumbprint.
        kid: Option<String> = None,
        /// Which kind of key is made for a new data folder: `EdDSA` (Ed25519) or `ES256` (P-256).
        algorithm: Algorithm = Algorithm::EdDsa,
        /// How long a connected appliance's license lives.
        lifetime: Span = Span::days(31),
        /// How long an air-gapped appliance's license lives.
        airgap_lifetime: Span = Span::days(365),
        /// How often appliances are asked to check in, give or take a quarter.
        check_in_interval: Span = Span::days(1),
    }
);

section!(
    /// Download links.
    Downloads {
        /// How long a link lives; as long as a code unless given.
        lifetime: Option<Span> = None,
        /// The channel whose current release is offered.
        channel: String = "stable".to_owned(),
    }
);

section!(
    /// Mail.
    Mail {
        /// The address that mails come from.
        from: String = "registry@localhost".to_owned(),
        /// What mails call the product.
        product: String = "Appliance".to_owned(),
        /// Whether this process sends what waits in the outbox.
        worker: bool = true,
    }
);

section!(
    /// HTTP.
    Http {
        /// The largest request body, in bytes.
        body_limit: usize = 65_536,
        /// How long a request may take.
        request_timeout: Span = Span::seconds(30),
        /// How long a client may take to send its headers or its body.
        read_timeout: Span = Span::seconds(15),
        /// How long requests in flight have to finish at shutdown.
        shutdown_timeout: Span = Span::seconds(30),
        /// How many connections are served at once.
        connections: usize = 512,
        /// How long an answer can be had again under its `Idempotency-Key`.
        replay_window: Span = Span::days(1),
        /// The proxies whose header is believed.
        trusted_proxies: Vec<IpNet> = Vec::new(),
        /// The header that names the client behind a trusted proxy.
        source_header: String = "x-forwarded-for".to_owned(),
    }
);

section!(
    /// The log, on standard error.
    Log {
        /// `human` or `json`.
        format: LogFormat = LogFormat::Human,
        /// What is logged: `error`, `warn`, `info`, `debug`, or directives such as `info,registry_http=debug`.
        level: String = "info".to_owned(),
    }
);

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
        let parsed = humantime::parse_duration(&text)
            .map_err(|error| D::Error::custom(format!("`{text}` is not a length of time such as `7d`: {error}")))?;
        match TimeDelta::from_std(parsed) {
            Ok(span) if span > TimeDelta::zero() && span <= TimeDelta::days(36_500) => Ok(Self(span)),
            _ => Err(D::Error::custom(format!("`{text}` must be more than nothing and at most 100 years"))),
        }
    }
}

impl Database {
    /// Whether it is PostgreSQL.
    #[must_use]
    pub fn is_postgres(&self) -> bool {
        self.url.is_some() || self.url_file.is_some()
    }
}

impl Config {
    /// The catalogue of editions.
    pub fn catalogue(&self) -> anyhow::Result<EditionCatalogue> {
        match &self.editions {
            None => Ok(EditionCatalogue::default()),
            Some(editions) => EditionCatalogue::new(editions.clone()).context("`editions` cannot be used"),
        }
    }
}
