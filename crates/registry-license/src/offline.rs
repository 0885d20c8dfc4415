//! The request of an appliance without a network, and the registry's answer, which a person carries
//! between the two. Both are compact JWS. The request is signed with the key that its header
//! contains (as in RFC 9449, `DPoP`), the answer with the active license key. Each has a separate
//! `typ` (RFC 8725 §3.11), so neither can be mistaken for a license.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ed25519_dalek::{Signature, VerifyingKey};
use registry_core::offline::{OfflineAnswer, OfflineRequest};
use registry_core::results::Redeemed;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Deserializer, Serialize};
use sha2::{Digest as _, Sha256};

const REQUEST_TYPE: &str = "appliance-request+jwt";
pub(crate) const ANSWER_TYPE: &str = "appliance-answer+jwt";

/// Maximum size of a request, in bytes. A real request is far smaller.
const MAX_REQUEST_SIZE: usize = 4 * 1024;

/// Reasons why a request is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The text does not have the format of a request.
    #[error(
        "this is not an appliance's request, or it was cut off: use the file that \
         `appliance-setup request` wrote"
    )]
    Malformed,
    /// The signature does not match.
    #[error(
        "the request was altered: its signature does not match. Use the file that \
         `appliance-setup request` wrote"
    )]
    Signature,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    typ: String,
    /// True if the header names extensions that a verifier must support. This verifier supports
    /// none.
    #[serde(default, deserialize_with = "present")]
    crit: bool,
    jwk: Jwk,
}

/// Returns true for any value of a field, `null` included.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| true)
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    crv: String,
    x: String,
}

#[derive(Deserialize)]
struct Body {
    appliance_id: String,
    nonce: String,
}

/// Parses a request, and verifies its signature.
pub fn read_request(text: &str) -> Result<OfflineRequest, RequestError> {
    let text = text.trim();
    if text.len() > MAX_REQUEST_SIZE {
        return Err(RequestError::Malformed);
    }
    let (signed, signature) = text.rsplit_once('.').ok_or(RequestError::Malformed)?;
    let (header, body) = signed.split_once('.').ok_or(RequestError::Malformed)?;
    let Header { alg, typ, crit, jwk } = decode_json(header)?;
    let kind = (alg.as_str(), typ.as_str(), jwk.kty.as_str(), jwk.crv.as_str());
    if crit || kind != ("EdDSA", REQUEST_TYPE, "OKP", "Ed25519") {
        return Err(RequestError::Malformed);
    }
    let key = decode(&jwk.x)
        .and_then(|x| x.try_into().ok())
        .and_then(|x| VerifyingKey::from_bytes(&x).ok());
    let key = key.filter(|key| !key.is_weak()).ok_or(RequestError::Malformed)?;
    let signature = decode(signature).and_then(|bytes| Signature::from_slice(&bytes).ok());
    let signature = signature.ok_or(RequestError::Malformed)?;
    key.verify_strict(signed.as_bytes(), &signature).map_err(|_| RequestError::Signature)?;
    let Body { appliance_id, nonce } = decode_json(body)?;
    if nonce.len() < 16 {
        return Err(RequestError::Malformed);
    }
    Ok(OfflineRequest { appliance_id, nonce, key_thumbprint: thumbprint(&jwk.x) })
}

/// Returns the thumbprint of an Ed25519 key (RFC 7638, RFC 8037 §2).
fn thumbprint(x: &str) -> String {
    let jwk = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
    BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(jwk))
}

fn decode(part: &str) -> Option<Vec<u8>> {
    BASE64_URL_SAFE_NO_PAD.decode(part).ok()
}

/// Parses a JSON object. A struct can be parsed from an array of its values too.
fn decode_json<T: DeserializeOwned>(part: &str) -> Result<T, RequestError> {
    let json = decode(part).filter(|json| json.trim_ascii_start().starts_with(b"{"));
    json.and_then(|json| serde_json::from_slice(&json).ok()).ok_or(RequestError::Malformed)
}

/// Claims of an answer beside the registered ones: the request that it answers, and the fields of a
/// `/register` response.
#[derive(Serialize)]
pub(crate) struct AnswerBody<'a> {
    appliance_id: &'a str,
    nonce: &'a str,
    /// Thumbprint of the key that signed the request (RFC 7800 §3.1).
    cnf: Confirmation<'a>,
    answer: Answer<'a>,
}

#[derive(Serialize)]
struct Confirmation<'a> {
    jkt: &'a str,
}

#[derive(Serialize)]
struct Answer<'a> {
    tenant_id: String,
    edition: String,
    company_name: &'a str,
    contact_email: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_jwt: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    appliance_credential: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    check_in_url: Option<&'a str>,
}

impl<'a> From<&'a OfflineAnswer> for AnswerBody<'a> {
    fn from(answer: &'a OfflineAnswer) -> Self {
        let OfflineAnswer { request, redeemed, .. } = answer;
        Self {
            appliance_id: &request.appliance_id,
            nonce: &request.nonce,
            cnf: Confirmation { jkt: &request.key_thumbprint },
            answer: Answer::from(redeemed),
        }
    }
}

impl<'a> From<&'a Redeemed> for Answer<'a> {
    fn from(redeemed: &'a Redeemed) -> Self {
        let licensed = redeemed.licensed.as_ref();
        Self {
            tenant_id: redeemed.tenant_id.to_string(),
            edition: redeemed.edition.to_string(),
            company_name: &redeemed.company_name,
            contact_email: &redeemed.contact_email,
            first_jwt: licensed.map(|it| it.token.expose()),
            appliance_credential: licensed.map(|it| it.credential.expose()),
            check_in_url: licensed.map(|it| it.check_in_url.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::{Signer as _, SigningKey};
    use serde_json::{Value, json};

    use super::*;

    fn signed(head: &Value, body: &Value) -> String {
        let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(head), part(body));
        let signature = SigningKey::from_bytes(&[7; 32]).sign(message.as_bytes());
        format!("{message}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature.to_bytes()))
    }

    /// The signatures are correct.
    #[test]
    fn ambiguous_request_is_refused() {
        let key = SigningKey::from_bytes(&[7; 32]).verifying_key();
        let x = BASE64_URL_SAFE_NO_PAD.encode(key.as_bytes());
        let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": x });
        let head = json!({ "alg": "EdDSA", "typ": REQUEST_TYPE, "jwk": jwk });
        let body = json!({ "appliance_id": "appliance-1", "nonce": "0123456789abcdef" });
        assert!(read_request(&signed(&head, &body)).is_ok());
        let with_crit = |crit: Value| {
            let mut head = head.clone();
            head["crit"] = crit;
            head
        };
        for (head, body) in [
            (with_crit(Value::Null), body.clone()),
            (with_crit(json!([])), body.clone()),
            (with_crit(json!(["exp"])), body.clone()),
            (json!(["EdDSA", REQUEST_TYPE, null, jwk]), body.clone()),
            (head.clone(), json!(["appliance-1", "0123456789abcdef"])),
        ] {
            let result = read_request(&signed(&head, &body));
            assert_eq!(result, Err(RequestError::Malformed), "{head} {body}");
        }
    }
}
