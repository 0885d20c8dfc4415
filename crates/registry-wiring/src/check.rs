//! Checks of a configuration beyond its values: the files that it names. Nothing is created or
//! changed, and nothing is connected to.

use std::path::Path;

use anyhow::Context as _;
use registry_license::{ManifestKey, Signer};
use registry_vault::KeyRing;

use crate::config::Config;
use crate::data::read_secret;
use crate::{blobs, database, mail, tokens};

/// Returns everything that is wrong with the files that the configuration names.
///
/// # Panics
///
/// Outside of a Tokio runtime, which the client of the mail server needs.
#[must_use]
pub fn check(config: &Config, public_url: &str) -> Vec<String> {
    let checks = [
        secret("service_token_file", config.service_token_file.as_deref(), tokens::check),
        secret("master_key_file", config.master_key_file.as_deref(), |text| {
            KeyRing::parse(text).map(drop).map_err(Into::into)
        }),
        secret("license.key_file", config.license.key_file.as_deref(), |pem| {
            Signer::from_pem(pem, config.license.kid.clone()).map(drop).map_err(Into::into)
        }),
        secret(
            "downloads.manifest_key_file",
            config.downloads.manifest_key_file.as_deref(),
            |pem| ManifestKey::from_pem(pem).map(drop).map_err(Into::into),
        ),
        database::check(config),
        blobs::check(config),
        mail::check(config, public_url),
    ];
    let failed = checks.into_iter().filter_map(Result::err);
    failed.map(|error| format!("{error:#}")).collect()
}

fn secret(
    key: &str,
    file: Option<&Path>,
    parse: impl FnOnce(&str) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let Some(file) = file else { return Ok(()) };
    read_secret(file)
        .and_then(|text| parse(&text))
        .with_context(|| format!("`{key}` cannot be used"))
}
