//! The parts of a token, read strictly: what could be read in two ways is not read at all.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

/// A license is far shorter than this.
const LONGEST: usize = 16 * 1024;

/// The header of a JWS (RFC 7515 §4.1).
#[derive(Deserialize)]
pub(crate) struct Header {
    pub(crate) alg: String,
    pub(crate) kid: Option<String>,
    pub(crate) typ: Option<String>,
    /// Extensions that have to be understood; none are.
    pub(crate) crit: Option<IgnoredAny>,
}

/// The claims of a license. Its texts are plain: a list of audiences, say, does not read.
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

/// A token in its parts, nothing of it believed yet.
pub(crate) struct Parts<'token> {
    pub(crate) header: Header,
    pub(crate) signed: &'token str,
    pub(crate) signature: [u8; 64],
    body: &'token str,
}

impl<'token> Parts<'token> {
    /// `None` where it is no compact JWS with a signature of 64 bytes.
    pub(crate) fn read(token: &'token str) -> Option<Self> {
        if token.len() > LONGEST {
            return None;
        }
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, body) = signed.split_once('.')?;
        if body.contains('.') {
            return None;
        }
        // Without padding, and without bits that say nothing: one signature has one text.
        let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).ok()?.try_into().ok()?;
        Some(Self { header: json(header)?, signed, signature, body })
    }

    /// The claims, once the signature is known to be good.
    pub(crate) fn claims(&self) -> Option<Claims> {
        json(self.body)
    }

    /// The same, as they were signed.
    pub(crate) fn payload(&self) -> Option<Vec<u8>> {
        BASE64_URL_SAFE_NO_PAD.decode(self.body).ok()
    }
}

fn json<T: DeserializeOwned>(part: &str) -> Option<T> {
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}
