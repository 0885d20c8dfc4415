//! The master keys: digests of install codes, sealing of secrets at rest, the keys of registryd's
//! download links, and the tokens of the links in mails.
//!
//! A master key is never used directly: each purpose has a separate sub-key (HKDF-SHA256, RFC 5869,
//! with one label per purpose). For rotation, everything that a key makes carries the key's ID,
//! except download tokens, which are checked under every key. The first key of the ring makes new
//! values; all keys of the ring read existing ones. This crate does no I/O: registry-wiring reads
//! and writes the key file.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use chacha20poly1305::XChaCha20Poly1305;
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use hkdf::Hkdf;
use hmac::{Hmac, Mac as _};
use registry_core::entropy::hex;
use registry_core::id::CodeId;
use registry_core::install_code::PlainCode;
use registry_core::secret::{CodeDigest, DownloadToken, KeyId, Sealed};
use registry_core::vault::{OpenError, Vault};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use uuid::Uuid;
use zeroize::{Zeroize as _, Zeroizing};

/// A key of 32 bytes, wiped when dropped.
pub type Key = Zeroizing<[u8; 32]>;

const NONCE: usize = 24;

/// Reasons why a master key file cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RingError {
    /// The file contains no key.
    #[error("the file contains no key: write one key of 64 hexadecimal digits on each line")]
    Empty,
    /// A line is not a key.
    #[error("line {0} is not a key of 64 hexadecimal digits")]
    Malformed(usize),
}

struct MasterKey {
    id: KeyId,
    codes: Key,
    sealing: Key,
    links: Key,
    downloads: Key,
}

/// Number of bytes of the HMAC in a download token. 128 bits suffice, because a token can only be
/// guessed over the network.
const TOKEN_MAC: usize = 16;

impl MasterKey {
    fn new(master: &Key) -> Self {
        let id = KeyId(hex(&sub_key(master, "key id")[..4]));
        let purposes =
            ["install code digest", "sealing at rest", "download links", "download tokens"];
        let [codes, sealing, links, downloads] = purposes.map(|purpose| sub_key(master, purpose));
        Self { id, codes, sealing, links, downloads }
    }

    fn token_mac(&self, code: CodeId) -> [u8; TOKEN_MAC] {
        let mac = hmac_sha256(&self.downloads, code.0.as_bytes());
        std::array::from_fn(|index| mac[index])
    }

    fn digest(&self, code: &PlainCode) -> CodeDigest {
        CodeDigest {
            key_id: self.id.clone(),
            bytes: hmac_sha256(&self.codes, code.expose().as_bytes()),
        }
    }
}

#[expect(clippy::expect_used, reason = "HKDF-SHA256 expands to up to 8,160 bytes, this to 32")]
fn sub_key(master: &Key, purpose: &str) -> Key {
    let mut key = Key::default();
    let label = format!("appliance-registry v1: {purpose}");
    Hkdf::<Sha256>::new(None, master.as_slice())
        .expand(label.as_bytes(), key.as_mut_slice())
        .expect("32 bytes");
    key
}

#[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
fn hmac_sha256(key: &Key, message: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_slice()).expect("any length");
    mac.update(message);
    mac.finalize().into_bytes().into()
}

/// The ring of master keys, the current key first.
pub struct KeyRing {
    keys: Vec<MasterKey>,
}

impl KeyRing {
    /// Parses a ring: one key of 64 hexadecimal digits per line, the current key first. Skips empty
    /// lines and lines that begin with `#`.
    pub fn parse(text: &str) -> Result<Self, RingError> {
        let mut keys = Vec::new();
        for (number, line) in text.lines().map(str::trim).enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let key = parse_key(line).ok_or(RingError::Malformed(number + 1))?;
            keys.push(MasterKey::new(&key));
        }
        if keys.is_empty() { Err(RingError::Empty) } else { Ok(Self { keys }) }
    }

    /// Returns the text of a new ring with one key, made from random bytes.
    #[must_use]
    pub fn render(random: &Key) -> Zeroizing<String> {
        Zeroizing::new(format!("{}\n", hex(random.as_slice())))
    }

    /// Returns the keys that sign registryd's download links, with their IDs, the current key
    /// first.
    #[must_use]
    pub fn link_keys(&self) -> Vec<(KeyId, Key)> {
        self.keys.iter().map(|key| (key.id.clone(), key.links.clone())).collect()
    }
}

fn parse_key(line: &str) -> Option<Key> {
    let mut key = Key::default();
    if line.len() != 64 || !line.is_ascii() {
        return None;
    }
    for (byte, digits) in key.iter_mut().zip(line.as_bytes().chunks(2)) {
        let digit = |digit: u8| char::from(digit).to_digit(16);
        *byte = u8::try_from(digit(digits[0])? * 16 + digit(digits[1])?).ok()?;
    }
    Some(key)
}

impl Vault for KeyRing {
    fn code_digests(&self, code: &PlainCode) -> Vec<CodeDigest> {
        self.keys.iter().map(|key| key.digest(code)).collect()
    }

    #[expect(clippy::expect_used, reason = "encryption fails only beyond 256 GB")]
    fn seal(&self, context: &str, nonce: [u8; NONCE], plain: &str) -> Sealed {
        let key = &self.keys[0];
        let payload = Payload { msg: plain.as_bytes(), aad: context.as_bytes() };
        let cipher = XChaCha20Poly1305::new((&*key.sealing).into());
        let ciphertext = cipher.encrypt(&nonce.into(), payload).expect("a short text");
        Sealed { key_id: key.id.clone(), bytes: [&nonce[..], &ciphertext].concat() }
    }

    fn download_token(&self, code: CodeId) -> DownloadToken {
        let bytes = [&code.0.as_bytes()[..], &self.keys[0].token_mac(code)].concat();
        DownloadToken::new(BASE64_URL_SAFE_NO_PAD.encode(bytes))
    }

    fn download_token_read(&self, text: &str) -> Option<CodeId> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?;
        let (id, mac) = bytes.split_first_chunk::<16>()?;
        let code = CodeId(Uuid::from_bytes(*id));
        let matches = |key: &MasterKey| bool::from(key.token_mac(code).as_slice().ct_eq(mac));
        self.keys.iter().any(matches).then_some(code)
    }

    fn open(&self, context: &str, sealed: &Sealed) -> Result<Zeroizing<String>, OpenError> {
        let key = self.keys.iter().find(|key| key.id == sealed.key_id);
        let key = key.ok_or_else(|| OpenError::UnknownKey(sealed.key_id.0.clone()))?;
        let (nonce, ciphertext) =
            sealed.bytes.split_first_chunk::<NONCE>().ok_or(OpenError::Tampered)?;
        let cipher = XChaCha20Poly1305::new((&*key.sealing).into());
        let payload = Payload { msg: ciphertext, aad: context.as_bytes() };
        let plain = cipher.decrypt(nonce.into(), payload).map_err(|_| OpenError::Tampered)?;
        String::from_utf8(plain).map(Zeroizing::new).map_err(|error| {
            error.into_bytes().zeroize();
            OpenError::Tampered
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "0101010101010101010101010101010101010101010101010101010101010101";
    const NEW: &str = "0202020202020202020202020202020202020202020202020202020202020202";

    fn ring(keys: &[&str]) -> KeyRing {
        KeyRing::parse(&keys.join("\n")).unwrap()
    }

    #[test]
    fn digest_survives_key_rotation() {
        let code = PlainCode::new("K7QPM2RX9TDV".into());
        let before = ring(&[OLD]).code_digests(&code);
        let after = ring(&[NEW, OLD]).code_digests(&code);
        assert_eq!(after[1], before[0]);
        assert_ne!(after[0], before[0]);
        assert_ne!(after[0].bytes, after[1].bytes);
    }

    #[test]
    fn altered_or_moved_text_stays_sealed() {
        let ring = ring(&[OLD]);
        let sealed = ring.seal("row 1", [7; 24], "K7QPM2RX9TDV");
        assert!(!String::from_utf8_lossy(&sealed.bytes).contains("K7QP"));
        assert_eq!(*ring.open("row 1", &sealed).unwrap(), "K7QPM2RX9TDV");
        assert_eq!(ring.open("row 2", &sealed), Err(OpenError::Tampered));
        for index in 0..sealed.bytes.len() {
            let mut altered = sealed.clone();
            altered.bytes[index] ^= 1;
            assert_eq!(ring.open("row 1", &altered), Err(OpenError::Tampered), "byte {index}");
        }
        let short = Sealed { bytes: vec![0; 23], ..sealed };
        assert_eq!(ring.open("row 1", &short), Err(OpenError::Tampered));
    }

    #[test]
    fn text_opens_under_any_key_of_ring() {
        let sealed = ring(&[OLD]).seal("row", [7; 24], "text");
        assert_eq!(*ring(&[NEW, OLD]).open("row", &sealed).unwrap(), "text");
        assert_eq!(
            ring(&[NEW]).open("row", &sealed),
            Err(OpenError::UnknownKey(sealed.key_id.0.clone()))
        );
    }

    #[test]
    fn malformed_ring_names_the_line() {
        let error = |text: &str| KeyRing::parse(text).err().unwrap();
        assert_eq!(error(""), RingError::Empty);
        assert_eq!(error("# none\n\n"), RingError::Empty);
        assert_eq!(error(&format!("{OLD}\nxyz")), RingError::Malformed(2));
        assert_eq!(error(&"é".repeat(32)), RingError::Malformed(1));
        assert_eq!(error(&"+1".repeat(32)), RingError::Malformed(1));
        assert!(KeyRing::parse(&KeyRing::render(&Key::new([9; 32]))).is_ok());
    }

    #[test]
    fn download_token_needs_a_ring_key() {
        let old = KeyRing::parse(&"11".repeat(32)).unwrap();
        let rotated = KeyRing::parse(&format!("{}\n{}", "22".repeat(32), "11".repeat(32))).unwrap();
        let code = CodeId(Uuid::from_u128(7));
        let token = old.download_token(code);
        assert_eq!(rotated.download_token_read(token.expose()), Some(code));
        assert_eq!(
            old.download_token_read(rotated.download_token(code).expose()),
            None,
            "the token was made under a key that is not in the ring"
        );
        let other = old.download_token(CodeId(Uuid::from_u128(8)));
        let mixed = format!("{}{}", &other.expose()[..22], &token.expose()[22..]);
        for text in [
            "",
            "x",
            &token.expose()[..42],
            &format!("{}A", token.expose()),
            &mixed,
            "..",
            "A=",
            "%00",
        ] {
            assert_eq!(old.download_token_read(text), None, "{text}");
        }
    }
}
