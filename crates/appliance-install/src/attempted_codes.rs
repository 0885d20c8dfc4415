//! The codes that were tried, and the key of each: its answer may have been lost, also where
//! another one was tried since.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// How many codes are remembered.
const REMEMBERED: usize = 20;

/// The codes that were tried, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct AttemptedCodes(Vec<Code>);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Code {
    /// SHA-256 of it, however it was typed.
    digest: String,
    idempotency_key: String,
}

impl AttemptedCodes {
    /// Forgets a code that was refused: there is no answer to it that could have been lost.
    pub(crate) fn refused(&mut self, typed: &str) {
        let digest = digest(typed);
        self.0.retain(|code| code.digest != digest);
    }

    /// The key of a code: the one that it was tried under before, else the fresh one.
    pub(crate) fn key_for(&mut self, typed: &str, fresh_key: String) -> String {
        let digest = digest(typed);
        if let Some(before) = self.0.iter().find(|code| code.digest == digest) {
            return before.idempotency_key.clone();
        }
        let forgotten = (self.0.len() + 1).saturating_sub(REMEMBERED);
        self.0.drain(..forgotten);
        self.0.push(Code { digest, idempotency_key: fresh_key.clone() });
        fresh_key
    }
}

/// The same for every way to type a code: as registries read them (wire contract, R-codes).
fn digest(typed: &str) -> String {
    let plain: String = typed.chars().map(folded).filter(char::is_ascii_alphanumeric).collect();
    BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(plain))
}

fn folded(typed: char) -> char {
    let narrow = match typed {
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
    fn a_code_keeps_its_key_however_it_is_typed() {
        let mut attempted_codes = AttemptedCodes::default();
        let mut key = |typed: &str, fresh: &str| attempted_codes.key_for(typed, fresh.to_owned());
        assert_eq!(key("Q7JP-M2RX-9TDV", "first"), "first");
        for typed in [
            "q7jp m2rx 9tdv",
            "O7IP-M2RX-9TDU",
            "07lp\u{2013}m2rx\u{30fc}9tdv",
            "\u{ff31}7JPM2RX9TDV",
        ] {
            assert_eq!(key(typed, "another"), "first", "{typed}");
        }
        assert_eq!(key("WCD6-ERRE-QGRG", "second"), "second");
        assert_eq!(key("Q7JP-M2RX-9TDV", "another"), "first");
        for number in 0..REMEMBERED {
            key(&format!("WCD6-ERRE-QG{number:02}"), "many");
        }
        assert_eq!(key("Q7JP-M2RX-9TDV", "forgotten"), "forgotten", "memory is bounded");
    }
}
