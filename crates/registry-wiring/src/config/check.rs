//! Refuses what is half-set or cannot be, and names the key.

use std::time::Duration;

use anyhow::bail;
use registry_blob_s3::LONGEST_LINK;
use registry_core::blob::BlobKey;

use super::{Config, TlsMode};

/// An http or https URL; what comes after the scheme.
fn check_url<'a>(key: &str, url: &'a str) -> anyhow::Result<&'a str> {
    let rest =
        url.strip_prefix("https://").or_else(|| url.strip_prefix("http://")).unwrap_or_default();
    if rest.is_empty() || rest.starts_with('/') || url.contains(['?', '#', '@', ' ', '"', '<', '>'])
    {
        bail!("`{key}` must be an http or https URL without user, query or fragment");
    }
    Ok(rest)
}

/// Of two things that go together one must not be alone, and a secret is set in one way.
fn check_pair(
    section: &str,
    user: (&str, bool),
    secret: (&str, bool),
    file: bool,
) -> anyhow::Result<()> {
    let ((user_key, user), (secret_key, secret)) = (user, secret);
    if secret && file {
        bail!(
            "`{section}.{secret_key}` and `{section}.{secret_key}_file` are both set: set one of them"
        );
    }
    match (user, secret || file) {
        (true, false) => {
            bail!("`{section}.{secret_key}` is missing (or `{section}.{secret_key}_file`)")
        }
        (false, true) => bail!("`{section}.{user_key}` is missing"),
        _ => Ok(()),
    }
}

impl Config {
    pub(super) fn check(&self) -> anyhow::Result<()> {
        if self.public_url.is_none() && !self.listen.ip().is_loopback() {
            bail!(
                "`public_url` is missing: {} is not loopback, and links and the check-in URL must be reachable from \
                 outside (REGISTRY_PUBLIC_URL)",
                self.listen
            );
        }
        for (key, url) in [("public_url", &self.public_url), ("portal_url", &self.portal_url)] {
            let Some(url) = url else { continue };
            let rest = check_url(key, url)?;
            if key == "public_url" && rest.trim_end_matches('/').contains('/') {
                bail!(
                    "`public_url` must not have a path: clients in the field know the origin only"
                );
            }
        }
        if !(1..=65_536).contains(&self.http.connections) {
            bail!("`http.connections` must be from 1 to 65536");
        }
        if self.http.body_limit < 1_024 {
            bail!("`http.body_limit` must be at least 1024");
        }
        if self.guesses.limit == 0 {
            bail!("`guesses.limit` must be at least 1");
        }
        if self.license.issuer.trim().is_empty() {
            bail!("`license.issuer` must not be empty");
        }
        if self.database.url.is_some() && self.database.url_file.is_some() {
            bail!("`database.url` and `database.url_file` are both set: name the database once");
        }
        if !(1..=1_024).contains(&self.database.pool_size) {
            bail!("`database.pool_size` must be from 1 to 1024");
        }
        let database = &self.database;
        for (key, span) in [
            ("pool_wait", database.pool_wait),
            ("connect_timeout", database.connect_timeout),
            ("statement_timeout", database.statement_timeout),
            ("lock_timeout", database.lock_timeout),
        ] {
            if !(Duration::from_millis(1)..=Duration::from_hours(1)).contains(&span.to_std()) {
                bail!("`database.{key}` must be from 1ms to 1h");
            }
        }
        self.check_door()?;
        self.check_mail()?;
        self.check_s3()?;
        if self.license.kid.is_some() && self.license.key_file.is_none() {
            bail!("`license.key_file` is missing: `license.kid` names the key in it");
        }
        Ok(())
    }

    fn check_door(&self) -> anyhow::Result<()> {
        let door = &self.door;
        if door.asks == 0 {
            bail!("`door.asks` must be at least 1");
        }
        let is_web = |url: &str| {
            let rest = url
                .strip_prefix("https://")
                .or_else(|| url.strip_prefix("http://"))
                .unwrap_or_default();
            rest.starts_with(|first: char| first.is_alphanumeric())
                && !url
                    .contains(|c: char| c.is_whitespace() || c.is_control() || "\"<>".contains(c))
        };
        if door.checkout_url.as_deref().is_some_and(|url| !is_web(url)) {
            bail!("`door.checkout_url` must be an http or https URL");
        }
        let editions = door.self_service.iter().flatten();
        if editions.clone().collect::<std::collections::BTreeSet<_>>().len() < editions.count() {
            bail!("`door.self_service` names an edition twice");
        }
        // Else a link that was mailed ends before another may be asked for; and a form that is not
        // counted again would be sent again.
        if self.guesses.window.to_std() > door.link_lifetime.to_std() {
            bail!("`guesses.window` must not be longer than `door.link_lifetime`");
        }
        if self.guesses.window.to_std() > self.http.replay_window.to_std() {
            bail!("`guesses.window` must not be longer than `http.replay_window`");
        }
        let (idle, lifetime) = (door.session_idle.to_std(), door.session_lifetime.to_std());
        if !(Duration::from_mins(1)..=Duration::from_hours(24))
            .contains(&door.link_lifetime.to_std())
        {
            bail!("`door.link_lifetime` must be from 1m to 1d");
        }
        // Uses within a minute count as one.
        if idle < Duration::from_mins(2) || lifetime < idle {
            bail!(
                "`door.session_idle` must be at least 2m, and `door.session_lifetime` no shorter than it"
            );
        }
        Ok(())
    }

    fn check_mail(&self) -> anyhow::Result<()> {
        if !(1..=64).contains(&self.mail.parallel) {
            bail!("`mail.parallel` must be from 1 to 64");
        }
        let Some(smtp) = &self.mail.smtp else { return Ok(()) };
        if smtp.host.is_empty() {
            bail!("`mail.smtp.host` is missing");
        }
        let is_name =
            |name: &str| name.chars().all(|c| c.is_ascii_alphanumeric() || ".-_".contains(c));
        let is_host = |name: &str| is_name(name) || name.parse::<std::net::IpAddr>().is_ok();
        if !is_host(&smtp.host) {
            bail!(
                "`mail.smtp.host` must be the name or the address of a host; `mail.smtp.port` is its port"
            );
        }
        if smtp.port == Some(0) {
            bail!("`mail.smtp.port` must not be 0");
        }
        if smtp.hello_name.as_deref().is_some_and(|name| name.is_empty() || !is_name(name)) {
            bail!("`mail.smtp.hello_name` must be the name of a host");
        }
        let (user, password) = (smtp.username.is_some(), smtp.password.is_some());
        check_pair(
            "mail.smtp",
            ("username", user),
            ("password", password),
            smtp.password_file.is_some(),
        )?;
        if user
            && smtp.tls == TlsMode::None
            && !matches!(smtp.host.as_str(), "localhost" | "127.0.0.1" | "::1")
        {
            bail!("`mail.smtp.tls` is \"none\": the password would go to {} in clear", smtp.host);
        }
        if smtp.connections == 0 {
            bail!("`mail.smtp.connections` must be at least 1");
        }
        if !(Duration::from_secs(1)..=Duration::from_mins(5)).contains(&smtp.timeout.to_std()) {
            bail!("`mail.smtp.timeout` must be from 1s to 5m");
        }
        Ok(())
    }

    fn check_s3(&self) -> anyhow::Result<()> {
        let Some(s3) = &self.s3 else { return Ok(()) };
        if s3.bucket.is_empty() {
            bail!("`s3.bucket` is missing");
        }
        // Names from before 2018 may have capitals and underscores (Amazon S3 User Guide, "Bucket
        // naming rules").
        let is_fine = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
        if !(3..=255).contains(&s3.bucket.len()) || !s3.bucket.chars().all(is_fine) {
            bail!("`s3.bucket` is no bucket's name: 3 or more letters, digits, `.`, `-` and `_`");
        }
        if s3.prefix.as_deref().is_some_and(|prefix| BlobKey::parse(prefix).is_none()) {
            bail!("`s3.prefix` must be names joined by `/`, with none at either end");
        }
        for (key, url) in
            [("s3.endpoint", &s3.endpoint), ("s3.public_endpoint", &s3.public_endpoint)]
        {
            url.as_ref().map(|url| check_url(key, url)).transpose()?;
        }
        let (id, secret) = (s3.access_key_id.is_some(), s3.secret_access_key.is_some());
        if s3.session_token.is_some() && !id {
            bail!("`s3.access_key_id` is missing: `s3.session_token` goes with it");
        }
        check_pair(
            "s3",
            ("access_key_id", id),
            ("secret_access_key", secret),
            s3.secret_access_key_file.is_some(),
        )?;
        let downloads = &self.downloads;
        for (key, span) in [
            ("lifetime", downloads.lifetime.unwrap_or(self.codes.lifetime)),
            ("fresh_lifetime", downloads.fresh_lifetime),
        ] {
            if span.0 > LONGEST_LINK {
                let days = LONGEST_LINK.num_days();
                bail!(
                    "`downloads.{key}` must be at most {days}d: S3 takes no links that live longer"
                );
            }
        }
        Ok(())
    }
}
