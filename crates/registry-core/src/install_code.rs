//! Install codes: format, parsing and states.

use crate::clock::Timestamp;
use crate::entropy::Entropy;
use crate::id::{CodeId, EntitlementId, TenantId};
use crate::secret::{CodeDigest, secret_text};
use crate::string_enum::string_enum;
use crate::text::{ApplianceId, is_ignorable};
use std::fmt;
use zeroize::Zeroizing;

/// Upper-case letters and digits without look-alikes: no `0 O 1 I L U`.
const ALPHABET: &[u8; 30] = b"ABCDEFGHJKMNPQRSTVWXYZ23456789";

/// Range of the length setting, and therefore of all codes ever issued.
const LENGTHS: std::ops::RangeInclusive<usize> = 8..=32;

secret_text!(
    /// An install code, normalised: upper case, no dashes.
    PlainCode,
);

/// Number of characters of a new code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeLength(usize);

impl Default for CodeLength {
    /// Twelve characters: 58 bits.
    fn default() -> Self {
        Self(12)
    }
}

impl CodeLength {
    /// Accepts a length from 8 to 32 characters.
    #[must_use]
    pub fn new(length: usize) -> Option<Self> {
        LENGTHS.contains(&length).then_some(Self(length))
    }
}

impl PlainCode {
    /// Draws a code in which every character is equally likely.
    #[must_use]
    pub fn draw(entropy: &dyn Entropy, length: CodeLength) -> Self {
        let mut code = String::with_capacity(length.0);
        while code.len() < length.0 {
            let mut byte = [0];
            entropy.fill(&mut byte);
            // 240 is the largest multiple of 30 that fits a byte. Larger bytes would favour the
            // first letters.
            if byte[0] < 240 {
                code.push(char::from(ALPHABET[usize::from(byte[0] % 30)]));
            }
        }
        Self::new(code)
    }

    /// Parses a code as people type it: any case, with white space and any kind of dash inside,
    /// full-width forms, and look-alikes that no code contains (`0`, `O` as `Q`; `1`, `I`, `L` as
    /// `J`; `U` as `V`). Returns `None` for text that cannot be a code.
    #[must_use]
    pub fn parse(typed: &str) -> Option<Self> {
        // Even a code with a dash and a space around every character is far shorter.
        if typed.len() > 512 {
            return None;
        }
        let mut code = Zeroizing::new(String::with_capacity(LENGTHS.end() + 1));
        for typed in typed.chars().filter(|&c| !is_separator(c)) {
            let character = fold_character(typed);
            if !character.is_ascii()
                || !ALPHABET.contains(&(character as u8))
                || code.len() == *LENGTHS.end()
            {
                return None;
            }
            code.push(character);
        }
        LENGTHS.contains(&code.len()).then(|| Self(code))
    }

    /// The code as displayed: in groups of four with dashes. Codes of eight characters have no
    /// dashes.
    #[must_use]
    pub fn grouped(&self) -> Zeroizing<String> {
        let code = self.expose();
        if code.len() <= 8 {
            return Zeroizing::new(code.to_owned());
        }
        let mut grouped = Zeroizing::new(String::with_capacity(code.len() + code.len() / 4));
        for (index, character) in code.chars().enumerate() {
            if index > 0 && index % 4 == 0 {
                grouped.push('-');
            }
            grouped.push(character);
        }
        grouped
    }

    /// The last four characters, the only part of a code that operators see.
    #[must_use]
    pub fn last_four(&self) -> String {
        self.expose().chars().skip(self.expose().len() - 4).collect()
    }
}

/// True for white space, for dashes (Unicode's `Pd`, as keyboards and word processors produce
/// them), and for invisible characters that copying leaves behind.
fn is_separator(c: char) -> bool {
    c.is_whitespace()
        || matches!(
            c,
            '-' | '_' | '\u{58a}' | '\u{5be}' | '\u{1400}' | '\u{1806}' | '\u{2010}'
                ..='\u{2015}'
                    | '\u{2043}'
                    | '\u{207b}'
                    | '\u{208b}'
                    | '\u{2212}'
                    | '\u{2e17}'
                    | '\u{2e1a}'
                    | '\u{2e3a}'
                    | '\u{2e3b}'
                    | '\u{2e40}'
                    | '\u{2e5d}'
                    | '\u{301c}'
                    | '\u{3030}'
                    | '\u{30a0}'
                    | '\u{30fc}'
                    | '\u{fe31}'
                    | '\u{fe32}'
                    | '\u{fe58}'
                    | '\u{fe63}'
                    | '\u{ff0d}'
                    | '\u{ff3f}'
                    | '\u{10ead}'
        )
        || is_ignorable(c)
}

fn fold_character(c: char) -> char {
    let narrow = match c {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(c) - 0xfee0).unwrap_or(c),
        _ => c,
    };
    match narrow.to_ascii_uppercase() {
        '0' | 'O' => 'Q',
        '1' | 'I' | 'L' => 'J',
        'U' => 'V',
        other => other,
    }
}

/// The two kinds of codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CodeKind {
    /// Belongs to a tenant, and installs an appliance for it.
    Install,
    /// Belongs to an entitlement, and brings it to a running appliance. The tenant may be unknown
    /// until then.
    Activation,
}

string_enum!(CodeKind { Install = "install", Activation = "activation" });

/// A stored code, of either kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstallCode {
    /// Id of the code, safe to log.
    pub id: CodeId,
    /// Kind of the code.
    pub kind: CodeKind,
    /// The tenant; an activation code may not have one yet.
    pub tenant_id: Option<TenantId>,
    /// The entitlement that the code grants.
    pub entitlement_id: Option<EntitlementId>,
    /// Digest of the code.
    pub digest: CodeDigest,
    /// The last four characters.
    pub last_four: String,
    /// Time of issue.
    pub issued_at: Timestamp,
    /// Expiry.
    pub expires_at: Timestamp,
    /// The redemption, once the code was redeemed.
    pub consumed: Option<Consumption>,
    /// Time at which a newer code replaced this one.
    pub superseded_at: Option<Timestamp>,
}

/// A redemption.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consumption {
    /// Time of the redemption.
    pub at: Timestamp,
    /// The appliance that redeemed the code.
    pub by: ApplianceId,
}

/// State of a code. All states but `Live` carry the time at which they began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodeState {
    /// The code can be redeemed.
    Live,
    /// The code was redeemed.
    Consumed(Timestamp),
    /// A newer code replaced this one.
    Superseded(Timestamp),
    /// The code has expired.
    Expired(Timestamp),
}

impl InstallCode {
    /// State at `now`. A code expires *at* `expires_at`, not after it.
    #[must_use]
    pub fn state(&self, now: Timestamp) -> CodeState {
        match (&self.consumed, self.superseded_at) {
            (Some(consumption), _) => CodeState::Consumed(consumption.at),
            (None, Some(at)) => CodeState::Superseded(at),
            (None, None) if self.expires_at <= now => CodeState::Expired(self.expires_at),
            (None, None) => CodeState::Live,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R-codes-3.
    #[test]
    fn code_is_parsed_as_people_type_it() {
        for typed in [
            "K7QP-M2RX-9TDV",
            "k7qp m2rx 9tdv",
            " k7qpm2rx9tdv\n",
            "K7QP–M2RX—9TDV",
            "K7QP\u{2011}M2RX\u{2212}9TDV",
            "\u{feff}K7QP\u{a0}M2RX\u{200b}9TDV",
            "Ｋ７ＱＰ－Ｍ２ＲＸ－９ＴＤＶ",
            "K7QP\u{30a0}M2RX\u{fe31}9TDV\u{fe0f}\u{2063}",
            "\u{61c}K7QP\u{34f}M2RX9TDV",
            "K70P-M2RX-9TDU",
            "k7op-m2rx-9tdu",
        ] {
            let code = PlainCode::parse(typed).unwrap_or_else(|| panic!("{typed:?}"));
            assert_eq!(code.expose(), "K7QPM2RX9TDV", "{typed:?}");
        }
    }

    /// R-codes-4.
    #[test]
    fn malformed_code_is_none() {
        let long = "A".repeat(33);
        let spaced = "K - ".repeat(200);
        for typed in [
            "",
            "   ",
            "K7QP",
            "K7QP-M2RX-9TD!",
            "🚀🚀🚀🚀🚀🚀🚀🚀",
            "K7QPM2RX\u{0}",
            "ÄÖÜÄÖÜÄÖ",
            &long,
            &spaced,
        ] {
            assert!(PlainCode::parse(typed).is_none(), "{typed:?}");
        }
    }

    /// R-codes-1, R-codes-2.
    #[test]
    fn drawn_code_parses_from_its_groups() {
        struct Counting(std::sync::atomic::AtomicU8);
        impl Entropy for Counting {
            fn fill(&self, buffer: &mut [u8]) {
                for byte in buffer {
                    *byte = self.0.fetch_add(37, std::sync::atomic::Ordering::Relaxed);
                }
            }
        }
        let entropy = Counting(0.into());
        for length in 8..=32 {
            let code = PlainCode::draw(&entropy, CodeLength::new(length).unwrap());
            assert_eq!(code.expose().len(), length);
            assert_eq!(PlainCode::parse(&code.grouped()).unwrap().expose(), code.expose());
        }
        assert_eq!(CodeLength::new(7), None);
        assert_eq!(CodeLength::new(33), None);
    }

    /// R-codes-2.
    #[test]
    fn eight_characters_have_no_dashes() {
        assert_eq!(*PlainCode::new("K7QPM2RX9TDV".into()).grouped(), "K7QP-M2RX-9TDV");
        assert_eq!(*PlainCode::new("K7QPM2RX".into()).grouped(), "K7QPM2RX");
        assert_eq!(PlainCode::new("K7QPM2RX9TDV".into()).last_four(), "9TDV");
    }
}
