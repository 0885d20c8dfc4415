//! Secrets: plain ones that cannot be printed, digests, and sealed texts.
//!
//! A plain secret has no `Display`, no `Serialize`, and a `Debug` that prints only the type's name.
//! The memory is wiped on drop.

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
            /// Wraps a plain secret.
            #[must_use]
            pub fn new(text: String) -> Self {
                Self(Zeroizing::new(text))
            }

            /// The plain secret. Only the response, mail or signature that it is meant for may use
            /// it.
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
    /// Credential of an appliance: 256 random bits as 64 hex digits, shown once.
    PlainCredential,
    /// Text entered as an install code. It may be a real code, so it is treated as a secret.
    TypedCode,
    /// A signed license.
    LicenseToken,
    /// A signed response for an appliance without a network. It contains a license and a
    /// credential.
    AnswerToken,
    /// A link that downloads one file for a limited time, without other proof.
    DownloadLink,
    /// The part of a mail's download link that identifies the install code.
    DownloadToken,
    /// A link that gives its bearer, for a limited time, the rights of the inbox's owner.
    SignInLink,
    /// The token in a sign-in link or in a session's cookie.
    SignInToken,
    /// Bearer token of a service.
    ServiceToken,
);
pub(crate) use secret_text;

impl PlainCredential {
    /// Draws a new credential.
    #[must_use]
    pub fn draw(entropy: &dyn Entropy) -> Self {
        Self::new(entropy::hex(&entropy::bytes::<32>(entropy)))
    }

    /// Returns the digest. Plain SHA-256 is enough, because 256 random bits cannot be guessed.
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

    /// Returns the digest.
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

    /// Returns the digest.
    #[must_use]
    pub fn digest(&self) -> SignInDigest {
        SignInDigest(Sha256::digest(self.expose().as_bytes()).into())
    }
}

/// SHA-256 of the token of a sign-in link or a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SignInDigest(pub [u8; 32]);

/// SHA-256 of a service token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ServiceTokenDigest(pub [u8; 32]);

impl ServiceTokenDigest {
    /// The digest as stored: 64 lower-case hex digits.
    #[must_use]
    pub fn to_hex(&self) -> String {
        entropy::hex(&self.0)
    }

    /// Parses the output of [`to_hex`](Self::to_hex), in either case. Returns `None` for other
    /// text.
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CredentialDigest(pub [u8; 32]);

/// Id of the master key behind a digest or a sealed text. Makes key rotation possible.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyId(pub String);

/// HMAC-SHA256 of an install code, under a sub-key of the master key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CodeDigest {
    /// The master key of the digest.
    pub key_id: KeyId,
    /// The digest.
    pub bytes: [u8; 32],
}

/// A text encrypted for storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// The master key that encrypted the text.
    pub key_id: KeyId,
    /// Nonce and ciphertext.
    pub bytes: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_hides_secrets() {
        assert_eq!(format!("{:?}", PlainCredential::new("hush".into())), "PlainCredential(..)");
        assert_eq!(
            format!("{:?}", Some(LicenseToken::new("hush".into()))),
            "Some(LicenseToken(..))"
        );
    }

    #[test]
    fn digest_survives_hex() {
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
