//! The codes that were attempted, each with its idempotency key. The response to a code may have
//! been lost, even if another code was attempted since: the next attempt needs the same key.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Maximum number of codes. The oldest one is dropped first.
const MAX_CODES: usize = 20;

/// The codes that were attempted, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct AttemptedCodes(Vec<Code>);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Code {
    /// SHA-256 of the code in its folded form.
    digest: String,
    idempotency_key: String,
}

impl AttemptedCodes {
    /// Removes a refused code: its response was not lost.
    pub(crate) fn remove(&mut self, code: &str) {
        let digest = digest(code);
        self.0.retain(|attempted| attempted.digest != digest);
    }

    /// Returns the key of an earlier attempt with this code, or stores `new_key` for it.
    pub(crate) fn key_for(&mut self, code: &str, new_key: String) -> String {
        let digest = digest(code);
        if let Some(earlier) = self.0.iter().find(|attempted| attempted.digest == digest) {
            return earlier.idempotency_key.clone();
        }
        let excess = (self.0.len() + 1).saturating_sub(MAX_CODES);
        self.0.drain(..excess);
        self.0.push(Code { digest, idempotency_key: new_key.clone() });
        new_key
    }
}

/// Hashes a code. All spellings that the registry folds into one code (wire contract, R-codes-3)
/// have the same digest.
fn digest(code: &str) -> String {
    let folded: String = code.chars().map(fold).filter(char::is_ascii_alphanumeric).collect();
    BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(folded))
}

fn fold(typed: char) -> char {
    let narrow = match typed {
        // Full-width forms.
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(typed) - 0xfee0).unwrap_or(typed),
        _ => typed,
    };
    match narrow.to_ascii_uppercase() {
        '0' | 'O' => 'Q',
        '1' | 'I' | 'L' => 'J',
        'U' => 'V',
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_a_code_share_its_key() {
        let mut attempted_codes = AttemptedCodes::default();
        let mut key = |code: &str, new: &str| attempted_codes.key_for(code, new.to_owned());
        assert_eq!(key("Q7JP-M2RX-9TDV", "first"), "first");
        for spelling in [
            "q7jp m2rx 9tdv",
            "O7IP-M2RX-9TDU",
            "07lp\u{2013}m2rx\u{30fc}9tdv",
            "\u{ff31}7JPM2RX9TDV",
        ] {
            assert_eq!(key(spelling, "another"), "first", "{spelling}");
        }
        assert_eq!(key("WCD6-ERRE-QGRG", "second"), "second");
        assert_eq!(key("Q7JP-M2RX-9TDV", "another"), "first");
        for number in 0..MAX_CODES {
            key(&format!("WCD6-ERRE-QG{number:02}"), "many");
        }
        assert_eq!(key("Q7JP-M2RX-9TDV", "dropped"), "dropped", "the list is bounded");
    }
}
