//! The connection URL, with the syntax of other PostgreSQL clients.

use std::path::PathBuf;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use tokio_postgres::Config;
use tokio_postgres::config::{SslMode, TargetSessionAttrs};
use zeroize::Zeroizing;

/// Address of the database, and limits of the connections.
#[derive(Clone)]
pub struct PostgresOptions {
    /// URL `postgres://user:password@host:port/database?sslmode=…`. It is a secret, since it can
    /// contain a password.
    pub url: Zeroizing<String>,
    /// Maximum number of connections. Many more connections than the server has cores make it
    /// slower.
    pub pool_size: usize,
    /// Time that a caller waits for a connection. Then the error is that the database is busy.
    pub pool_wait: Duration,
    /// Maximum number of requests that share a transaction.
    pub batch_size: usize,
    /// Maximum number of shared transactions of a kind that run at the same time.
    pub batches_in_flight: usize,
    /// Time limit for opening a connection.
    pub connect_timeout: Duration,
    /// Time limit for a statement.
    pub statement_timeout: Duration,
    /// Time that a statement waits for a lock.
    pub lock_timeout: Duration,
}

/// Verification of the server, with the levels of libpq's `sslmode`
/// (PostgreSQL documentation, "SSL Support", table 34.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tls {
    /// `disable`: never encrypted.
    Off,
    /// `prefer` and `require`: encrypted, without verifying the server.
    Unverified,
    /// `verify-ca`: a trusted authority has signed the certificate.
    Authority(Option<PathBuf>),
    /// `verify-full`: a trusted authority has signed it, and it names the host.
    Host(Option<PathBuf>),
}

/// A parsed URL.
#[derive(Debug)]
pub(crate) struct Target {
    /// One for each host, in their order.
    pub(crate) hosts: Vec<Config>,
    pub(crate) tls: Tls,
}

/// Packets that keep an idle connection alive, and find out that it is dead: after 30 seconds, then
/// every 5 seconds, three times. Firewalls forget idle connections after a minute or more.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_RETRIES: u32 = 3;

/// Time after which a connection is dead whose packets are not acknowledged.
const USER_TIMEOUT: Duration = Duration::from_secs(3);

/// An error in the URL of a database. No text contains the URL, which can contain a password.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// The text is not a PostgreSQL URL.
    #[error("it must look like postgres://user:password@host:5432/database?sslmode=verify-full")]
    NoUrl,
    /// The password contains a character that must be percent-encoded.
    #[error("in the password, write `?` as %3F, `/` as %2F, `@` as %40, and `#` as %23")]
    Unencoded,
    /// A parameter has an invalid value.
    #[error("the parameter `{name}` must be one of: {allowed}")]
    Value {
        /// Name of the parameter.
        name: &'static str,
        /// Allowed values.
        allowed: &'static str,
    },
    /// A parameter is unknown or has an invalid value. The text names it.
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
        let (mut mode, mut authority, mut user_timeout) = (None, None, None);
        let mut others = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let decoded = |value: &str| percent_decode_str(value).decode_utf8_lossy().into_owned();
            match pair.split_once('=') {
                Some(("sslmode", value)) => mode = Some(decoded(value)),
                Some(("sslrootcert", value)) => authority = Some(decoded(value)),
                // libpq has milliseconds here, and the driver would read seconds.
                Some(("tcp_user_timeout", value)) => user_timeout = Some(milliseconds(value)?),
                _ => others.push(pair),
            }
        }
        let query = others.join("&");
        // `system` means the authorities that the operating system trusts. Anyone can get a
        // certificate from them, so the host name must be verified (PostgreSQL documentation,
        // "sslrootcert").
        let system = authority.as_deref() == Some("system");
        let authority = authority.filter(|_| !system).map(PathBuf::from);
        let (ssl_mode, tls) = match (mode.as_deref().unwrap_or("prefer"), authority) {
            ("verify-full", path) => (SslMode::Require, Tls::Host(path)),
            (_, None) if system => {
                return Err(UrlError::Value {
                    name: "sslmode",
                    allowed: "verify-full, since sslrootcert is system",
                });
            }
            ("disable", _) => (SslMode::Disable, Tls::Off),
            ("prefer", _) => (SslMode::Prefer, Tls::Unverified),
            // As in libpq, `require` with an authority verifies the certificate.
            ("require", Some(path)) => (SslMode::Require, Tls::Authority(Some(path))),
            ("require", None) => (SslMode::Require, Tls::Unverified),
            ("verify-ca", path) => (SslMode::Require, Tls::Authority(path)),
            _ => {
                let allowed = "disable, prefer, require, verify-ca, verify-full";
                return Err(UrlError::Value { name: "sslmode", allowed });
            }
        };
        let urls = each_host(base);
        let is_given = |name: &str| others.iter().any(|pair| pair.starts_with(name));
        let has_several =
            urls.len() > 1 || others.iter().any(|it| it.starts_with("host=") && it.contains(','));
        let mut hosts = Vec::with_capacity(urls.len());
        for url in &urls {
            // The parser's errors name a parameter, never a value.
            let url = Zeroizing::new(format!("{}?{query}", **url));
            let mut config: Config = url.parse().map_err(|error: tokio_postgres::Error| {
                let source = std::error::Error::source(&error).map(ToString::to_string);
                UrlError::Parameter(source.unwrap_or_else(|| error.to_string()))
            })?;
            if config.get_hosts().is_empty() {
                return Err(UrlError::NoUrl);
            }
            config.ssl_mode(ssl_mode);
            if config.get_connect_timeout().is_none() {
                // A silent address must leave time for the others.
                let addresses = u32::try_from(urls.len().max(3)).unwrap_or(u32::MAX);
                config.connect_timeout(connect_timeout / addresses);
            }
            if config.get_application_name().is_none() {
                config.application_name("registry");
            }
            if !is_given("keepalives_idle=") {
                config.keepalives_idle(KEEPALIVE_IDLE);
            }
            if !is_given("keepalives_interval=") {
                config.keepalives_interval(KEEPALIVE_INTERVAL);
            }
            if !is_given("keepalives_retries=") {
                config.keepalives_retries(KEEPALIVE_RETRIES);
            }
            config.tcp_user_timeout(user_timeout.unwrap_or(USER_TIMEOUT));
            // Of several hosts, only one takes writes.
            if has_several && !is_given("target_session_attrs=") {
                config.target_session_attrs(TargetSessionAttrs::ReadWrite);
            }
            hosts.push(config);
        }
        Ok(Self { hosts, tls })
    }
}

/// Returns a URL for each host of a URL.
fn each_host(base: &str) -> Vec<Zeroizing<String>> {
    let (scheme, rest) = base.split_once("://").unwrap_or((base, ""));
    let (authority, path) = rest.split_once('/').map_or((rest, ""), |(it, path)| (it, path));
    let (user, hosts) = authority.rsplit_once('@').map_or(("", authority), |(user, it)| (user, it));
    let at = if user.is_empty() { "" } else { "@" };
    let url = |host: &str| Zeroizing::new(format!("{scheme}://{user}{at}{host}/{path}"));
    hosts.split(',').map(url).collect()
}

fn milliseconds(value: &str) -> Result<Duration, UrlError> {
    let invalid =
        |_| UrlError::Value { name: "tcp_user_timeout", allowed: "a number of milliseconds" };
    value.parse().map(Duration::from_millis).map_err(invalid)
}

#[cfg(test)]
mod tests {
    use tokio_postgres::config::Host;

    use super::*;

    fn parse(url: &str) -> Result<Target, UrlError> {
        Target::parse(url, Duration::from_secs(5))
    }

    #[test]
    fn sslmode_is_read_as_in_libpq() {
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
            assert_eq!((target.hosts[0].get_ssl_mode(), &target.tls), (mode, &tls), "{query}");
            assert_eq!(target.hosts[0].get_dbname(), Some("registry"));
        }
    }

    #[test]
    fn url_error_does_not_repeat_url() {
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
    fn socket_is_named_by_its_folder() {
        for url in [
            "postgres://registry@/registry?host=/run/postgresql",
            "postgresql://registry@%2Frun%2Fpostgresql/registry",
        ] {
            let target = parse(url).unwrap();
            assert_eq!(
                target.hosts[0].get_hosts(),
                [Host::Unix("/run/postgresql".into())],
                "{url}"
            );
        }
    }

    /// A silent host leaves time for the next one, and only one of several takes writes.
    #[test]
    fn each_host_has_its_own_address() {
        let target =
            parse("postgres://u:p@a.example:5433,b.example/registry?sslmode=disable").unwrap();
        let named: Vec<_> = target
            .hosts
            .iter()
            .map(|it| (it.get_hosts()[0].clone(), it.get_ports().to_vec(), it.get_password()))
            .collect();
        let host = |name: &str| Host::Tcp(name.to_owned());
        let password = Some(&b"p"[..]);
        assert_eq!(
            named,
            [(host("a.example"), vec![5433], password), (host("b.example"), vec![5432], password)]
        );
        for config in &target.hosts {
            assert_eq!(config.get_target_session_attrs(), TargetSessionAttrs::ReadWrite);
            assert!(config.get_connect_timeout().unwrap() < &Duration::from_secs(2));
        }
    }

    #[test]
    fn dead_connections_are_noticed_by_default() {
        let target = parse("postgres://u@h/db").unwrap();
        let config = &target.hosts[0];
        assert_eq!(config.get_keepalives_idle(), KEEPALIVE_IDLE);
        assert_eq!(config.get_tcp_user_timeout(), Some(&USER_TIMEOUT));
        let target = parse("postgres://u@h/db?keepalives_idle=7&tcp_user_timeout=2500").unwrap();
        let config = &target.hosts[0];
        assert_eq!(config.get_keepalives_idle(), Duration::from_secs(7));
        assert_eq!(config.get_tcp_user_timeout(), Some(&Duration::from_millis(2500)));
        let error = parse("postgres://u@h/db?tcp_user_timeout=2s").unwrap_err().to_string();
        assert!(error.contains("milliseconds"), "{error}");
    }
}
