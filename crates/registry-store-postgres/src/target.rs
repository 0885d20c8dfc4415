//! Which database, and how it is reached: a URL as every PostgreSQL client takes it.

use std::path::PathBuf;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use tokio_postgres::Config;
use tokio_postgres::config::SslMode;
use zeroize::Zeroizing;

/// How the connections are made and bounded.
#[derive(Clone)]
pub struct PostgresOptions {
    /// `postgres://user:password@host:port/database?sslmode=…`. A secret: it may hold a password.
    pub url: Zeroizing<String>,
    /// How many connections there are at most. More than the server has cores for makes it slower.
    pub pool_size: usize,
    /// How long a caller waits for a connection before it is told that the database is busy.
    pub pool_wait: Duration,
    /// How long making a connection may take.
    pub connect_timeout: Duration,
    /// How long a statement may take.
    pub statement_timeout: Duration,
    /// How long a statement may wait for a lock.
    pub lock_timeout: Duration,
}

/// How far the server has to prove itself, as libpq's `sslmode` has it
/// (PostgreSQL documentation, "SSL Support", table 34.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tls {
    /// `disable`: never encrypted.
    Off,
    /// `prefer` and `require`: encrypted, with whoever answers.
    Unverified,
    /// `verify-ca`: the certificate is of a trusted authority.
    Authority(Option<PathBuf>),
    /// `verify-full`: and names the host.
    Host(Option<PathBuf>),
}

/// A database as named by a URL.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) config: Config,
    pub(crate) tls: Tls,
}

/// Why a URL names no database. Never holds the URL: it may hold a password.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// It is no URL of PostgreSQL's.
    #[error("it must look like postgres://user:password@host:5432/database?sslmode=verify-full")]
    NoUrl,
    /// A password holds a character that ends it.
    #[error(
        "a `?` in its password must be written as %3F, a `/` as %2F, an `@` as %40, a `#` as %23"
    )]
    Unencoded,
    /// A parameter has a value that it cannot have.
    #[error("its parameter `{name}` must be one of: {allowed}")]
    Value {
        /// The parameter.
        name: &'static str,
        /// What it may be.
        allowed: &'static str,
    },
    /// A parameter is not known.
    #[error("{0}")]
    Parameter(String),
}

impl Target {
    pub(crate) fn parse(text: &str, connect_timeout: Duration) -> Result<Self, UrlError> {
        if !text.starts_with("postgres://") && !text.starts_with("postgresql://") {
            return Err(UrlError::NoUrl);
        }
        let (base, query) = text.split_once('?').unwrap_or((text, ""));
        if query.contains('@') {
            return Err(UrlError::Unencoded);
        }
        let (mut mode, mut authority, mut others) = (None, None, Vec::new());
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let decoded = |value: &str| percent_decode_str(value).decode_utf8_lossy().into_owned();
            match pair.split_once('=') {
                Some(("sslmode", value)) => mode = Some(decoded(value)),
                Some(("sslrootcert", value)) => authority = Some(decoded(value)),
                _ => others.push(pair),
            }
        }
        let url = Zeroizing::new(format!("{base}?{}", others.join("&")));
        // libpq's word for the authorities that the operating system trusts: everybody can have
        // their certificate, so only the host's name proves anything (PostgreSQL documentation,
        // "sslrootcert").
        let system = authority.as_deref() == Some("system");
        let authority = authority.filter(|_| !system).map(PathBuf::from);
        let (ssl_mode, tls) = match (mode.as_deref().unwrap_or("prefer"), authority) {
            ("verify-full", path) => (SslMode::Require, Tls::Host(path)),
            (_, None) if system => {
                return Err(UrlError::Value {
                    name: "sslmode",
                    allowed: "verify-full, where sslrootcert is system",
                });
            }
            ("disable", _) => (SslMode::Disable, Tls::Off),
            ("prefer", _) => (SslMode::Prefer, Tls::Unverified),
            // As libpq: whoever names an authority wants it to be asked.
            ("require", Some(path)) => (SslMode::Require, Tls::Authority(Some(path))),
            ("require", None) => (SslMode::Require, Tls::Unverified),
            ("verify-ca", path) => (SslMode::Require, Tls::Authority(path)),
            _ => {
                let allowed = "disable, prefer, require, verify-ca, verify-full";
                return Err(UrlError::Value { name: "sslmode", allowed });
            }
        };
        // The parser's own errors name a parameter, never a value.
        let mut config: Config = url.parse().map_err(|error: tokio_postgres::Error| {
            let source = std::error::Error::source(&error).map(ToString::to_string);
            UrlError::Parameter(source.unwrap_or_else(|| error.to_string()))
        })?;
        if config.get_hosts().is_empty() {
            return Err(UrlError::NoUrl);
        }
        config.ssl_mode(ssl_mode);
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(connect_timeout);
        }
        if config.get_application_name().is_none() {
            config.application_name("registry");
        }
        Ok(Self { config, tls })
    }
}

#[cfg(test)]
mod tests {
    use tokio_postgres::config::Host;

    use super::*;

    fn parse(url: &str) -> Result<Target, UrlError> {
        Target::parse(url, Duration::from_secs(5))
    }

    #[test]
    fn sslmode_means_what_it_means_to_libpq() {
        let ca = || Some(PathBuf::from("/ca.pem"));
        for (query, mode, tls) in [
            ("", SslMode::Prefer, Tls::Unverified),
            ("?sslmode=disable", SslMode::Disable, Tls::Off),
            ("?sslmode=prefer", SslMode::Prefer, Tls::Unverified),
            ("?sslmode=require", SslMode::Require, Tls::Unverified),
            ("?sslmode=require&sslrootcert=/ca.pem", SslMode::Require, Tls::Authority(ca())),
            ("?sslmode=verify-ca&sslrootcert=/ca.pem", SslMode::Require, Tls::Authority(ca())),
            ("?sslrootcert=/ca.pem&sslmode=verify-full", SslMode::Require, Tls::Host(ca())),
            ("?sslmode=verify-full&sslrootcert=system", SslMode::Require, Tls::Host(None)),
            ("?application_name=x&sslmode=verify-full", SslMode::Require, Tls::Host(None)),
        ] {
            let target = parse(&format!("postgres://u:p@db.example:5433/registry{query}")).unwrap();
            assert_eq!((target.config.get_ssl_mode(), &target.tls), (mode, &tls), "{query}");
            assert_eq!(target.config.get_dbname(), Some("registry"));
        }
    }

    #[test]
    fn what_names_no_database_is_refused_without_repeating_it() {
        for (url, part) in [
            ("hush", "must look like"),
            ("mysql://u:hush@h/db", "must look like"),
            ("postgres:///db", "must look like"),
            ("postgres://u:hush@h/db?sslmode=allow", "sslmode"),
            ("postgres://u:hush?hush@h/db?sslmode=require", "%3F"),
            ("postgres://u:hush@h/db?sslmode=require&sslrootcert=system", "verify-full"),
            ("postgres://u:hush@h/db?sslkey=hush", "sslkey"),
            ("postgres://u:hush@h/db?connect_timeout=hush", "connect_timeout"),
        ] {
            let error = parse(url).unwrap_err().to_string();
            assert!(error.contains(part) && !error.contains("hush"), "{url}: {error}");
        }
    }

    #[test]
    fn a_socket_is_named_by_its_folder() {
        for url in [
            "postgres://registry@/registry?host=/run/postgresql",
            "postgresql://registry@%2Frun%2Fpostgresql/registry",
        ] {
            let target = parse(url).unwrap();
            assert_eq!(target.config.get_hosts(), [Host::Unix("/run/postgresql".into())], "{url}");
        }
    }
}
