//! Where master keys come from: the environment, a file with several versions, or a key management service.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use roadstead_runtime::Secret;
use zeroize::Zeroizing;

use crate::keys::{KEYS_MAX, Key};
use crate::{Error, KeyVersion, MasterKeys, Result};

/// The variable of the one key.
const VARIABLE: &str = "ROADSTEAD_SEAL_MASTER_KEY";
/// Longest file that is read: the most keys with a comment each, and ciphertexts of a KMS are longer than keys.
const FILE_MAX: u64 = 64 * 1024;

/// Gives master keys. It may block, and is asked again while running: rotation is a new answer.
pub trait KeySource: fmt::Debug + Send + Sync {
    /// Every key there is now.
    fn load(&self) -> Result<MasterKeys>;
}

/// One key in a variable. It cannot be rotated without a file: its version is always 1.
pub struct EnvironmentKey(Secret);

impl fmt::Debug for EnvironmentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EnvironmentKey")
    }
}

impl EnvironmentKey {
    /// The key as the settings have it.
    pub fn new(key: Secret) -> Self {
        Self(key)
    }

    /// A new key.
    pub(crate) fn random() -> Result<Self> {
        Ok(Self(Secret::new(Key::random()?.base64().as_str())))
    }
}

impl KeySource for EnvironmentKey {
    fn load(&self) -> Result<MasterKeys> {
        if self.0.is_empty() {
            return Err(Error::NoKey);
        }
        let key = Key::parse(self.0.expose()).map_err(|why| Error::BadKey { origin: VARIABLE.to_owned(), why })?;
        MasterKeys::of(VARIABLE, [(KeyVersion(1), key)])
    }
}

/// A file with a line `VERSION:BASE64` for each key; `#` begins a comment. The highest version wraps.
#[derive(Debug, Clone)]
pub struct KeyringFile {
    path: PathBuf,
}

impl KeyringFile {
    /// The file at that path.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// Makes the file with one new key when it is not there, for its owner alone. Only for a hub that has its folder to
    /// itself (`up`, development): several services must be given the same file.
    pub fn make_if_absent(&self) -> Result<()> {
        if self.path.exists() {
            return Ok(());
        }
        let text = Zeroizing::new(format!(
            "# Master keys of what is sealed in the databases. Without this file they cannot be read: keep a copy apart\n\
             # from the databases. A new line with a higher version is used from then on; see docs/security/secrets.md.\n\
             1:{}\n",
            Key::random()?.base64().as_str()
        ));
        match make(&self.path, &text) {
            Err(fault) if fault.kind() != io::ErrorKind::AlreadyExists => Err(self.fault(&fault)),
            _ => Ok(()),
        }
    }

    /// Appends a new key, which wraps from the next look on; answers its version.
    pub fn rotate(&self) -> Result<KeyVersion> {
        let text = self.read()?;
        let newest = parse(&self.path.display().to_string(), &text)?.newest();
        let next = KeyVersion(newest.0.checked_add(1).ok_or(Error::Failed)?);
        let line_break = if text.ends_with('\n') { "" } else { "\n" };
        let fresh =
            Zeroizing::new(format!("{}{line_break}{next}:{}\n", text.as_str(), Key::random()?.base64().as_str()));
        // Checked before it is put in place: too many keys would refuse the next start.
        parse(&self.path.display().to_string(), &fresh)?;
        replace(&self.path, &fresh).map_err(|fault| self.fault(&fault))?;
        Ok(next)
    }

    fn fault(&self, fault: &io::Error) -> Error {
        Error::Source { origin: self.path.display().to_string(), why: fault.kind().to_string() }
    }

    fn read(&self) -> Result<Zeroizing<String>> {
        let about = fs::metadata(&self.path).map_err(|fault| self.fault(&fault))?;
        if about.len() > FILE_MAX {
            let why = format!("it is longer than {FILE_MAX} bytes");
            return Err(Error::Source { origin: self.path.display().to_string(), why });
        }
        if about.permissions().mode() & 0o007 != 0 {
            tracing::warn!("the master keys in {} can be read by everybody on this machine", self.path.display());
        }
        fs::read_to_string(&self.path).map(Zeroizing::new).map_err(|fault| self.fault(&fault))
    }
}

impl KeySource for KeyringFile {
    fn load(&self) -> Result<MasterKeys> {
        parse(&self.path.display().to_string(), &self.read()?)
    }
}

/// Lines of a ring: number of the line, version, and the text after the colon.
fn lines<'a>(origin: &'a str, text: &'a str) -> impl Iterator<Item = Result<(usize, KeyVersion, &'a str)>> {
    text.lines().enumerate().map(|(index, line)| (index + 1, line.trim())).filter_map(move |(number, line)| {
        if line.is_empty() || line.starts_with('#') {
            return None;
        }
        let parsed = line.split_once(':').and_then(|(version, rest)| {
            let version = version.trim().parse().ok().map(KeyVersion)?;
            Some((number, version, rest.trim()))
        });
        Some(parsed.ok_or_else(|| bad(origin, number, "a line must be VERSION:BASE64")))
    })
}

fn bad(origin: &str, line: usize, why: &'static str) -> Error {
    Error::BadKey { origin: format!("{origin}, line {line}"), why }
}

pub(crate) fn parse(origin: &str, text: &str) -> Result<MasterKeys> {
    let mut keys = Vec::new();
    for line in lines(origin, text) {
        let (number, version, text) = line?;
        keys.push((version, Key::parse(text).map_err(|why| bad(origin, number, why))?));
        if keys.len() > KEYS_MAX {
            return Err(bad(origin, number, "more keys than are kept at once"));
        }
    }
    MasterKeys::of(origin, keys)
}

/// A key management service: keeps one key that never leaves it, and opens with it what was encrypted to it. It is
/// asked at start and when the ring is read again, not for each value: values open while it is away.
pub trait Kms: fmt::Debug + Send + Sync {
    /// The service's name, for messages.
    fn name(&self) -> &str;
    /// Opens a ciphertext. May block.
    fn decrypt(&self, ciphertext: &[u8]) -> std::result::Result<Zeroizing<Vec<u8>>, String>;
}

/// A ring whose keys are ciphertexts of a [`Kms`]: the lines of [`KeyringFile`] with base64 of the ciphertext.
#[derive(Debug, Clone)]
pub struct KmsKeyring {
    file: KeyringFile,
    kms: Arc<dyn Kms>,
}

impl KmsKeyring {
    /// The file at that path, opened by that service.
    pub fn new(path: &Path, kms: Arc<dyn Kms>) -> Self {
        Self { file: KeyringFile::new(path), kms }
    }
}

impl KeySource for KmsKeyring {
    fn load(&self) -> Result<MasterKeys> {
        let text = self.file.read()?;
        let origin = self.file.path.display().to_string();
        let mut keys = Vec::new();
        for line in lines(&origin, &text) {
            let (number, version, text) = line?;
            if keys.len() == KEYS_MAX {
                return Err(bad(&origin, number, "more keys than are kept at once"));
            }
            let ciphertext = STANDARD.decode(text).map_err(|_| bad(&origin, number, "it is not base64"))?;
            let plain = self
                .kms
                .decrypt(&ciphertext)
                .map_err(|why| Error::Source { origin: self.kms.name().to_owned(), why })?;
            let plain = plain.as_slice().try_into().map_err(|_| bad(&origin, number, "the key must have 32 bytes"))?;
            keys.push((version, Key::new(plain).map_err(|why| bad(&origin, number, why))?));
        }
        MasterKeys::of(&origin, keys)
    }
}

/// Makes the file whole or not at all, and never over another one.
fn make(path: &Path, text: &str) -> io::Result<()> {
    let written = write_beside(path, text)?;
    let linked = fs::hard_link(&written, path);
    fs::remove_file(&written)?;
    linked
}

/// Replaces the file in one step.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    fs::rename(write_beside(path, text)?, path)
}

fn write_beside(path: &Path, text: &str) -> io::Result<PathBuf> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let beside = path.with_extension(format!("{}.new", std::process::id()));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    Ok(beside)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tracing::span::{Attributes, Id, Record};
    use tracing::{Event, Level, Metadata, Subscriber};

    use super::*;

    fn line(version: usize) -> String {
        let key: Vec<u8> = (0..32).map(|index| index + u8::try_from(version).unwrap()).collect();
        format!("{version}:{}\n", STANDARD.encode(key))
    }

    fn file(text: &str) -> (tempfile::TempDir, KeyringFile) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let file = KeyringFile::new(&path);
        (folder, file)
    }

    #[test]
    fn files_are_read_up_to_their_bound() {
        let padded = |length: u64| {
            let comment = "#".repeat(usize::try_from(length).unwrap() - line(1).len());
            let (_folder, file) = file(&format!("{}{comment}", line(1)));
            file.load().map(drop)
        };
        assert_eq!(FILE_MAX, 65_536);
        assert_eq!(padded(FILE_MAX), Ok(()));
        for length in [FILE_MAX + 1, FILE_MAX * 2] {
            assert!(matches!(padded(length), Err(Error::Source { .. })), "{length}");
        }
        let kept = |count| {
            let (_folder, file) = file(&(1..=count).map(line).collect::<String>());
            file.load().map(|keys| keys.newest().0)
        };
        assert_eq!(kept(KEYS_MAX).ok(), Some(16));
        assert!(kept(KEYS_MAX + 1).is_err());
    }

    #[test]
    fn a_wrong_line_is_named_by_its_number() {
        let (_folder, file) = file(&format!("# one\n\n{}\nnonsense\n", line(1).trim_end()));
        let fault = file.load().unwrap_err().to_string();
        assert!(fault.contains("keys, line 4") && fault.contains("VERSION:BASE64"), "{fault}");
    }

    #[test]
    fn a_file_without_an_end_of_line_is_rotated() {
        let (_folder, file) = file(line(1).trim_end());
        assert_eq!(file.rotate(), Ok(KeyVersion(2)));
        assert_eq!(file.load().unwrap().newest(), KeyVersion(2));
    }

    #[test]
    fn what_cannot_be_made_is_said_and_what_is_there_stays() {
        let (folder, file) = file(&line(1));
        let below = KeyringFile::new(&file.path.join("below/keys"));
        assert!(matches!(below.make_if_absent(), Err(Error::Source { .. })));
        // A link to nowhere: it was not there when looked for, and is when it is made.
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(folder.path().join("nowhere"), &link).unwrap();
        assert_eq!(KeyringFile::new(&link).make_if_absent(), Ok(()));
        assert!(link.is_symlink() && fs::read_dir(folder.path()).unwrap().count() == 2, "nothing is left beside it");
    }

    #[test]
    fn sources_print_no_key() {
        let key = line(1);
        let secret = key.trim_end().strip_prefix("1:").unwrap();
        assert_eq!(format!("{:?}", EnvironmentKey::new(Secret::new(secret))), "EnvironmentKey");
        assert_eq!(EnvironmentKey::new(Secret::new("")).load().unwrap_err(), Error::NoKey);
    }

    /// Counts warnings.
    struct Warnings(Arc<AtomicUsize>);

    impl Subscriber for Warnings {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            *metadata.level() <= Level::WARN
        }
        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }
        fn record(&self, _: &Id, _: &Record<'_>) {}
        fn record_follows_from(&self, _: &Id, _: &Id) {}
        fn event(&self, _: &Event<'_>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
        fn enter(&self, _: &Id) {}
        fn exit(&self, _: &Id) {}
    }

    #[test]
    fn a_file_that_everybody_can_read_is_warned_about() {
        let (_folder, file) = file(&line(1));
        let warned = |mode| {
            fs::set_permissions(&file.path, fs::Permissions::from_mode(mode)).unwrap();
            let count = Arc::new(AtomicUsize::new(0));
            tracing::subscriber::with_default(Warnings(Arc::clone(&count)), || file.load().map(drop)).unwrap();
            count.load(Ordering::Relaxed)
        };
        assert_eq!([0o600, 0o640, 0o644, 0o604, 0o606].map(warned), [0, 0, 1, 1, 1]);
    }
}
