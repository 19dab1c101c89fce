//! Master keys.

use std::collections::BTreeMap;
use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose};
use zeroize::Zeroizing;

use crate::{Error, Result};

/// Bytes of a master key and of a data key: AES-256.
pub(crate) const KEY_BYTES: usize = 32;
/// Bytes of a GCM nonce (NIST SP 800-38D §8.2.2: 96 random bits).
pub(crate) const NONCE_BYTES: usize = 12;
/// Bytes of a GCM tag.
pub(crate) const TAG_BYTES: usize = 16;
/// Master keys kept at once: the newest, those whose rows are being rewrapped, and room for a mistake.
pub(crate) const KEYS_MAX: usize = 16;
/// What a key's check value is a MAC of.
const CHECK_TEXT: &[u8] = b"roadstead seal check 1";

/// Version of a master key; the highest wraps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyVersion(pub u32);

impl fmt::Display for KeyVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// One key of 32 bytes, wiped when dropped. Prints nothing.
pub(crate) struct Key(Zeroizing<[u8; KEY_BYTES]>);

impl Key {
    /// Reads base64, with or without padding, of exactly 32 bytes.
    pub(crate) fn parse(text: &str) -> std::result::Result<Self, &'static str> {
        // Both alphabets: `openssl rand -base64 32` writes one, most programs for tokens the other.
        const LENIENT: GeneralPurposeConfig =
            general_purpose::NO_PAD.with_decode_padding_mode(DecodePaddingMode::Indifferent);
        let text = text.trim();
        if text.len() == 2 * KEY_BYTES && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err("it looks like hex; it must be base64 of 32 bytes (openssl rand -base64 32)");
        }
        let bytes = [&alphabet::STANDARD, &alphabet::URL_SAFE]
            .into_iter()
            .find_map(|letters| GeneralPurpose::new(letters, LENIENT).decode(text).ok())
            .map(Zeroizing::new)
            .ok_or("it is not base64")?;
        let bytes: [u8; KEY_BYTES] = bytes
            .as_slice()
            .try_into()
            .map_err(|_| "it must be base64 of exactly 32 bytes (openssl rand -base64 32)")?;
        Self::new(bytes)
    }

    pub(crate) fn new(bytes: [u8; KEY_BYTES]) -> std::result::Result<Self, &'static str> {
        let key = Self(Zeroizing::new(bytes));
        if key.0.iter().all(|byte| *byte == key.0[0]) { Err("all its bytes are the same") } else { Ok(key) }
    }

    pub(crate) fn random() -> Result<Self> {
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        aws_lc_rs::rand::fill(bytes.as_mut_slice()).map_err(|_| Error::Failed)?;
        Ok(Self(bytes))
    }

    pub(crate) fn bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }

    pub(crate) fn base64(&self) -> Zeroizing<String> {
        Zeroizing::new(general_purpose::STANDARD.encode(self.0.as_slice()))
    }

    /// Nonce, ciphertext, tag.
    pub(crate) fn encrypt(&self, plain: &[u8], bound: &[u8]) -> Result<Vec<u8>> {
        let key = RandomizedNonceKey::new(&AES_256_GCM, self.0.as_slice()).map_err(|_| Error::Failed)?;
        let mut out = Vec::with_capacity(NONCE_BYTES + plain.len() + TAG_BYTES);
        out.extend_from_slice(&[0; NONCE_BYTES]);
        out.extend_from_slice(plain);
        let body = out.get_mut(NONCE_BYTES..).ok_or(Error::Failed)?;
        let (nonce, tag) = key.seal_in_place_separate_tag(Aad::from(bound), body).map_err(|_| Error::Failed)?;
        if let Some(head) = out.get_mut(..NONCE_BYTES) {
            head.copy_from_slice(nonce.as_ref());
        }
        out.extend_from_slice(tag.as_ref());
        Ok(out)
    }

    pub(crate) fn decrypt(&self, sealed: &[u8], bound: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        let (nonce, body) = sealed.split_at_checked(NONCE_BYTES).ok_or(Error::Malformed)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| Error::Malformed)?;
        let key = RandomizedNonceKey::new(&AES_256_GCM, self.0.as_slice()).map_err(|_| Error::Failed)?;
        let mut body = Zeroizing::new(body.to_vec());
        let length = key.open_in_place(nonce, Aad::from(bound), &mut body).map_err(|_| Error::Integrity)?.len();
        body.truncate(length);
        Ok(body)
    }
}

/// Master keys by version, at least one.
pub struct MasterKeys(BTreeMap<KeyVersion, Key>);

impl fmt::Debug for MasterKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MasterKeys").field(&self.0.keys().collect::<Vec<_>>()).finish()
    }
}

impl MasterKeys {
    /// Keys with their versions. `origin` says where they came from.
    pub(crate) fn of(origin: &str, keys: impl IntoIterator<Item = (KeyVersion, Key)>) -> Result<Self> {
        let bad = |why| Error::BadKey { origin: origin.to_owned(), why };
        let mut ring: BTreeMap<KeyVersion, Key> = BTreeMap::new();
        for (version, key) in keys {
            if ring.values().any(|other| other.0 == key.0) {
                return Err(bad("the same key stands there twice"));
            }
            if version.0 == 0 || ring.insert(version, key).is_some() {
                return Err(bad("versions begin at 1 and stand there once each"));
            }
        }
        match ring.len() {
            0 => Err(Error::NoKey),
            1..=KEYS_MAX => Ok(Self(ring)),
            _ => Err(bad("more keys than are kept at once")),
        }
    }

    /// The version that wraps: the newest.
    pub fn newest(&self) -> KeyVersion {
        self.0.keys().next_back().copied().unwrap_or(KeyVersion(0))
    }

    /// Every version, oldest first.
    pub fn versions(&self) -> impl Iterator<Item = KeyVersion> + '_ {
        self.0.keys().copied()
    }

    pub(crate) fn get(&self, version: KeyVersion) -> Result<&Key> {
        self.0.get(&version).ok_or(Error::MissingKey(version))
    }

    /// What is kept in a database to tell a wrong key: a MAC by the key, from which the key does not follow.
    pub(crate) fn check(&self, version: KeyVersion) -> Result<String> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.get(version)?.0.as_slice());
        Ok(general_purpose::URL_SAFE_NO_PAD.encode(hmac::sign(&key, CHECK_TEXT).as_ref()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c03_only_base64_of_32_bytes_is_a_key() {
        let good = general_purpose::STANDARD.encode((0..32).collect::<Vec<u8>>());
        assert!(Key::parse(&good).is_ok() && Key::parse(good.trim_end_matches('=')).is_ok());
        assert!(
            Key::parse(
                &general_purpose::URL_SAFE_NO_PAD.encode([0xfb; 31].iter().chain(&[1]).copied().collect::<Vec<_>>())
            )
            .is_ok()
        );
        let hex: String = (0..64).map(|index| if index % 2 == 0 { '0' } else { 'a' }).collect();
        for bad in [
            String::new(),
            general_purpose::STANDARD.encode((0..31).collect::<Vec<u8>>()),
            general_purpose::STANDARD.encode((0..33).collect::<Vec<u8>>()),
            general_purpose::STANDARD.encode([0; 32]),
            hex,
            "no base64 at all!".to_owned(),
        ] {
            assert!(Key::parse(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn c03_what_is_wrong_with_a_key_is_said() {
        let why = |text: &str| Key::parse(text).err().unwrap_or("it is a key");
        let hex = "00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF";
        assert!(why(hex).contains("looks like hex"));
        // As long, but no hex; and a key whose letters all happen to be hex digits.
        assert!(why(&"zZ".repeat(32)).contains("exactly 32 bytes"));
        assert_eq!(why("abcdef0123456789abcdef0123456789abcdef01234"), "it is a key");
        assert_eq!(why("not base64!"), "it is not base64");
        assert_eq!(why(&general_purpose::STANDARD.encode([7; 32])), "all its bytes are the same");
    }

    #[test]
    fn a_ring_has_a_key_for_each_of_its_versions() {
        let ring = |versions: &[u32]| {
            MasterKeys::of("test", versions.iter().map(|version| (KeyVersion(*version), Key::random().unwrap())))
        };
        assert_eq!(ring(&[]).unwrap_err(), Error::NoKey);
        for odd in [&[0][..], &[0, 1], &[1, 1], &[2, 1, 2]] {
            assert!(matches!(ring(odd), Err(Error::BadKey { .. })), "{odd:?}");
        }
        let most: Vec<u32> = (1..=16).collect();
        assert_eq!(ring(&most).unwrap().newest(), KeyVersion(16));
        assert!(ring(&(1..=17).collect::<Vec<_>>()).is_err());
        let versions: Vec<u32> = ring(&[7, 3]).unwrap().versions().map(|version| version.0).collect();
        assert_eq!(versions, [3, 7], "oldest first");
        let same = || Key::new([1, 2].repeat(16).try_into().unwrap()).unwrap();
        assert!(MasterKeys::of("test", [(KeyVersion(1), same()), (KeyVersion(2), same())]).is_err());
    }

    #[test]
    fn keys_print_only_their_versions() {
        let keys = MasterKeys::of("test", [(KeyVersion(1), Key::random().unwrap())]).unwrap();
        assert_eq!(format!("{keys:?}"), "MasterKeys([KeyVersion(1)])");
    }
}
