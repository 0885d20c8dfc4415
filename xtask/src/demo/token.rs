//! Verifies a license with the published key. It shares no code with the signer.

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ed25519_dalek::{Signature, VerifyingKey};
use serde_json::Value;

/// Returns the claims of a token.
///
/// # Errors
/// If no key of the set has signed the token.
pub(super) fn verify(token: &str, jwks: &Value) -> Result<Value> {
    let parts: Vec<&str> = token.split('.').collect();
    let [head, body, signature] = parts[..] else {
        anyhow::bail!("the token does not have three parts")
    };
    let json = |part: &str| -> Result<Value> {
        Ok(serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part)?)?)
    };
    let head = json(head)?;
    ensure!(head["alg"] == "EdDSA" && head["typ"] == "JWT", "an unexpected header: {head}");
    let keys = jwks["keys"].as_array().context("no keys are published")?;
    let key = keys.iter().find(|key| key["kid"] == head["kid"]);
    let key = key.context("the key of the token is not published")?;
    let x = BASE64_URL_SAFE_NO_PAD.decode(key["x"].as_str().context("a key without x")?)?;
    let key = VerifyingKey::from_bytes(x.as_slice().try_into()?)?;
    let signature = Signature::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(signature)?)?;
    let signed = token.rsplit_once('.').map(|(signed, _)| signed).unwrap_or_default();
    key.verify_strict(signed.as_bytes(), &signature).context("the signature is wrong")?;
    json(body)
}
