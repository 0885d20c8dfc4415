//! Installing without a network: the appliance's request is carried to the vendor with the code,
//! the registry's answer back.
//!
//! Both are compact JWS with a `typ` of their own. The request is signed with a key that is drawn
//! for it and stands in its header (as in RFC 9449, `DPoP`); the answer names that key and the
//! request's nonce, so it fits this appliance only, and, since the request is forgotten when it is
//! taken, once.

use std::path::Path;

use appliance_license::Invalid;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ed25519_dalek::{Signer as _, SigningKey};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::redemption::{Identity, claimed};
use crate::secret::{SecretText, write_down};
use crate::store::{Folder, StoreError};
use crate::trust::{Trust, Verdict, judge};

const REQUEST_TYPE: &str = "appliance-request+jwt";
const ANSWER_TYPE: &str = "appliance-answer+jwt";

/// Its name in the state folder.
pub(crate) const FILE: &str = "offline.json";

/// Why there is no request.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// It cannot be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What is kept is none.
    #[error("the request in the state folder is damaged: start over with `reset`")]
    Damaged,
}

/// Why an answer is not taken.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// The state cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Nothing was asked, or it was answered already.
    #[error(
        "no request of this appliance waits for an answer: write one with `appliance-setup request`"
    )]
    NoRequest,
    /// There is nothing to believe it by.
    #[error("{0}: name the registry's keys with --keys (`registryctl keys export`)")]
    NoKeys(String),
    /// It is not the registry's.
    #[error("this is no answer of the registry: {0}")]
    NotBelieved(Invalid),
    /// The registry said something else.
    #[error("what the registry signed is no answer that this version understands")]
    Malformed,
    /// It is for another appliance, or for an older request of this one.
    #[error(
        "this answer is for another request; carry the answer to the newest request of this appliance"
    )]
    AnotherRequest,
    /// The license in it is not good.
    #[error("the license in the answer is not good: {0}")]
    License(String),
}

/// A request that waits for its answer.
#[derive(Serialize, Deserialize)]
struct Pending {
    appliance_id: String,
    nonce: String,
    #[serde(serialize_with = "write_down")]
    seed: SecretText,
    requested_at: u64,
}

impl Pending {
    fn new(appliance_id: &str, random: &[u8; 48], now: u64) -> Self {
        let (seed, nonce) = random.split_at(32);
        let (nonce, seed) = (encoded(nonce), SecretText::new(encoded(seed)));
        Self { appliance_id: appliance_id.to_owned(), nonce, seed, requested_at: now }
    }

    fn key(&self) -> Option<SigningKey> {
        let seed: [u8; 32] =
            BASE64_URL_SAFE_NO_PAD.decode(self.seed.expose()).ok()?.try_into().ok()?;
        Some(SigningKey::from_bytes(&seed))
    }
}

fn encoded(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

fn public(key: &SigningKey) -> String {
    encoded(key.verifying_key().as_bytes())
}

/// The thumbprint of a key (RFC 7638, RFC 8037 §2).
fn thumbprint(key: &SigningKey) -> String {
    encoded(Sha256::digest(format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, public(key))))
}

/// The request to carry to the vendor; the one that waits already, where there is one. `random` is
/// drawn for it, `now` is in Unix seconds.
pub fn request(
    folder: &Path,
    appliance_id: &str,
    random: [u8; 48],
    now: u64,
) -> Result<String, RequestError> {
    let folder = Folder::open(folder)?;
    let waiting: Option<Pending> = folder.read(FILE)?;
    let is_new = waiting.is_none();
    let pending = waiting.unwrap_or_else(|| Pending::new(appliance_id, &random, now));
    if is_new {
        folder.write(FILE, &pending)?;
    }
    let key = pending.key().ok_or(RequestError::Damaged)?;
    let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": public(&key) });
    let header = json!({ "alg": "EdDSA", "typ": REQUEST_TYPE, "jwk": jwk });
    let Pending { appliance_id, nonce, requested_at, .. } = &pending;
    let body = json!({ "appliance_id": appliance_id, "nonce": nonce, "iat": requested_at });
    let signed = format!("{}.{}", encoded(header.to_string()), encoded(body.to_string()));
    let signature = encoded(key.sign(signed.as_bytes()).to_bytes());
    Ok(format!("{signed}.{signature}"))
}

#[derive(Deserialize)]
struct Body {
    iss: String,
    appliance_id: String,
    nonce: String,
    cnf: Confirmation,
    answer: Value,
}

#[derive(Deserialize)]
struct Confirmation {
    jkt: String,
}

/// Reads the answer that was carried here, and verifies it and the license in it, at `now`, in Unix
/// seconds.
pub fn answer(folder: &Path, text: &str, trust: &Trust, now: u64) -> Result<Answered, AnswerError> {
    let pending: Pending = Folder::open(folder)?.read(FILE)?.ok_or(AnswerError::NoRequest)?;
    let keys = trust.keys().map_err(AnswerError::NoKeys)?;
    let keys =
        keys.ok_or_else(|| AnswerError::NoKeys("there are no keys to believe it by".to_owned()))?;
    let payload = keys.payload(text.trim(), ANSWER_TYPE).map_err(AnswerError::NotBelieved)?;
    let body: Body = serde_json::from_slice(&payload).map_err(|_| AnswerError::Malformed)?;
    if body.iss != trust.issuer {
        return Err(AnswerError::NotBelieved(Invalid::Issuer(body.iss)));
    }
    let key = pending.key().ok_or(AnswerError::NoRequest)?;
    let expected = (&pending.appliance_id, &pending.nonce, &thumbprint(&key));
    if (&body.appliance_id, &body.nonce, &body.cnf.jkt) != expected {
        return Err(AnswerError::AnotherRequest);
    }
    let claimed = claimed(body.answer.to_string().as_bytes(), &trust.free_edition)
        .ok_or(AnswerError::Malformed)?;
    let verdict = claimed.paid.as_ref().map(|paid| {
        let license = paid.license.expose();
        judge(keys.clone(), &trust.issuer, claimed.tenant_id, license, now)
    });
    let license = match verdict {
        None => None,
        Some(Verdict::Good(license)) => Some(license),
        Some(Verdict::UnknownKey) => {
            return Err(AnswerError::License("no key that is trusted here signed it".to_owned()));
        }
        Some(Verdict::Bad(reason)) => return Err(AnswerError::License(reason)),
        Some(Verdict::Clock(problem)) => {
            return Err(AnswerError::License(format!(
                "by this machine's clock it {problem}: set the clock"
            )));
        }
    };
    trust.adopt().map_err(AnswerError::NoKeys)?;
    Ok(Answered { identity: claimed.believed(license), appliance_id: pending.appliance_id })
}

/// An identity that was carried here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// Who this appliance is.
    pub identity: Identity,
    /// What it called itself in its request.
    pub appliance_id: String,
}
