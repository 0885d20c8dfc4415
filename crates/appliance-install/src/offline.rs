//! Installation without a network. People carry the appliance's request and the code to the vendor,
//! and the registry's answer back.
//!
//! Request and answer are compact JWS, each with its own `typ`. The request is signed with a new
//! key, which its header contains (as in RFC 9449, `DPoP`). The answer names that key and the
//! request's nonce, so only this appliance accepts it. It accepts the answer once, because it then
//! deletes the request.

use std::path::Path;

use appliance_license::Invalid;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ed25519_dalek::{Signer as _, SigningKey};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::json::object;
use crate::redemption::{Identity, read_identity};
use crate::secret::{SecretText, serialize_secret};
use crate::store::{Folder, StoreError};
use crate::trust::{LicenseCheck, Trust, check_license};

const REQUEST_TYPE: &str = "appliance-request+jwt";
const ANSWER_TYPE: &str = "appliance-answer+jwt";

/// Name of the file in the state folder.
pub(crate) const FILE: &str = "offline.json";

/// Error when creating a request.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The request cannot be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The stored request is damaged.
    #[error(
        "the request in the state folder is damaged: start over with `appliance-setup reset --yes`"
    )]
    Damaged,
}

/// Reason why an answer is rejected.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// The state cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The appliance has no request, or its request was already answered.
    #[error(
        "no request of this appliance waits for an answer: create one with `appliance-setup \
         request`"
    )]
    NoRequest,
    /// No key is available for verifying the answer.
    #[error("{0}: pass the registry's keys (`registryctl keys export`) with --keys")]
    NoKeys(String),
    /// The keys cannot be stored for later commands.
    #[error("the keys for verifying licenses cannot be stored: {0}")]
    KeysNotStored(String),
    /// The registry did not sign the answer.
    #[error("the answer is not from the registry: {0}")]
    Untrusted(Invalid),
    /// The registry signed a text of another form.
    #[error("the registry signed this text, but this version cannot read it as an answer")]
    Malformed,
    /// The answer is for another appliance, or for an older request of this one.
    #[error(
        "this answer belongs to another request: use the answer to the newest request of this \
         appliance"
    )]
    AnotherRequest,
    /// The license in the answer is not valid.
    #[error("the license in the answer is not valid: {0}")]
    License(String),
}

/// A request that waits for its answer.
#[derive(Serialize, Deserialize)]
struct Pending {
    appliance_id: String,
    nonce: String,
    #[serde(serialize_with = "serialize_secret")]
    seed: SecretText,
    requested_at: u64,
}

impl Pending {
    fn new(appliance_id: &str, random: &[u8; 48], now: u64) -> Self {
        let (seed, nonce) = random.split_at(32);
        let (nonce, seed) = (encode(nonce), SecretText::new(encode(seed)));
        Self { appliance_id: appliance_id.to_owned(), nonce, seed, requested_at: now }
    }

    fn key(&self) -> Option<SigningKey> {
        let seed: [u8; 32] =
            BASE64_URL_SAFE_NO_PAD.decode(self.seed.expose()).ok()?.try_into().ok()?;
        Some(SigningKey::from_bytes(&seed))
    }
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

fn public_key(key: &SigningKey) -> String {
    encode(key.verifying_key().as_bytes())
}

/// Returns the thumbprint of a key (RFC 7638, RFC 8037 §2).
fn thumbprint(key: &SigningKey) -> String {
    let jwk = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, public_key(key));
    encode(Sha256::digest(jwk))
}

/// Returns the request for the vendor. An earlier request that waits for its answer is returned
/// again. Otherwise a new one is stored: the caller draws `random`, and `now` is in Unix seconds.
pub fn request(
    folder: &Path,
    appliance_id: &str,
    random: [u8; 48],
    now: u64,
) -> Result<String, RequestError> {
    let folder = Folder::open(folder)?;
    let stored: Option<Pending> = folder.read(FILE)?;
    let is_new = stored.is_none();
    let pending = stored.unwrap_or_else(|| Pending::new(appliance_id, &random, now));
    if is_new {
        folder.write(FILE, &pending)?;
    }
    let key = pending.key().ok_or(RequestError::Damaged)?;
    let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": public_key(&key) });
    let header = json!({ "alg": "EdDSA", "typ": REQUEST_TYPE, "jwk": jwk });
    let Pending { appliance_id, nonce, requested_at, .. } = &pending;
    let body = json!({ "appliance_id": appliance_id, "nonce": nonce, "iat": requested_at });
    let signed = format!("{}.{}", encode(header.to_string()), encode(body.to_string()));
    let signature = encode(key.sign(signed.as_bytes()).to_bytes());
    Ok(format!("{signed}.{signature}"))
}

#[derive(Deserialize)]
struct Claims {
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

/// Verifies an answer, and the license in it, at `now`, in Unix seconds.
pub fn answer(
    folder: &Path,
    text: &str,
    trust: &Trust,
    now: u64,
) -> Result<VerifiedAnswer, AnswerError> {
    let pending: Pending = Folder::open(folder)?.read(FILE)?.ok_or(AnswerError::NoRequest)?;
    let keys = trust.keys().map_err(AnswerError::NoKeys)?;
    let keys =
        keys.ok_or_else(|| AnswerError::NoKeys("no keys for verifying the answer".to_owned()))?;
    let payload = keys.payload(text.trim(), ANSWER_TYPE).map_err(AnswerError::Untrusted)?;
    let claims: Claims = object(&payload).ok_or(AnswerError::Malformed)?;
    if claims.iss != trust.issuer {
        return Err(AnswerError::Untrusted(Invalid::Issuer(claims.iss)));
    }
    let key = pending.key().ok_or(AnswerError::NoRequest)?;
    let expected = (&pending.appliance_id, &pending.nonce, &thumbprint(&key));
    if (&claims.appliance_id, &claims.nonce, &claims.cnf.jkt) != expected {
        return Err(AnswerError::AnotherRequest);
    }
    let unverified = read_identity(claims.answer.to_string().as_bytes(), &trust.free_edition)
        .ok_or(AnswerError::Malformed)?;
    let check = unverified.paid.as_ref().map(|paid| {
        let license = paid.license.expose();
        check_license(keys.clone(), &trust.issuer, unverified.tenant_id, license, now)
    });
    let license = match check {
        None => None,
        Some(LicenseCheck::Valid(license)) => Some(license),
        Some(LicenseCheck::UnknownKey) => {
            return Err(AnswerError::License("it is not signed with a trusted key".to_owned()));
        }
        Some(LicenseCheck::Invalid(reason)) => return Err(AnswerError::License(reason)),
        Some(LicenseCheck::WrongTime(problem)) => {
            return Err(AnswerError::License(format!(
                "by this machine's clock it {problem}: set the clock"
            )));
        }
    };
    trust.pin_configured().map_err(AnswerError::KeysNotStored)?;
    Ok(VerifiedAnswer {
        identity: unverified.to_identity(license),
        appliance_id: pending.appliance_id,
    })
}

/// The content of a verified answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedAnswer {
    /// Identity of the appliance.
    pub identity: Identity,
    /// Id of the appliance in its request.
    pub appliance_id: String,
}
