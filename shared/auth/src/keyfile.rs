//! Where the user service's private keys live: a JWK set with private members (RFC 7517, RFC 8037) in a file that only
//! the service may read, the same file for every replica. Never in the database in clear.
//!
//! Three purposes: `root` signs key sets for agents, `identity` signs identities, `access` signs access tokens. Beside
//! them the pepper, with which digests of API keys and refresh tokens are sealed before they are stored: who reads the
//! database cannot use them, who writes it cannot make one.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Duration, Utc};
use hmac::{Hmac, KeyInit, Mac};
use roadstead_runtime::Secret;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::ed25519::{KEY_BYTES, PrivateKey};
use crate::identity::{RootKey, SigningKeys};
use crate::jwt::KeySet;
use crate::{Error, Result, hex};

/// Bytes of the pepper.
const PEPPER_BYTES: usize = 32;
/// Longest file that is read.
pub const FILE_MAX: usize = 64 * 1024;
/// Keys kept for each purpose: the new one, the one before it, and one more for a second rotation soon after.
pub const KEPT: usize = 3;
/// A new key is published for so long before it signs: agents and front doors have fetched the set by then.
pub const PUBLISHED_AHEAD_MINUTES: i64 = 10;

/// One key with its age.
#[derive(Debug, Clone)]
struct Aged {
    key: PrivateKey,
    created_at: DateTime<Utc>,
}

/// The keys of a hub.
#[derive(Clone)]
pub struct KeyFile {
    root: Aged,
    // Newest first, at least one.
    identity: Vec<Aged>,
    access: Vec<Aged>,
    pepper: Pepper,
}

/// Seals digests. Never changes in the life of a hub: what it sealed could not be checked any more.
#[derive(Clone)]
pub struct Pepper(Zeroizing<[u8; PEPPER_BYTES]>);

impl fmt::Debug for Pepper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pepper(***)")
    }
}

impl Pepper {
    fn generate() -> Result<Self> {
        let mut bytes = Zeroizing::new([0; PEPPER_BYTES]);
        aws_lc_rs::rand::fill(bytes.as_mut_slice()).map_err(|_| Error::BadKey("no randomness"))?;
        Ok(Self(bytes))
    }

    fn parse(text: &str) -> Result<Self> {
        let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(text).map_err(|_| Error::BadKey("not base64url"))?);
        let bytes = bytes.as_slice().try_into().map_err(|_| Error::BadKey("the pepper has 32 bytes"))?;
        Ok(Self(Zeroizing::new(bytes)))
    }

    /// The key that signs the audit trail's checkpoints, when the settings name none: it follows from the pepper, so every
    /// replica has it and it stays the same in the life of the hub.
    pub fn checkpoint_key(&self) -> Result<PrivateKey> {
        let mut state = Hmac::<Sha256>::new_from_slice(self.0.as_slice()).map_err(|_| Error::BadKey("the pepper"))?;
        state.update(b"roadstead audit checkpoint key 1");
        PrivateKey::from_seed(&state.finalize().into_bytes())
    }

    /// HMAC-SHA256 of a digest, lower-case hex: what is stored.
    pub fn seal(&self, digest: &str) -> Result<String> {
        let mut state = Hmac::<Sha256>::new_from_slice(self.0.as_slice()).map_err(|_| Error::BadKey("the pepper"))?;
        state.update(digest.as_bytes());
        Ok(hex::encode(&state.finalize().into_bytes()))
    }
}

impl fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyFile").field("root", &self.root.key).finish_non_exhaustive()
    }
}

#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(deny_unknown_fields)]
struct Entry {
    kty: String,
    crv: String,
    kid: String,
    x: String,
    d: String,
    purpose: String,
    // Seconds since 1970, like every time inside a token.
    created_at: i64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    keys: Vec<Entry>,
    pepper: Zeroizing<String>,
}

impl KeyFile {
    /// New keys for a new hub.
    pub fn generate(now: DateTime<Utc>) -> Result<Self> {
        let aged = || PrivateKey::generate().map(|key| Aged { key, created_at: now });
        Ok(Self { root: aged()?, identity: vec![aged()?], access: vec![aged()?], pepper: Pepper::generate()? })
    }

    /// Reads the file's text.
    pub fn parse(text: &str) -> Result<Self> {
        if text.len() > FILE_MAX {
            return Err(Error::BadKey("the key file is too long"));
        }
        let file: File =
            serde_json::from_str(text).map_err(|_| Error::BadKey("the key file is not a private JWK set"))?;
        let (mut roots, mut identity, mut access) = (Vec::new(), Vec::new(), Vec::new());
        for entry in &file.keys {
            let aged = entry.open()?;
            match entry.purpose.as_str() {
                "root" => roots.push(aged),
                "identity" => identity.push(aged),
                "access" => access.push(aged),
                _ => return Err(Error::BadKey("the key file names an unknown purpose")),
            }
        }
        for keys in [&mut identity, &mut access] {
            if keys.is_empty() || keys.len() > KEPT {
                return Err(Error::BadKey("the key file needs one to three keys for identity and for access"));
            }
            keys.sort_by_key(|aged| std::cmp::Reverse(aged.created_at));
        }
        let (Some(root), true) = (roots.pop(), roots.is_empty()) else {
            return Err(Error::BadKey("the key file needs exactly one root key"));
        };
        Ok(Self { root, identity, access, pepper: Pepper::parse(&file.pepper)? })
    }

    /// The file's text.
    pub fn to_json(&self) -> Result<Secret> {
        let purposes =
            [(std::slice::from_ref(&self.root), "root"), (&self.identity, "identity"), (&self.access, "access")];
        let keys =
            purposes.into_iter().flat_map(|(keys, purpose)| keys.iter().map(move |aged| Entry::seal(aged, purpose)));
        let pepper = Zeroizing::new(URL_SAFE_NO_PAD.encode(self.pepper.0.as_slice()));
        let file = File { keys: keys.collect(), pepper };
        serde_json::to_string_pretty(&file).map(Secret::new).map_err(|_| Error::BadKey("the keys cannot be written"))
    }

    /// Adds a new key for identities and one for access tokens. They are published at once and sign after
    /// [`PUBLISHED_AHEAD_MINUTES`]; the ones before them stay published, so what they signed stays good.
    pub fn rotate(&mut self, now: DateTime<Utc>) -> Result<()> {
        for keys in [&mut self.identity, &mut self.access] {
            keys.insert(0, Aged { key: PrivateKey::generate()?, created_at: now });
            keys.truncate(KEPT);
        }
        Ok(())
    }

    /// When the newest key was made.
    pub fn newest(&self) -> DateTime<Utc> {
        self.identity.iter().chain(&self.access).map(|aged| aged.created_at).max().unwrap_or(self.root.created_at)
    }

    /// What seals digests.
    pub fn pepper(&self) -> &Pepper {
        &self.pepper
    }

    /// Whether both are files of the same hub: same root, same pepper.
    pub fn same_hub(&self, other: &Self) -> bool {
        self.root.key.public() == other.root.key.public() && self.pepper.0 == other.pepper.0
    }

    /// The root.
    pub fn root(&self) -> RootKey {
        RootKey::new(self.root.key.clone())
    }

    /// The keys that sign identities now.
    pub fn identity(&self, now: DateTime<Utc>) -> SigningKeys {
        let current = signing(&self.identity, now).unwrap_or(&self.root);
        SigningKeys::new(current.key.clone(), self.identity.iter().map(|aged| aged.key.public()))
    }

    /// The key that signs access tokens now.
    pub fn access(&self, now: DateTime<Utc>) -> PrivateKey {
        signing(&self.access, now).unwrap_or(&self.root).key.clone()
    }

    /// The keys with which access tokens are checked.
    pub fn access_keys(&self) -> KeySet {
        KeySet::of(self.access.iter().map(|aged| aged.key.public()))
    }
}

/// The newest key that was published long enough ago; the oldest where none was (a new hub).
fn signing(newest_first: &[Aged], now: DateTime<Utc>) -> Option<&Aged> {
    let published_by = now - Duration::minutes(PUBLISHED_AHEAD_MINUTES);
    newest_first.iter().find(|aged| aged.created_at <= published_by).or_else(|| newest_first.last())
}

impl Entry {
    fn seal(aged: &Aged, purpose: &str) -> Self {
        Self {
            kty: "OKP".to_owned(),
            crv: "Ed25519".to_owned(),
            kid: aged.key.kid().to_owned(),
            x: aged.key.public().base64url(),
            d: aged.key.seed_base64url().to_string(),
            purpose: purpose.to_owned(),
            created_at: aged.created_at.timestamp(),
        }
    }

    fn open(&self) -> Result<Aged> {
        if self.kty != "OKP" || self.crv != "Ed25519" {
            return Err(Error::BadKey("the key file may hold Ed25519 keys only"));
        }
        let seed = Zeroizing::new(URL_SAFE_NO_PAD.decode(&self.d).map_err(|_| Error::BadKey("not base64url"))?);
        if seed.len() != KEY_BYTES {
            return Err(Error::BadKey("an Ed25519 private key has 32 bytes"));
        }
        let key = PrivateKey::from_seed(&seed)?;
        // A public half that does not belong to the private one means that the file was edited wrongly.
        if key.public().base64url() != self.x || key.kid() != self.kid {
            return Err(Error::BadKey("a public key in the key file does not belong to its private key"));
        }
        let created_at = DateTime::from_timestamp(self.created_at, 0).ok_or(Error::BadKey("a time is out of range"))?;
        Ok(Aged { key, created_at })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn start() -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 0).unwrap()
    }

    #[test]
    fn the_file_reads_back() {
        let file = KeyFile::generate(start()).unwrap();
        let text = file.to_json().unwrap();
        let read = KeyFile::parse(text.expose()).unwrap();
        assert_eq!(read.root().public_base64url(), file.root().public_base64url());
        assert_eq!(read.access_keys(), file.access_keys());
        assert!(read.same_hub(&file) && !read.same_hub(&KeyFile::generate(start()).unwrap()));
        assert_eq!(read.pepper().seal("digest").unwrap(), file.pepper().seal("digest").unwrap());
        assert!(!format!("{file:?}").contains(file.root.key.seed_base64url().as_str()));
    }

    #[test]
    fn a_new_key_is_published_before_it_signs() {
        let mut file = KeyFile::generate(start()).unwrap();
        let first = file.access(start()).kid().to_owned();
        let later = start() + Duration::days(90);
        file.rotate(later).unwrap();
        assert_eq!(file.access(later).kid(), first, "the old key signs at first");
        assert_eq!(file.access_keys().jwks().len(), 2, "both are published");
        let after = later + Duration::minutes(PUBLISHED_AHEAD_MINUTES);
        assert_ne!(file.access(after).kid(), first);
        for _ in 0..5 {
            file.rotate(after).unwrap();
        }
        assert_eq!(file.access_keys().jwks().len(), KEPT);
        assert!(KeyFile::parse(file.to_json().unwrap().expose()).is_ok());
    }

    #[test]
    fn edited_files_are_refused() {
        let one = KeyFile::generate(start()).unwrap();
        let text = one.to_json().unwrap();
        let other = KeyFile::generate(start()).unwrap();
        let x = one.root.key.public().base64url();
        let swapped = text.expose().replace(&x, &other.root.key.public().base64url());
        for bad in ["", "{}", r#"{"keys":[]}"#, swapped.as_str(), &text.expose().replace("\"root\"", "\"access\"")] {
            assert!(KeyFile::parse(bad).is_err());
        }
    }

    /// The file with one text in another's place.
    fn with(file: &KeyFile, from: &str, to: &str) -> String {
        let text = file.to_json().unwrap();
        assert!(text.expose().contains(from), "{from}");
        text.expose().replace(from, to)
    }

    #[test]
    fn each_purpose_has_its_keys() {
        let mut file = KeyFile::generate(start()).unwrap();
        for (from, to) in [
            ("\"access\"", "\"identity\""),
            ("\"identity\"", "\"access\""),
            ("\"access\"", "\"else\""),
            ("\"OKP\"", "\"EC\""),
            ("\"Ed25519\"", "\"X25519\""),
            (file.root.key.kid(), file.access[0].key.kid()),
        ] {
            assert!(KeyFile::parse(&with(&file, from, to)).is_err(), "{from} {to}");
        }
        for _ in 0..KEPT {
            file.access.push(Aged { key: PrivateKey::generate().unwrap(), created_at: start() });
            let few = file.access.len() <= KEPT;
            assert_eq!(KeyFile::parse(file.to_json().unwrap().expose()).is_ok(), few, "{}", file.access.len());
        }
        let mut rootless: serde_json::Value =
            serde_json::from_str(KeyFile::generate(start()).unwrap().to_json().unwrap().expose()).unwrap();
        let root = rootless["keys"].as_array_mut().unwrap().remove(0);
        assert!(KeyFile::parse(&rootless.to_string()).is_err());
        rootless["keys"].as_array_mut().unwrap().extend([root.clone(), root]);
        assert!(KeyFile::parse(&rootless.to_string()).is_err(), "two roots");
    }

    #[test]
    fn the_file_is_read_up_to_its_bound() {
        let text = KeyFile::generate(start()).unwrap().to_json().unwrap();
        let padded = |length: usize| format!("{}{}", text.expose(), " ".repeat(length - text.expose().len()));
        assert_eq!(FILE_MAX, 65_536);
        assert!(KeyFile::parse(&padded(FILE_MAX)).is_ok());
        assert!(KeyFile::parse(&padded(FILE_MAX + 1)).is_err() && KeyFile::parse(&padded(FILE_MAX * 2)).is_err());
    }

    #[test]
    fn another_root_or_another_pepper_is_another_hub() {
        let (one, two) = (KeyFile::generate(start()).unwrap(), KeyFile::generate(start()).unwrap());
        assert!(one.same_hub(&KeyFile { access: two.access.clone(), ..one.clone() }));
        assert!(!one.same_hub(&KeyFile { pepper: two.pepper.clone(), ..one.clone() }));
        assert!(!one.same_hub(&KeyFile { root: two.root.clone(), ..one.clone() }));
    }

    #[test]
    fn a_seal_depends_on_the_digest_and_the_pepper() {
        let (one, two) = (KeyFile::generate(start()).unwrap(), KeyFile::generate(start()).unwrap());
        let sealed = one.pepper().seal("digest").unwrap();
        assert!(sealed.len() == 64 && hex::decode(&sealed).is_some(), "{sealed}");
        assert_ne!(sealed, one.pepper().seal("digesu").unwrap());
        assert_ne!(sealed, two.pepper().seal("digest").unwrap());
        let names = [&one, &one, &two].map(|file| file.pepper().checkpoint_key().unwrap().kid().to_owned());
        assert!(names[0] == names[1] && names[1] != names[2]);
        // HMAC-SHA256, computed apart: what was sealed before must be found again.
        let zero = Pepper(Zeroizing::new([0; PEPPER_BYTES]));
        assert_eq!(zero.seal("digest").unwrap(), "7bf3903e9eaf6a33c1a682e1a56d28b99827cab1092692ca5f88d91df6e60cdf");
    }

    #[test]
    fn what_prints_keys_prints_names() {
        let file = KeyFile::generate(start()).unwrap();
        let printed = format!("{file:?}");
        assert!(printed.starts_with("KeyFile {") && printed.contains(file.root.key.kid()), "{printed}");
        assert_eq!(format!("{:?}", file.pepper()), "Pepper(***)");
    }

    #[test]
    fn the_newest_key_tells_when_to_rotate() {
        let mut file = KeyFile::generate(start()).unwrap();
        assert_eq!(file.newest(), start());
        let later = start() + Duration::days(90);
        file.rotate(later).unwrap();
        assert_eq!(file.newest(), later);
    }

    #[test]
    fn keys_sign_once_they_were_published_long_enough() {
        let at = |minutes| start() + Duration::minutes(minutes);
        let aged = |minutes| Aged { key: PrivateKey::generate().unwrap(), created_at: at(minutes) };
        let keys = [aged(20), aged(10), aged(0)];
        let signs = |minutes| signing(&keys, at(minutes)).unwrap().created_at;
        for (now, key) in [(0, 0), (9, 0), (19, 0), (20, 10), (29, 10), (30, 20), (99, 20)] {
            assert_eq!(signs(now), at(key), "after {now} minutes");
        }
    }

    proptest! {
        #[test]
        fn garbage_does_not_panic(text in ".{0,200}", time in any::<i64>()) {
            let _ = KeyFile::parse(&text);
            let odd = format!(r#"{{"keys":[{{"kty":"OKP","crv":"Ed25519","kid":"","x":"","d":{text:?},"purpose":"root","created_at":{time}}}]}}"#);
            let _ = KeyFile::parse(&odd);
        }
    }
}
