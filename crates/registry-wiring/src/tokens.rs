//! The API tokens of services and operators. `tokens.json` in the data folder contains a digest of
//! each; `service-token` contains the first token, which is created with the folder.
//!
//! registryd reloads the tokens every few seconds, so it accepts a new token and refuses a revoked
//! one without a restart.

use std::fs::File;
use std::path::PathBuf;

use anyhow::{Context as _, bail, ensure};
use chrono::SubsecRound as _;
use registry_core::clock::{Clock as _, Timestamp};
use registry_core::secret::{ServiceToken, ServiceTokenDigest};
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::data::{DataFolder, read_secret, replace};
use crate::os::{OsClock, OsEntropy};

const TOKENS_FILE: &str = "tokens.json";

/// Name of the token that is created with the data folder.
const DEFAULT_NAME: &str = "default";

/// Minimum length of a token, in characters: attackers can guess tokens over the network.
const MIN_TOKEN_LENGTH: usize = 32;

/// Maximum length of a token's name, in bytes.
const MAX_NAME_LENGTH: usize = 64;

/// The kind of a token's holder. The audit shows it before the token's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenRole {
    /// A program.
    Service,
    /// A person.
    Operator,
}

/// A stored token: its digest, without the token itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenEntry {
    /// Name of the token, unique among the tokens that are not revoked.
    pub name: String,
    /// Kind of the holder.
    pub role: TokenRole,
    /// SHA-256 of the token, 64 hex digits.
    pub sha256: String,
    /// Time of the creation; `None` for the token that was created with the data folder.
    pub created_at: Option<Timestamp>,
    /// Time of the revocation; `None` for a token that is accepted.
    pub revoked_at: Option<Timestamp>,
}

impl TokenEntry {
    /// Returns the actor that the audit names for requests with this token.
    #[must_use]
    pub fn actor(&self) -> String {
        match self.role {
            TokenRole::Service => format!("service:{}", self.name),
            TokenRole::Operator => format!("operator:{}", self.name),
        }
    }

    /// Returns the digest, or `None` if `sha256` is malformed.
    #[must_use]
    pub fn digest(&self) -> Option<ServiceTokenDigest> {
        ServiceTokenDigest::from_hex(&self.sha256)
    }
}

/// The tokens of a registry, opened to be read or to be changed.
pub struct Tokens {
    path: PathBuf,
    /// The token that was created with the data folder, unless it is revoked.
    default: Option<TokenEntry>,
    entries: Vec<TokenEntry>,
    /// Lock that keeps other processes from changing the tokens; `None` if opened to be read.
    lock: Option<File>,
}

impl Tokens {
    /// Opens the tokens to be read. Creates the first token if it does not exist.
    pub fn open(config: &Config) -> anyhow::Result<Self> {
        let data = DataFolder::open(&config.data)?;
        let (token, _) = default_token(config, &data)?;
        let path = data.path().join(TOKENS_FILE);
        let entries: Vec<TokenEntry> = if path.exists() {
            let text = read_secret(&path)?;
            serde_json::from_str(&text).with_context(|| format!("{} is damaged", path.display()))?
        } else {
            Vec::new()
        };
        ensure!(
            entries.iter().all(|entry| entry.digest().is_some()),
            "{} is damaged: it contains a malformed digest",
            path.display()
        );
        let sha256 = token.digest().to_hex();
        let default = TokenEntry {
            name: DEFAULT_NAME.to_owned(),
            role: TokenRole::Service,
            sha256,
            created_at: None,
            revoked_at: None,
        };
        let is_listed = entries.iter().any(|entry| entry.sha256 == default.sha256);
        let default = Some(default).filter(|_| !is_listed);
        Ok(Self { path, default, entries, lock: None })
    }

    /// Returns all tokens, revoked ones included.
    pub fn entries(&self) -> impl Iterator<Item = &TokenEntry> {
        self.default.iter().chain(&self.entries)
    }

    /// Returns the tokens that are not revoked.
    pub fn accepted(&self) -> impl Iterator<Item = &TokenEntry> {
        self.entries().filter(|entry| entry.revoked_at.is_none())
    }

    /// Opens the tokens to be changed. Other processes that do so wait until the returned value is
    /// dropped.
    pub fn open_to_change(config: &Config) -> anyhow::Result<Self> {
        let lock = DataFolder::open(&config.data)?.lock()?;
        Ok(Self { lock: Some(lock), ..Self::open(config)? })
    }

    /// Creates a token with a name that no accepted token has. Only a digest is stored, so the
    /// token cannot be shown again.
    pub fn create(&mut self, name: &str, role: TokenRole) -> anyhow::Result<ServiceToken> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.@".contains(&byte);
        if name.is_empty()
            || name.starts_with('-')
            || name.len() > MAX_NAME_LENGTH
            || !name.bytes().all(is_allowed)
        {
            bail!(
                "`{}` is not a token name: use 1 to {MAX_NAME_LENGTH} letters, digits and `-_.@`, \
                 not beginning with `-`",
                name.escape_debug()
            );
        }
        ensure!(
            name != DEFAULT_NAME,
            "`{DEFAULT_NAME}` is the token that was created with the data folder: \
             choose another name"
        );
        ensure!(
            self.accepted().all(|entry| entry.name != name),
            "token `{name}` exists already: revoke it, or choose another name"
        );
        let token = ServiceToken::draw(&OsEntropy);
        self.entries.push(TokenEntry {
            name: name.to_owned(),
            role,
            sha256: token.digest().to_hex(),
            created_at: Some(OsClock.now().trunc_subsecs(0)),
            revoked_at: None,
        });
        self.save()?;
        Ok(token)
    }

    /// Revokes a token. Revoking the token that was created with the data folder revokes the
    /// current content of its file: another token in that file is accepted.
    pub fn revoke(&mut self, name: &str) -> anyhow::Result<()> {
        let now = OsClock.now().trunc_subsecs(0);
        if name == DEFAULT_NAME
            && let Some(default) = self.default.take()
        {
            self.entries.push(TokenEntry { revoked_at: Some(now), ..default });
            return self.save();
        }
        let entry = self
            .entries
            .iter_mut()
            .find(|entry| entry.name == name && entry.revoked_at.is_none())
            .with_context(|| format!("token `{name}` does not exist, or is revoked already"))?;
        entry.revoked_at = Some(now);
        self.save()
    }

    fn save(&self) -> anyhow::Result<()> {
        ensure!(self.lock.is_some(), "the tokens are opened to be read, not to be changed");
        let text =
            serde_json::to_string_pretty(&self.entries).context("the tokens cannot be written")?;
        replace(&self.path, &text)
            .with_context(|| format!("{} cannot be written", self.path.display()))
    }
}

/// Returns the token that is created with the data folder, or that the configuration names, and the
/// path of its file.
pub(crate) fn default_token(
    config: &Config,
    data: &DataFolder,
) -> anyhow::Result<(ServiceToken, PathBuf)> {
    let (token, file) = match &config.service_token_file {
        Some(path) => {
            (read_secret(path).context("`service_token_file` cannot be used")?, path.clone())
        }
        None => (data.default_service_token(&OsEntropy)?, data.service_token()),
    };
    check(&token).with_context(|| format!("{} cannot be used", file.display()))?;
    Ok((ServiceToken::new(token.trim().to_owned()), file))
}

/// Checks the text of a file with a service token.
pub(crate) fn check(text: &str) -> anyhow::Result<()> {
    let token = text.trim();
    ensure!(
        token.len() >= MIN_TOKEN_LENGTH && token.bytes().all(|byte| byte.is_ascii_graphic()),
        "a service token must have at least {MIN_TOKEN_LENGTH} visible ASCII characters"
    );
    Ok(())
}
