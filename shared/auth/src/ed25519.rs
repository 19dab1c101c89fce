//! Ed25519 keys: made, read, written, and turned into what signs and checks tokens.

use std::fmt;

use aws_lc_rs::encoding::AsBigEndian as _;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{DecodingKey, EncodingKey};
use roadstead_runtime::Secret;
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject as _;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::{Error, Result};

/// Bytes of a public key, and of a private key's seed (RFC 8032 §5.1.5).
pub const KEY_BYTES: usize = 32;
/// Longest PEM text that is read: a key of ours has 119 bytes, a comment before it is allowed.
pub const PEM_MAX: usize = 4 * 1024;
/// Width of a line of PEM (RFC 7468 §2).
const PEM_WIDTH: usize = 64;

/// A public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKey([u8; KEY_BYTES]);

impl PublicKey {
    /// Reads base64url without padding of the 32 bytes.
    pub fn parse(text: &str) -> Result<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| Error::BadKey("not base64url"))?;
        bytes.try_into().map(Self).map_err(|_| Error::BadKey("an Ed25519 public key has 32 bytes"))
    }

    /// Base64url without padding.
    pub fn base64url(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// The key's name: its RFC 7638 thumbprint, so that every replica gives the same key the same name.
    pub fn kid(&self) -> String {
        let canonical = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, self.base64url());
        URL_SAFE_NO_PAD.encode(Sha256::digest(canonical.as_bytes()))
    }

    pub(crate) fn decoding(&self) -> DecodingKey {
        DecodingKey::from_ed_der(&self.0)
    }
}

/// A private key. Prints only its name.
#[derive(Clone)]
pub struct PrivateKey {
    seed: Zeroizing<[u8; KEY_BYTES]>,
    encoding: EncodingKey,
    public: PublicKey,
    kid: String,
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({})", self.kid)
    }
}

impl PrivateKey {
    /// A new key from the operating system's randomness.
    pub fn generate() -> Result<Self> {
        let pair = Ed25519KeyPair::generate().map_err(|_| Error::BadKey("no key could be made"))?;
        Self::from_pair(&pair)
    }

    /// The key with this seed.
    pub fn from_seed(seed: &[u8]) -> Result<Self> {
        if seed.len() != KEY_BYTES {
            return Err(Error::BadKey("an Ed25519 private key has 32 bytes"));
        }
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| Error::BadKey("not an Ed25519 key"))?;
        Self::from_pair(&pair)
    }

    /// Reads a PKCS#8 private key in PEM form.
    pub fn from_pem(pem: &str) -> Result<Self> {
        if pem.len() > PEM_MAX {
            return Err(Error::BadKey("the PEM text is too long"));
        }
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| Error::BadKey("not a PKCS#8 PEM"))?;
        let pair =
            Ed25519KeyPair::from_pkcs8(der.secret_pkcs8_der()).map_err(|_| Error::BadKey("not an Ed25519 key"))?;
        Self::from_pair(&pair)
    }

    fn from_pair(pair: &Ed25519KeyPair) -> Result<Self> {
        let unusable = |_| Error::BadKey("the key cannot be written");
        let mut seed = Zeroizing::new([0; KEY_BYTES]);
        let exported = pair.seed().and_then(|seed| seed.as_be_bytes()).map_err(unusable)?;
        seed.copy_from_slice(exported.as_ref().get(..KEY_BYTES).ok_or(Error::BadKey("the key cannot be written"))?);
        let public: [u8; KEY_BYTES] =
            pair.public_key().as_ref().try_into().map_err(|_| Error::BadKey("the key cannot be written"))?;
        let public = PublicKey(public);
        let encoding = EncodingKey::from_ed_der(pair.to_pkcs8v1().map_err(unusable)?.as_ref());
        Ok(Self { seed, encoding, public, kid: public.kid() })
    }

    /// PKCS#8 in PEM form.
    pub fn pem(&self) -> Secret {
        let body = Zeroizing::new(STANDARD.encode(self.encoding.as_bytes()));
        let mut text = String::from("-----BEGIN PRIVATE KEY-----\n");
        let mut rest = body.as_str();
        while !rest.is_empty() {
            let (line, tail) = rest.split_at(rest.len().min(PEM_WIDTH));
            text.push_str(line);
            text.push('\n');
            rest = tail;
        }
        text.push_str("-----END PRIVATE KEY-----\n");
        Secret::new(text)
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        self.public
    }

    /// The key's name.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The seed, base64url: the `d` of a JWK.
    pub(crate) fn seed_base64url(&self) -> Zeroizing<String> {
        Zeroizing::new(URL_SAFE_NO_PAD.encode(self.seed.as_slice()))
    }

    pub(crate) fn encoding(&self) -> &EncodingKey {
        &self.encoding
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_survives_pem_and_seed() {
        let key = PrivateKey::generate().unwrap();
        let pem = key.pem();
        assert_eq!(PrivateKey::from_pem(pem.expose()).unwrap().public(), key.public());
        assert_eq!(PrivateKey::from_seed(key.seed.as_slice()).unwrap().kid(), key.kid());
        assert_eq!(PublicKey::parse(&key.public().base64url()).unwrap(), key.public());
    }

    #[test]
    fn pem_is_read_up_to_its_bound_and_written_in_lines() {
        let key = PrivateKey::generate().unwrap();
        let pem = key.pem();
        assert!(pem.expose().lines().all(|line| (1..=PEM_WIDTH).contains(&line.len())), "RFC 7468");
        let commented = |length: usize| format!("{}\n{}", "#".repeat(length - 1 - pem.expose().len()), pem.expose());
        assert_eq!(PEM_MAX, 4_096);
        assert_eq!(PrivateKey::from_pem(&commented(PEM_MAX)).unwrap().public(), key.public());
        assert!(PrivateKey::from_pem(&commented(PEM_MAX + 1)).is_err());
        assert!(PrivateKey::from_pem(&commented(PEM_MAX * 3)).is_err());
    }

    #[test]
    fn seeds_and_public_keys_have_32_bytes() {
        for length in [0, 31, 33, 64] {
            assert!(PrivateKey::from_seed(&vec![7; length]).is_err(), "{length}");
            assert!(PublicKey::parse(&URL_SAFE_NO_PAD.encode(vec![7; length])).is_err(), "{length}");
        }
    }

    #[test]
    fn the_name_is_the_thumbprint_of_rfc_8037() {
        let public = PublicKey::parse("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo").unwrap();
        assert_eq!(public.kid(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }

    #[test]
    fn a_private_key_prints_only_its_name() {
        let key = PrivateKey::generate().unwrap();
        let printed = format!("{key:?} {:?}", key.pem());
        assert!(!printed.contains(key.seed_base64url().as_str()) && printed.contains(key.kid()));
    }

    proptest! {
        #[test]
        fn garbage_does_not_panic(text in ".{0,200}", bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = PrivateKey::from_pem(&text);
            let _ = PrivateKey::from_pem(&format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n"));
            let _ = PrivateKey::from_seed(&bytes);
            let _ = PublicKey::parse(&text);
        }
    }
}
