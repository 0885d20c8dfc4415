//! Validation of values beyond their types. All problems are reported at once.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use registry_blob_s3::MAX_LINK_LIFETIME;
use registry_core::blob::BlobKey;
use registry_core::install_code::CodeLength;
use registry_core::product::ProductCatalogue;
use registry_core::signup::BlockedDomains;
use registry_core::text::{Channel, ProductCode};

use super::{Config, S3, Smtp, Span, TlsMode};

/// The problems found so far: the key, and a sentence that names the key.
#[derive(Default)]
struct Problems(Vec<(&'static str, String)>);

impl Problems {
    /// Adds a problem, which continues the key's name, if `is_fine` is false.
    fn require(&mut self, is_fine: bool, key: &'static str, problem: impl AsRef<str>) {
        if !is_fine {
            self.0.push((key, format!("`{key}` {}", problem.as_ref())));
        }
    }

    fn require_span(
        &mut self,
        key: &'static str,
        span: Span,
        (least, most): (Duration, Duration),
        bounds: &str,
    ) {
        let is_fine = (least..=most).contains(&span.to_std());
        self.require(is_fine, key, format!("must be from {bounds}"));
    }

    /// Two keys that need each other, the second of which may also be in a file.
    fn require_pair(
        &mut self,
        (user_key, user): (&'static str, bool),
        (secret_key, secret): (&'static str, bool),
        (file_key, file): (&'static str, bool),
    ) {
        let both = format!("and `{file_key}` are both set: set one of them");
        self.require(!(secret && file), secret_key, both);
        let missing = format!("is missing (or `{file_key}`): `{user_key}` needs it");
        self.require(!user || secret || file, secret_key, missing);
        let missing = format!("is missing: `{secret_key}` needs it");
        self.require(user || !(secret || file), user_key, missing);
    }
}

/// The part of an http or https URL after the scheme, if the URL has no user, query or fragment.
fn after_scheme(url: &str) -> Option<&str> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"))?;
    let is_fine = !rest.is_empty()
        && !rest.starts_with('/')
        && !url.contains(['?', '#', '@', ' ', '"', '<', '>']);
    (is_fine && has_valid_port(rest)).then_some(rest)
}

/// True unless the authority at the start of a text has an invalid port.
fn has_valid_port(text: &str) -> bool {
    let authority = text.split('/').next().unwrap_or_default();
    match authority.rsplit_once(':') {
        Some((_, port)) if !port.ends_with(']') => port.parse::<u16>().is_ok_and(|port| port > 0),
        _ => true,
    }
}

const PLAIN_URL: &str = "must be an http or https URL without user, query or fragment, and with a \
                         port from 1 to 65535 if it has one";

impl Config {
    /// Everything that is wrong with the values: the key, and a sentence for an operator.
    pub(super) fn problems(&self) -> Vec<(&'static str, String)> {
        let mut problems = Problems::default();
        self.check_urls(&mut problems);
        self.check_catalogues(&mut problems);
        self.check_limits(&mut problems);
        self.check_database(&mut problems);
        self.check_web(&mut problems);
        self.check_sign_in(&mut problems);
        problems.require((1..=64).contains(&self.mail.parallel), "mail.parallel", FROM_1_TO_64);
        if let Some(smtp) = &self.mail.smtp {
            check_smtp(smtp, &mut problems);
        }
        if let Some(s3) = &self.s3 {
            check_s3(s3, &mut problems);
            self.check_links(&mut problems);
        }
        problems.0
    }

    fn check_urls(&self, problems: &mut Problems) {
        let missing = format!(
            "is missing: {} is not a loopback address, and links and the check-in URL must be \
             reachable from outside (REGISTRY_PUBLIC_URL)",
            self.listen
        );
        let is_local = self.listen.ip().is_loopback();
        problems.require(self.public_url.is_some() || is_local, "public_url", missing);
        if let Some(url) = &self.public_url {
            let rest = after_scheme(url);
            problems.require(rest.is_some(), "public_url", PLAIN_URL);
            let has_path = rest.is_some_and(|rest| rest.trim_end_matches('/').contains('/'));
            let problem = "must not have a path: clients in the field know the origin only";
            problems.require(!has_path, "public_url", problem);
        }
        if let Some(url) = &self.portal_url {
            problems.require(after_scheme(url).is_some(), "portal_url", PLAIN_URL);
        }
    }

    fn check_catalogues(&self, problems: &mut Problems) {
        if let Err(error) = self.catalogue() {
            problems.require(
                false,
                "editions",
                format!("cannot be used: {:#}", error.root_cause()),
            );
        }
        let parsed: Result<Vec<_>, _> =
            self.products.iter().map(|product| ProductCode::parse(product)).collect();
        match parsed {
            Err(refusal) => {
                problems.require(false, "products", format!("cannot be used: {refusal}"));
            }
            Ok(products) => {
                let catalogue = ProductCatalogue::new(products);
                problems.require(catalogue.is_some(), "products", "is empty, or names one twice");
            }
        }
        if let Err(refusal) = Channel::parse(&self.downloads.channel) {
            problems.require(false, "downloads.channel", format!("cannot be used: {refusal}"));
        }
    }

    fn check_limits(&self, problems: &mut Problems) {
        let http = &self.http;
        let is_fine = (1..=65_536).contains(&http.connections);
        problems.require(is_fine, "http.connections", "must be from 1 to 65536");
        problems.require(http.body_limit >= 1_024, "http.body_limit", "must be at least 1024");
        let is_token = |c: u8| c.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&c);
        let is_name = !http.source_header.is_empty() && http.source_header.bytes().all(is_token);
        problems.require(is_name, "http.source_header", "must be the name of a header");
        let length = CodeLength::new(self.codes.length);
        problems.require(length.is_some(), "codes.length", "must be from 8 to 32");
        let length = CodeLength::new(self.codes.activation_length());
        problems.require(length.is_some(), "codes.activation_length", "must be from 8 to 32");
        let limit = &self.rate_limit;
        problems.require(limit.code_guesses > 0, "rate_limit.code_guesses", AT_LEAST_1);
        problems.require(limit.mails > 0, "rate_limit.mails", AT_LEAST_1);
        problems.require(limit.processes > 0, "rate_limit.processes", AT_LEAST_1);
        let totals = [
            (limit.code_guesses_total, limit.code_guesses, "rate_limit.code_guesses_total"),
            (limit.mails_total, limit.mails, "rate_limit.mails_total"),
        ];
        for (total, own, name) in totals {
            problems.require(total >= own, name, "must be at least the limit of one source");
        }
        let license = &self.license;
        let has_issuer = !license.issuer.trim().is_empty();
        problems.require(has_issuer, "license.issuer", "must not be empty");
        let has_key = license.kid.is_none() || license.key_file.is_some();
        let missing = "is missing: `license.kid` is the id of the key in it";
        problems.require(has_key, "license.key_file", missing);
    }

    fn check_database(&self, problems: &mut Problems) {
        let database = &self.database;
        let once = database.url.is_none() || database.url_file.is_none();
        let both = "and `database.url` are both set: set one of them";
        problems.require(once, "database.url_file", both);
        for (key, number) in [
            ("database.pool_size", database.pool_size),
            ("database.batch_size", database.batch_size),
            ("database.batches_in_flight", database.batches_in_flight),
        ] {
            problems.require((1..=1_024).contains(&number), key, "must be from 1 to 1024");
        }
        for (key, span) in [
            ("database.pool_wait", database.pool_wait),
            ("database.connect_timeout", database.connect_timeout),
            ("database.statement_timeout", database.statement_timeout),
            ("database.lock_timeout", database.lock_timeout),
        ] {
            let bounds = (Duration::from_millis(1), Duration::from_hours(1));
            problems.require_span(key, span, bounds, "1ms to 1h");
        }
        // Otherwise a request that was answered with 503 could be executed afterwards.
        let waits = if database.is_postgres() {
            let (pool, connect) = (database.pool_wait, database.connect_timeout);
            let (lock, statement) = (database.lock_timeout, database.statement_timeout);
            [pool, connect, lock, statement].map(Span::to_std).iter().sum()
        } else {
            database.lock_timeout.to_std() * 2
        };
        let problem = format!(
            "must be at least {waits:?}, the sum of what the database may take (`database.pool_wait`, \
             `connect_timeout`, `lock_timeout` and `statement_timeout`; with SQLite, twice \
             `lock_timeout`)"
        );
        let is_fine = self.http.request_timeout.to_std() >= waits;
        problems.require(is_fine, "http.request_timeout", problem);
    }

    fn check_web(&self, problems: &mut Problems) {
        let web = &self.web;
        if let Some(url) = &web.checkout_url {
            let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
            let is_host = |rest: &str| rest.starts_with(|first: char| first.is_alphanumeric());
            let is_unsafe = |c: char| c.is_whitespace() || c.is_control() || "\"<>".contains(c);
            let is_fine = rest.is_some_and(is_host) && !url.contains(is_unsafe);
            problems.require(is_fine, "web.checkout_url", "must be an http or https URL");
        }
        if let Err(domain) = BlockedDomains::new(&web.blocked_domains) {
            let problem = format!("has `{domain}`, which is not a domain");
            problems.require(false, "web.blocked_domains", problem);
        }
        let Some(editions) = &web.self_service else { return };
        let key = "web.self_service";
        problems.require(
            !editions.is_empty(),
            key,
            "is empty. Set `web.enabled` to serve no pages",
        );
        let distinct: BTreeSet<_> = editions.iter().collect();
        problems.require(distinct.len() == editions.len(), key, "names an edition twice");
        let Ok(catalogue) = self.catalogue() else { return };
        for edition in editions {
            let is_known =
                catalogue.find(edition).is_ok_and(|known| known.name.as_str() == edition);
            problems.require(is_known, key, format!("has `{edition}`, which is not an edition"));
        }
    }

    fn check_sign_in(&self, problems: &mut Problems) {
        let (sign_in, window) = (&self.sign_in, self.rate_limit.window);
        let day = Duration::from_hours(24);
        let bounds = (Duration::from_mins(1), day);
        problems.require_span("sign_in.link_lifetime", sign_in.link_lifetime, bounds, "1m to 1d");
        // A session records at most one use a minute.
        let is_fine = sign_in.session_idle.to_std() >= Duration::from_mins(2);
        problems.require(is_fine, "sign_in.session_idle", "must be at least 2m");
        let is_fine = sign_in.session_lifetime.to_std() >= sign_in.session_idle.to_std();
        let problem = "must not be shorter than `sign_in.session_idle`";
        problems.require(is_fine, "sign_in.session_lifetime", problem);
        // Otherwise a mailed link expires before the customer may request another one.
        let is_fine = window.to_std() <= sign_in.link_lifetime.to_std();
        let problem = "must not be longer than `sign_in.link_lifetime`";
        problems.require(is_fine, "rate_limit.window", problem);
        // Otherwise a form that is not counted twice is executed twice.
        let is_fine = window.to_std() <= self.http.replay_window.to_std();
        let problem = "must not be longer than `http.replay_window`";
        problems.require(is_fine, "rate_limit.window", problem);
    }

    /// S3 refuses presigned links that live too long.
    fn check_links(&self, problems: &mut Problems) {
        let downloads = &self.downloads;
        let lifetime = downloads.lifetime.unwrap_or(self.codes.lifetime);
        for (key, span) in [
            ("downloads.lifetime", lifetime),
            ("downloads.fresh_lifetime", downloads.fresh_lifetime),
        ] {
            let days = MAX_LINK_LIFETIME.num_days();
            let problem = format!("must be at most {days}d: S3 takes no links that live longer");
            problems.require(span.0 <= MAX_LINK_LIFETIME, key, problem);
        }
    }
}

const AT_LEAST_1: &str = "must be at least 1";
const FROM_1_TO_64: &str = "must be from 1 to 64";

fn check_smtp(smtp: &Smtp, problems: &mut Problems) {
    let is_name = |name: &str| {
        !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || ".-_".contains(c))
    };
    let is_host = is_name(&smtp.host) || smtp.host.parse::<IpAddr>().is_ok();
    let problem = if smtp.host.is_empty() {
        "is missing"
    } else {
        "must be the name or the address of a host. The port is `mail.smtp.port`"
    };
    problems.require(is_host, "mail.smtp.host", problem);
    problems.require(smtp.port != Some(0), "mail.smtp.port", "must not be 0");
    let is_fine = smtp.hello_name.as_deref().is_none_or(is_name);
    problems.require(is_fine, "mail.smtp.hello_name", "must be the name of a host");
    if smtp.token_file.is_some() {
        let has_user = smtp.username.is_some();
        problems.require(
            has_user,
            "mail.smtp.username",
            "is missing: `mail.smtp.token_file` needs it",
        );
        let is_alone = smtp.password.is_none() && smtp.password_file.is_none();
        let both = "and a password are both set: set one of them";
        problems.require(is_alone, "mail.smtp.token_file", both);
    } else {
        problems.require_pair(
            ("mail.smtp.username", smtp.username.is_some()),
            ("mail.smtp.password", smtp.password.is_some()),
            ("mail.smtp.password_file", smtp.password_file.is_some()),
        );
    }
    let is_here = matches!(smtp.host.as_str(), "localhost" | "127.0.0.1" | "::1");
    let is_safe = smtp.username.is_none() || smtp.tls != TlsMode::None || is_here;
    let problem = format!("is \"none\": the password would go to {} in clear", smtp.host);
    problems.require(is_safe, "mail.smtp.tls", problem);
    problems.require(smtp.connections > 0, "mail.smtp.connections", AT_LEAST_1);
    let bounds = (Duration::from_secs(1), Duration::from_mins(5));
    problems.require_span("mail.smtp.timeout", smtp.timeout, bounds, "1s to 5m");
}

fn check_s3(s3: &S3, problems: &mut Problems) {
    // Names from before 2018 may have capitals and underscores (Amazon S3 User Guide, "Bucket
    // naming rules").
    let is_plain = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
    let is_bucket = (3..=255).contains(&s3.bucket.len()) && s3.bucket.chars().all(is_plain);
    let problem = if s3.bucket.is_empty() {
        "is missing"
    } else {
        "is not the name of a bucket: 3 or more letters, digits, `.`, `-` and `_`"
    };
    problems.require(is_bucket, "s3.bucket", problem);
    let is_fine = s3.prefix.as_deref().is_none_or(|prefix| BlobKey::parse(prefix).is_some());
    problems.require(is_fine, "s3.prefix", "must be names joined by `/`, with none at either end");
    for (key, url) in [("s3.endpoint", &s3.endpoint), ("s3.public_endpoint", &s3.public_endpoint)] {
        let is_fine = url.as_deref().is_none_or(|url| after_scheme(url).is_some());
        problems.require(is_fine, key, PLAIN_URL);
    }
    // A signature covers the path, and the store knows nothing of a prefix before it.
    let path =
        |url: &str| after_scheme(url).is_some_and(|it| it.trim_end_matches('/').contains('/'));
    let has_path = s3.public_endpoint.as_deref().is_some_and(path);
    problems.require(
        !has_path,
        "s3.public_endpoint",
        "must not have a path: no signature would fit",
    );
    let id = s3.access_key_id.is_some();
    let problem = "is missing: `s3.session_token` needs it";
    problems.require(id || s3.session_token.is_none(), "s3.access_key_id", problem);
    problems.require_pair(
        ("s3.access_key_id", id),
        ("s3.secret_access_key", s3.secret_access_key.is_some()),
        ("s3.secret_access_key_file", s3.secret_access_key_file.is_some()),
    );
}
