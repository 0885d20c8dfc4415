//! Strict parsing of a token: a text that could be read in two ways is rejected.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Deserializer};

/// Maximum length of a token, in bytes. A license is far shorter.
const MAX_LENGTH: usize = 16 * 1024;

/// The header of a JWS (RFC 7515 §4.1).
#[derive(Deserialize)]
pub(crate) struct Header {
    pub(crate) alg: String,
    pub(crate) kid: Option<String>,
    pub(crate) typ: String,
    /// True if the header names extensions that a verifier must support. This verifier supports
    /// none. `null` and an empty list are not allowed either (RFC 7515 §4.1.11).
    #[serde(default, deserialize_with = "present")]
    pub(crate) crit: bool,
}

/// Returns true for any value of a field, `null` included.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| true)
}

/// The claims of a license. Each text must be a plain string: a list of audiences fails to parse.
#[derive(Deserialize)]
pub(crate) struct Claims {
    pub(crate) iss: String,
    pub(crate) sub: String,
    pub(crate) aud: String,
    pub(crate) cust: String,
    pub(crate) tier: String,
    pub(crate) seats: Option<u32>,
    pub(crate) iat: u64,
    pub(crate) exp: u64,
}

/// A token split into its parts. Nothing is verified yet.
pub(crate) struct Parts<'token> {
    pub(crate) header: Header,
    pub(crate) signed: &'token str,
    pub(crate) signature: [u8; 64],
    body: &'token str,
}

impl<'token> Parts<'token> {
    /// Splits a token. Returns `None` if the text is not a compact JWS with a 64-byte signature.
    pub(crate) fn parse(token: &'token str) -> Option<Self> {
        if token.len() > MAX_LENGTH {
            return None;
        }
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, body) = signed.split_once('.')?;
        if body.contains('.') {
            return None;
        }
        // Padding and unused bits are rejected: a signature has exactly one encoding.
        let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).ok()?.try_into().ok()?;
        Some(Self { header: json(header)?, signed, signature, body })
    }

    /// Returns the claims. The caller verifies the signature first.
    pub(crate) fn claims(&self) -> Option<Claims> {
        json(self.body)
    }

    /// Returns the signed payload, byte for byte. The caller verifies the signature first.
    pub(crate) fn payload(&self) -> Option<Vec<u8>> {
        BASE64_URL_SAFE_NO_PAD.decode(self.body).ok()
    }
}

fn json<T: DeserializeOwned>(part: &str) -> Option<T> {
    object(&BASE64_URL_SAFE_NO_PAD.decode(part).ok()?)
}

/// Parses a JSON object. A struct can be parsed from an array of its values too.
pub(crate) fn object<T: DeserializeOwned>(json: &[u8]) -> Option<T> {
    if !json.trim_ascii_start().starts_with(b"{") {
        return None;
    }
    serde_json::from_slice(json).ok()
}
