//! Reads the file, lays the environment over it, and refuses what is misspelt or half-set.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use toml::{Table, Value};

use super::Config;

/// Every key that the environment may set, and whether its value there is plain text or TOML.
const KEYS: &[(&str, bool)] = &[
    ("data", true),
    ("listen", true),
    ("public_url", true),
    ("portal_url", true),
    ("service_token_file", true),
    ("master_key_file", true),
    ("database.url", true),
    ("database.url_file", true),
    ("database.pool_size", false),
    ("database.pool_wait", true),
    ("database.connect_timeout", true),
    ("database.statement_timeout", true),
    ("database.lock_timeout", true),
    ("database.migrate", false),
    ("database.search_by_part", false),
    ("codes.length", false),
    ("codes.lifetime", true),
    ("codes.activation_needs_bound_tenant", false),
    ("guesses.limit", false),
    ("guesses.window", true),
    ("door.enabled", false),
    ("door.self_service", false),
    ("door.checkout_url", true),
    ("door.blocked_domains", false),
    ("door.asks", false),
    ("door.link_lifetime", true),
    ("door.session_idle", true),
    ("door.session_lifetime", true),
    ("license.issuer", true),
    ("license.key_file", true),
    ("license.kid", true),
    ("license.algorithm", true),
    ("license.lifetime", true),
    ("license.airgap_lifetime", true),
    ("license.check_in_interval", true),
    ("downloads.lifetime", true),
    ("downloads.fresh_lifetime", true),
    ("downloads.after_redemption", true),
    ("downloads.channel", true),
    ("downloads.manifest_key_file", true),
    ("s3.bucket", true),
    ("s3.region", true),
    ("s3.endpoint", true),
    ("s3.public_endpoint", true),
    ("s3.path_style", false),
    ("s3.prefix", true),
    ("s3.access_key_id", true),
    ("s3.secret_access_key", true),
    ("s3.secret_access_key_file", true),
    ("s3.session_token", true),
    ("s3.ca_file", true),
    ("mail.from", true),
    ("mail.worker", false),
    ("mail.parallel", false),
    ("mail.templates", true),
    ("mail.smtp.host", true),
    ("mail.smtp.port", false),
    ("mail.smtp.tls", true),
    ("mail.smtp.username", true),
    ("mail.smtp.password", true),
    ("mail.smtp.password_file", true),
    ("mail.smtp.ca_file", true),
    ("mail.smtp.hello_name", true),
    ("mail.smtp.connections", false),
    ("mail.smtp.timeout", true),
    ("branding.product", true),
    ("branding.vendor", true),
    ("branding.color", true),
    ("branding.logo_url", true),
    ("branding.support", true),
    ("retention.mails", true),
    ("retention.codes", true),
    ("retention.audit", true),
    ("retention.sweep_every", true),
    ("retention.sweeper", false),
    ("http.body_limit", false),
    ("http.request_timeout", true),
    ("http.read_timeout", true),
    ("http.shutdown_timeout", true),
    ("http.connections", false),
    ("http.replay_window", true),
    ("http.trusted_proxies", false),
    ("http.source_header", true),
    ("log.format", true),
    ("log.level", true),
    ("editions", false),
    ("products", false),
];

impl Config {
    /// Reads the file, where one is given, and lays the environment over it.
    pub fn load(
        file: Option<&Path>,
        environment: impl Fn(&str) -> Option<String>,
    ) -> anyhow::Result<Self> {
        let mut table = match file {
            None => Table::new(),
            Some(path) => {
                let text = std::fs::read_to_string(path);
                let text = text.with_context(|| {
                    format!("the configuration {} cannot be read", path.display())
                })?;
                text.parse()
                    .with_context(|| format!("the configuration {} is not TOML", path.display()))?
            }
        };
        for &(key, is_text) in KEYS {
            let name = variable(key);
            let Some(text) = environment(&name).filter(|text| !text.is_empty()) else { continue };
            let value = if is_text { Value::String(text) } else { toml_value(&name, &text)? };
            set(&mut table, key, value);
        }
        let config: Self = table.try_into().context(
            "the configuration has a key that is not known, or a value that it cannot have",
        )?;
        config.check()?;
        Ok(config)
    }

    /// [`load`](Self::load) with the process's environment, and what the command line said laid
    /// over both. The file is the one given; the command line's own environment variables are read
    /// by the caller.
    pub fn load_over(
        file: Option<&Path>,
        data: Option<PathBuf>,
        listen: Option<SocketAddr>,
    ) -> anyhow::Result<Self> {
        let listen = listen.map(|listen| listen.to_string());
        let data = data.map(|data| data.into_os_string().into_string());
        let data = data
            .transpose()
            .map_err(|data| anyhow!("the data folder {} is not UTF-8", data.display()))?;
        Self::load(file, |name| match name {
            "REGISTRY_DATA" if data.is_some() => data.clone(),
            "REGISTRY_LISTEN" if listen.is_some() => listen.clone(),
            name => std::env::var(name).ok(),
        })
    }

    /// The environment's variables that look like keys and are none: misspelt, perhaps.
    #[must_use]
    pub fn unknown_variables(names: impl Iterator<Item = String>) -> Vec<String> {
        let is_known = |name: &str| {
            name == "REGISTRY_CONFIG" || KEYS.iter().any(|(key, _)| variable(key) == *name)
        };
        names.filter(|name| name.starts_with("REGISTRY_") && !is_known(name)).collect()
    }
}

/// The environment variable of a key.
fn variable(key: &str) -> String {
    format!("REGISTRY_{}", key.to_uppercase().replace('.', "_"))
}

fn toml_value(name: &str, text: &str) -> anyhow::Result<Value> {
    let parsed: Result<Table, _> = format!("value = {text}").parse();
    let value = parsed.ok().and_then(|mut table| table.remove("value"));
    value.with_context(|| {
        format!("{name} is not a TOML value: a number, or a list such as [\"a\", \"b\"]")
    })
}

fn set(table: &mut Table, key: &str, value: Value) {
    match key.split_once('.') {
        None => drop(table.insert(key.to_owned(), value)),
        Some((section, rest)) => {
            let section = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(section) = section {
                set(section, rest, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Span;
    use super::*;

    fn load(file: &str, environment: &[(&str, &str)]) -> anyhow::Result<Config> {
        let path = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(path.path(), file).unwrap();
        let find = |name: &str| {
            environment.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        };
        Config::load(Some(path.path()), find)
    }

    fn refused(file: &str, environment: &[(&str, &str)]) -> String {
        format!("{:#}", load(file, environment).unwrap_err())
    }

    #[test]
    fn nothing_needs_to_be_set() {
        let config = Config::load(None, |_| None).unwrap();
        assert_eq!(config.listen.to_string(), "127.0.0.1:8080");
        assert_eq!(config.codes.lifetime, Span::days(7));
        assert!(config.catalogue().is_ok());
    }

    #[test]
    fn customers_are_sent_to_the_vendors_portal_or_else_to_ours() {
        for (file, expected) in [
            ("", Some("http://registry.example/portal")),
            ("portal_url = 'https://portal.example'", Some("https://portal.example")),
            (
                "portal_url = 'https://portal.example'\n[door]\nenabled = false",
                Some("https://portal.example"),
            ),
            ("[door]\nenabled = false", None),
        ] {
            let config = load(file, &[]).unwrap();
            assert_eq!(config.portal("http://registry.example/").as_deref(), expected, "{file}");
        }
    }

    #[test]
    fn the_environment_goes_before_the_file() {
        let file = "listen = '127.0.0.1:1'\n[codes]\nlength = 8\nlifetime = '1h 30m'\n";
        let environment = [
            ("REGISTRY_LISTEN", "127.0.0.1:2"),
            ("REGISTRY_CODES_LENGTH", "10"),
            ("REGISTRY_HTTP_TRUSTED_PROXIES", "['10.0.0.0/8']"),
            ("REGISTRY_LICENSE_ISSUER", ""),
        ];
        let config = load(file, &environment).unwrap();
        assert_eq!((config.listen.port(), config.codes.length), (2, 10));
        assert_eq!(config.codes.lifetime, Span::minutes(90));
        assert_eq!(config.http.trusted_proxies.len(), 1);
        assert_eq!(config.license.issuer, "appliance-registry");
    }

    #[test]
    fn what_is_misspelt_half_set_or_of_the_wrong_type_names_its_key() {
        for (file, environment, part) in [
            ("lisen = '127.0.0.1:1'", &[][..], "lisen"),
            ("[codes]\nlentgh = 8", &[], "lentgh"),
            ("[codes]\nlength = 'x'", &[], "length"),
            ("[codes]\nlifetime = 'soon'", &[], "not a length of time"),
            ("[codes]\nlifetime = '0s'", &[], "more than nothing"),
            ("codes = 1", &[], "codes"),
            ("listen = '0.0.0.0:80'", &[], "`public_url` is missing"),
            ("public_url = 'registry.example'", &[], "`public_url` must be"),
            ("public_url = 'https://'", &[], "`public_url` must be"),
            ("public_url = 'https://registry.example/registry'", &[], "must not have a path"),
            ("portal_url = 'javascript:alert(1)'", &[], "`portal_url` must be"),
            ("[http]\nconnections = 0", &[], "`http.connections`"),
            ("[http]\nbody_limit = 10", &[], "`http.body_limit`"),
            ("[guesses]\nlimit = 0", &[], "`guesses.limit`"),
            ("[door]\nasks = 0", &[], "`door.asks`"),
            ("[door]\ncheckout_url = 'javascript:alert(1)'", &[], "`door.checkout_url`"),
            ("[door]\ncheckout_url = 'https:///x'", &[], "`door.checkout_url`"),
            ("[door]\nself_service = ['pro', 'pro']", &[], "`door.self_service`"),
            ("[door]\nlink_lifetime = '5m'", &[], "`guesses.window`"),
            ("[http]\nreplay_window = '1s'", &[], "`guesses.window`"),
            ("[door]\nlink_lifetime = '30s'", &[], "`door.link_lifetime`"),
            ("[door]\nsession_idle = '1m'", &[], "`door.session_idle`"),
            (
                "[door]\nsession_idle = '2h'\nsession_lifetime = '1h'",
                &[],
                "`door.session_lifetime`",
            ),
            ("[license]\nissuer = ''", &[], "`license.issuer`"),
            ("[license]\nkid = 'x'", &[], "`license.key_file` is missing"),
            ("[database]\nurl = 'a'\nurl_file = 'b'", &[], "`database.url_file`"),
            ("[database]\npool_size = 0", &[], "`database.pool_size`"),
            ("[database]\nlock_timeout = '1us'", &[], "`database.lock_timeout`"),
            ("[database]\nstatement_timeout = '9999d'", &[], "`database.statement_timeout`"),
            ("[mail]\nproduct = 'x'", &[], "product"),
            ("[mail]\nparallel = 0", &[], "`mail.parallel`"),
            ("[mail.smtp]\nport = 25", &[], "`mail.smtp.host` is missing"),
            ("[mail.smtp]\nhost = 'h'\nusername = 'u'", &[], "`mail.smtp.password` is missing"),
            ("[mail.smtp]\nhost = 'h'\npassword = 'p'", &[], "`mail.smtp.username` is missing"),
            (
                "[mail.smtp]\nhost = 'h'\nusername = 'u'\npassword = 'p'\npassword_file = 'f'",
                &[],
                "are both set",
            ),
            ("[mail.smtp]\nhost = 'h'\ntimeout = '6m'", &[], "`mail.smtp.timeout`"),
            ("[mail.smtp]\nhost = 'h'\ntls = 'tls'", &[], "tls"),
            (
                "[mail.smtp]\nhost = 'mail.example'\ntls = 'none'\nusername = 'u'\npassword = 'p'",
                &[],
                "in clear",
            ),
            ("[mail.smtp]\nhost = 'h:25'", &[], "`mail.smtp.host` must be"),
            ("[mail.smtp]\nhost = 'h'\nport = 0", &[], "`mail.smtp.port`"),
            (
                "[mail.smtp]\nhost = 'h'\nhello_name = \"a\\r\\nNOOP\"",
                &[],
                "`mail.smtp.hello_name`",
            ),
            ("[s3]\nbucket = 'my bucket'", &[], "`s3.bucket` is no bucket's name"),
            ("[s3]\nbucket = 'box'\nprefix = '/a/'", &[], "`s3.prefix`"),
            ("[s3]\nregion = 'eu'", &[], "`s3.bucket` is missing"),
            ("[s3]\nbucket = 'box'\naccess_key_id = 'a'", &[], "`s3.secret_access_key` is missing"),
            (
                "[s3]\nbucket = 'box'\nsecret_access_key_file = 'f'",
                &[],
                "`s3.access_key_id` is missing",
            ),
            ("[s3]\nbucket = 'box'\nsession_token = 't'", &[], "`s3.access_key_id` is missing"),
            ("[s3]\nbucket = 'box'\nendpoint = 's3.example'", &[], "`s3.endpoint` must be"),
            (
                "[s3]\nbucket = 'box'\n[downloads]\nlifetime = '8d'",
                &[],
                "`downloads.lifetime` must be at most 7d",
            ),
            (
                "[s3]\nbucket = 'box'\n[codes]\nlifetime = '8d'",
                &[],
                "`downloads.lifetime` must be at most 7d",
            ),
            (
                "[s3]\nbucket = 'box'\n[downloads]\nfresh_lifetime = '8d'",
                &[],
                "`downloads.fresh_lifetime`",
            ),
            ("", &[("REGISTRY_S3_REGION", "eu")], "`s3.bucket` is missing"),
            ("nonsense", &[], "is not TOML"),
            ("", &[("REGISTRY_CODES_LENGTH", "twelve")], "REGISTRY_CODES_LENGTH"),
            ("", &[("REGISTRY_LISTEN", "here")], "listen"),
        ] {
            let text = refused(file, environment);
            assert!(text.contains(part), "{file} {environment:?}: {text}");
        }
    }

    #[test]
    fn every_key_of_the_environment_is_one_of_the_file() {
        for &(key, is_text) in KEYS {
            let value = if is_text { "''" } else { "[]" };
            let text = match key.rsplit_once('.') {
                None => format!("{key} = {value}"),
                Some((section, rest)) => format!("[{section}]\n{rest} = {value}"),
            };
            let problem =
                load(&text, &[]).err().map(|error| format!("{error:#}")).unwrap_or_default();
            assert!(!problem.contains("unknown field"), "{key}: {problem}");
        }
    }
}
