//! The tokens that services and operators call with: `tokens.json` in the data folder holds the
//! digest of each, beside the token that was made with the folder.
//!
//! registryd looks at the file every few seconds, so that a new token works, and a revoked one
//! stops, without a restart.

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

const FILE: &str = "tokens.json";

/// The name of the token that is made with the data folder.
const DEFAULT: &str = "default";

/// A service token has at least this many characters: it is guessed at over the network.
const SHORTEST: usize = 32;

/// Names are for people and for the audit.
const LONGEST_NAME: usize = 64;

/// Whose a token is: what the audit says before its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenRole {
    /// A program's.
    Service,
    /// A person's.
    Operator,
}

/// A token, without itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenEntry {
    /// Its name; among those that are not revoked there is one of each.
    pub name: String,
    /// Whose it is.
    pub role: TokenRole,
    /// SHA-256 of the token, 64 hex digits.
    pub sha256: String,
    /// When it was made; `None` for the one that was made with the folder.
    pub created_at: Option<Timestamp>,
    /// Since when it is not admitted any more.
    pub revoked_at: Option<Timestamp>,
}

impl TokenEntry {
    /// Whom the audit names when the token is used.
    #[must_use]
    pub fn actor(&self) -> String {
        match self.role {
            TokenRole::Service => format!("service:{}", self.name),
            TokenRole::Operator => format!("operator:{}", self.name),
        }
    }

    /// The digest; `None` where the file holds something else.
    #[must_use]
    pub fn digest(&self) -> Option<ServiceTokenDigest> {
        ServiceTokenDigest::from_hex(&self.sha256)
    }
}

/// The tokens of a registry, and what can be done to them.
pub struct Tokens {
    path: PathBuf,
    /// The one that was made with the folder, where it is not revoked.
    default: Option<TokenEntry>,
    entries: Vec<TokenEntry>,
    /// What keeps others from changing them meanwhile.
    turn: Option<File>,
}

impl Tokens {
    /// Reads the tokens, and makes the first where there is none.
    pub fn open(config: &Config) -> anyhow::Result<Self> {
        let data = DataFolder::open(&config.data)?;
        let (token, _) = default_token(config, &data)?;
        let path = data.path().join(FILE);
        let entries: Vec<TokenEntry> = if path.exists() {
            let text = read_secret(&path)?;
            serde_json::from_str(&text).with_context(|| format!("{} is damaged", path.display()))?
        } else {
            Vec::new()
        };
        ensure!(
            entries.iter().all(|it| it.digest().is_some()),
            "{} is damaged: a digest",
            path.display()
        );
        let sha256 = token.digest().to_hex();
        let default = TokenEntry {
            name: DEFAULT.to_owned(),
            role: TokenRole::Service,
            sha256,
            created_at: None,
            revoked_at: None,
        };
        let default =
            Some(default).filter(|it| entries.iter().all(|known| known.sha256 != it.sha256));
        Ok(Self { path, default, entries, turn: None })
    }

    /// All tokens, also those that are revoked.
    pub fn entries(&self) -> impl Iterator<Item = &TokenEntry> {
        self.default.iter().chain(&self.entries)
    }

    /// The tokens that are admitted.
    pub fn admitted(&self) -> impl Iterator<Item = &TokenEntry> {
        self.entries().filter(|it| it.revoked_at.is_none())
    }

    /// Reads the tokens to change them: whoever else wants to waits until this is dropped.
    pub fn open_to_change(config: &Config) -> anyhow::Result<Self> {
        let turn = DataFolder::open(&config.data)?.turn()?;
        Ok(Self { turn: Some(turn), ..Self::open(config)? })
    }

    /// Makes a token under a name that no other has. It is not kept, and cannot be shown again.
    pub fn create(&mut self, name: &str, role: TokenRole) -> anyhow::Result<ServiceToken> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.@".contains(&byte);
        if name.is_empty()
            || name.starts_with('-')
            || name.len() > LONGEST_NAME
            || !name.bytes().all(plain)
        {
            bail!(
                "a name has 1 to {LONGEST_NAME} letters, digits and `-_.@`, no `-` first: `{}` has not",
                name.escape_debug()
            );
        }
        ensure!(name != DEFAULT, "`{DEFAULT}` is the token that was made with the data folder");
        ensure!(
            self.admitted().all(|it| it.name != name),
            "there is a token `{name}`: revoke it, or choose another name"
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

    /// Admits a token no more. The one that was made with the folder is revoked as what its file
    /// holds: another one in that file is admitted.
    pub fn revoke(&mut self, name: &str) -> anyhow::Result<()> {
        let now = OsClock.now().trunc_subsecs(0);
        if name == DEFAULT
            && let Some(default) = self.default.take()
        {
            self.entries.push(TokenEntry { revoked_at: Some(now), ..default });
            return self.save();
        }
        let entry = self.entries.iter_mut().find(|it| it.name == name && it.revoked_at.is_none());
        entry.with_context(|| format!("there is no token `{name}` that is admitted"))?.revoked_at =
            Some(now);
        self.save()
    }

    fn save(&self) -> anyhow::Result<()> {
        ensure!(self.turn.is_some(), "the tokens were opened to be read");
        let text =
            serde_json::to_string_pretty(&self.entries).context("the tokens cannot be written")?;
        replace(&self.path, &text)
            .with_context(|| format!("{} cannot be written", self.path.display()))
    }
}

/// The token that is made with the data folder, or that the configuration names, and its file.
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
    let token = ServiceToken::new(token.trim().to_owned());
    let text = token.expose();
    if text.len() < SHORTEST || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        bail!(
            "{} must hold one service token of at least {SHORTEST} visible ASCII characters",
            file.display()
        );
    }
    Ok((token, file))
}
