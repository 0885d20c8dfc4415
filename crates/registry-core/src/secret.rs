//! Secrets: plain ones that cannot be printed, their digests, and sealed ones.
//!
//! A plain secret has no `Display`, no `Serialize`, and a `Debug` that prints its name only; it is
//! wiped when dropped.

use std::fmt;

use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::entropy::{self, Entropy};

macro_rules! secret_text {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name(Zeroizing<String>);

        impl $name {
            /// Takes the secret.
            #[must_use]
            pub fn new(text: String) -> Self {
                Self(Zeroizing::new(text))
            }

            /// The secret itself: only for the answer, mail or signature it is meant for.
            #[must_use]
            pub fn expose(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(..)"))
            }
        }
    )+};
}

secret_text!(
    /// What an appliance proves itself with: 256 random bits as 64 hex digits, shown once.
    PlainCredential,
    /// What somebody typed where a code belongs: it may be one.
    TypedCode,
    /// A signed license.
    LicenseToken,
    /// A signed answer for an appliance without a network: it holds a license and a credential.
    AnswerToken,
    /// A link that lets whoever has it download one file for a while.
    DownloadLink,
    /// The part of a mail's download link that stands for its install code.
    DownloadToken,
    /// A link that lets whoever has it act as the owner of an inbox, for a while.
    SignInLink,
    /// What is in the link that signs in, and in the cookie of a session.
    SignInToken,
    /// What a service proves itself with.
    ServiceToken,
);
pub(crate) use secret_text;

impl PlainCredential {
    /// Draws a new credential.
    #[must_use]
    pub fn draw(entropy: &dyn Entropy) -> Self {
        Self::new(entropy::hex(&entropy::bytes::<32>(entropy)))
    }

    /// Its digest. Plain SHA-256 is enough for 256 random bits: there is nothing to guess.
    #[must_use]
    pub fn digest(&self) -> CredentialDigest {
        CredentialDigest(Sha256::digest(self.expose().as_bytes()).into())
    }
}

impl ServiceToken {
    /// Draws a new token: 256 random bits as 64 hex digits.
    #[must_use]
    pub fn draw(entropy: &dyn Entropy) -> Self {
        Self::new(entropy::hex(&entropy::bytes::<32>(entropy)))
    }

    /// Its digest.
    #[must_use]
    pub fn digest(&self) -> ServiceTokenDigest {
        ServiceTokenDigest(Sha256::digest(self.expose().as_bytes()).into())
    }
}

impl SignInToken {
    /// Draws a new token: 256 random bits as 64 hex digits.
    #[must_use]
    pub fn draw(entropy: &dyn Entropy) -> Self {
        Self::new(entropy::hex(&entropy::bytes::<32>(entropy)))
    }

    /// Its digest.
    #[must_use]
    pub fn digest(&self) -> SignInDigest {
        SignInDigest(Sha256::digest(self.expose().as_bytes()).into())
    }
}

/// SHA-256 of a token that signs in, or of a session's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SignInDigest(pub [u8; 32]);

/// SHA-256 of a service token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ServiceTokenDigest(pub [u8; 32]);

impl ServiceTokenDigest {
    /// As it is kept: 64 lower-case hex digits.
    #[must_use]
    pub fn to_hex(&self) -> String {
        entropy::hex(&self.0)
    }

    /// Reads what [`to_hex`](Self::to_hex) wrote, in either case; `None` where it is something
    /// else.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let mut digest = [0; 32];
        for (at, byte) in digest.iter_mut().enumerate() {
            *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
        }
        Some(Self(digest))
    }
}

/// SHA-256 of a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CredentialDigest(pub [u8; 32]);

/// Names the master key that a digest or a sealed text was made under, so that keys can be rotated.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyId(pub String);

/// HMAC-SHA256 of an install code under a sub-key of the master key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CodeDigest {
    /// The master key it was made under.
    pub key_id: KeyId,
    /// The digest.
    pub bytes: [u8; 32],
}

/// A text sealed at rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// The master key it was sealed under.
    pub key_id: KeyId,
    /// Nonce and ciphertext.
    pub bytes: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_prints_its_name_only() {
        assert_eq!(format!("{:?}", PlainCredential::new("hush".into())), "PlainCredential(..)");
        assert_eq!(
            format!("{:?}", Some(LicenseToken::new("hush".into()))),
            "Some(LicenseToken(..))"
        );
    }

    #[test]
    fn a_digest_is_read_as_it_was_written_and_nothing_else_is() {
        let digest = ServiceToken::new("hush".to_owned()).digest();
        let text = digest.to_hex();
        assert_eq!(ServiceTokenDigest::from_hex(&text), Some(digest));
        assert_eq!(ServiceTokenDigest::from_hex(&text.to_uppercase()), Some(digest));
        for other in
            ["", &text[1..], &format!("{text}0"), &format!("+{}", &text[1..]), &"ä".repeat(32)]
        {
            assert_eq!(ServiceTokenDigest::from_hex(other), None, "{other}");
        }
    }
}
