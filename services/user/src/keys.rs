//! The service's keys, ready for use: read from the key file, read again when it changes, changed over to a new key when
//! its time has come.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use arc_swap::ArcSwap;
use chrono::{DateTime, TimeDelta, Utc};
use roadstead_auth::ed25519::PrivateKey;
use roadstead_auth::identity::SigningKeys;
use roadstead_auth::jwt::{KeySet, Signer, Verifier};
use roadstead_auth::keyfile::{FILE_MAX, KeyFile, Pepper};
use roadstead_auth::token;
use roadstead_contracts::message::IdentityKeySet;
use roadstead_runtime::{OnFailure, Secret, SharedClock, Tasks};
use tempfile::NamedTempFile;

use crate::options::Options;

/// How often the file is looked at. A new key is published for ten minutes before it signs.
const LOOK_EVERY: Duration = Duration::from_secs(15);
/// Age at which the service's own file gets new keys.
const ROTATE_AFTER: TimeDelta = TimeDelta::days(90);
/// The variable that names the file, for messages.
const VARIABLE: &str = "ROADSTEAD_AUTH_IDENTITY_KEY_FILE";

/// The keys of the moment.
pub struct Keys {
    path: PathBuf,
    own: bool,
    hs256: Option<Secret>,
    issuer: String,
    audience: String,
    pepper: Pepper,
    loaded: ArcSwap<Loaded>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").field("path", &self.path).finish_non_exhaustive()
    }
}

/// What the file holds, ready for use.
#[derive(Debug)]
pub struct Loaded {
    file: KeyFile,
    digest: String,
    /// Signs access tokens.
    pub signer: Signer,
    /// Checks access tokens.
    pub verifier: Verifier,
    /// The published key set of access tokens.
    pub jwks: serde_json::Value,
    /// Signs identities.
    pub identity: SigningKeys,
    /// What agents are given.
    pub identity_keys: IdentityKeySet,
}

impl Keys {
    /// Reads the key file; makes it when it is not there.
    pub async fn open(options: &Options, now: DateTime<Utc>) -> Result<Self> {
        let path = options.key_file.clone();
        let text = tokio::task::spawn_blocking(move || read_or_make(&path, now)).await??;
        let file = parse(&options.key_file, &text)?;
        let keys = Self {
            path: options.key_file.clone(),
            own: options.own_key_file,
            hs256: options.hs256.clone(),
            issuer: options.issuer.clone(),
            audience: options.audience.clone(),
            pepper: file.pepper().clone(),
            loaded: ArcSwap::from_pointee(Loaded::of(file, token::digest(text.expose()), &Tokens::from(options), now)?),
        };
        Ok(keys)
    }

    /// The keys of the moment.
    pub fn now(&self) -> Arc<Loaded> {
        self.loaded.load_full()
    }

    /// The key that signs the audit trail's checkpoints when the settings name none.
    pub fn checkpoint_key(&self) -> Result<PrivateKey> {
        Ok(self.pepper.checkpoint_key()?)
    }

    /// Seals a digest for the database.
    pub fn seal(&self, digest: &str) -> roadstead_contracts::Result<String> {
        self.pepper.seal(digest).map_err(|_| roadstead_contracts::Code::Internal.into())
    }

    /// Keeps the keys up to date until the process stops.
    pub fn watch(self: &Arc<Self>, clock: SharedClock, tasks: &Tasks) {
        let (keys, stopping) = (Arc::clone(self), tasks.stopping());
        tasks.run("keys", OnFailure::Restart, move || {
            let (keys, clock, stopping) = (Arc::clone(&keys), SharedClock::clone(&clock), stopping.clone());
            async move {
                loop {
                    tokio::select! {
                        () = stopping.cancelled() => return Ok(()),
                        () = tokio::time::sleep(LOOK_EVERY) => {}
                    }
                    if let Err(fault) = keys.look(clock.now()).await {
                        // The old keys go on: a half-written secret must not end logins.
                        tracing::error!("the key file is not taken: {fault:#}");
                    }
                }
            }
        });
    }

    /// Reads the file again and changes over to what it says now.
    pub async fn look(&self, now: DateTime<Utc>) -> Result<()> {
        let path = self.path.clone();
        let text = tokio::task::spawn_blocking(move || read(&path)).await??;
        let mut digest = token::digest(text.expose());
        let before = self.now();
        let mut file = if digest == before.digest { before.file.clone() } else { parse(&self.path, &text)? };
        ensure!(file.same_hub(&before.file), "root key and pepper of {} may not change", self.path.display());
        if self.own && now - file.newest() > ROTATE_AFTER {
            file.rotate(now)?;
            let text = file.to_json()?;
            digest = token::digest(text.expose());
            let path = self.path.clone();
            tokio::task::spawn_blocking(move || replace(&path, &text)).await??;
            tracing::info!("new signing keys were made and published");
        }
        self.loaded.store(Arc::new(Loaded::of(file, digest, &Tokens::from(self), now)?));
        Ok(())
    }
}

/// What makes a signer besides the file.
struct Tokens<'a> {
    hs256: Option<&'a Secret>,
    issuer: &'a str,
    audience: &'a str,
}

impl<'a> From<&'a Keys> for Tokens<'a> {
    fn from(keys: &'a Keys) -> Self {
        Self { hs256: keys.hs256.as_ref(), issuer: &keys.issuer, audience: &keys.audience }
    }
}

impl<'a> From<&'a Options> for Tokens<'a> {
    fn from(options: &'a Options) -> Self {
        Self { hs256: options.hs256.as_ref(), issuer: &options.issuer, audience: &options.audience }
    }
}

impl Loaded {
    fn of(file: KeyFile, digest: String, tokens: &Tokens<'_>, now: DateTime<Utc>) -> Result<Self> {
        let Tokens { hs256, issuer, audience } = tokens;
        let (signer, verifier, published) = if let Some(secret) = hs256 {
            let signer = Signer::hs256(secret, issuer, audience)?;
            (signer, Verifier::hs256(secret, issuer, audience)?, KeySet::default())
        } else {
            let keys = file.access_keys();
            let signer = Signer::eddsa(file.access(now), issuer, audience);
            (signer, Verifier::eddsa(keys.clone(), issuer, audience), keys)
        };
        let (root, identity) = (file.root(), file.identity(now));
        // The time of the newest key, not of the moment: every replica signs the same set.
        let key_set = root.sign_key_set(identity.key_set(), file.newest())?;
        let identity_keys = IdentityKeySet { root: root.public_base64url(), key_set };
        Ok(Self { file, digest, signer, verifier, jwks: published.to_json(), identity, identity_keys })
    }
}

fn parse(path: &Path, text: &Secret) -> Result<KeyFile> {
    KeyFile::parse(text.expose()).with_context(|| format!("failed to read keys from {} ({VARIABLE})", path.display()))
}

fn read(path: &Path) -> Result<Secret> {
    let context = || format!("failed to read the key file {} ({VARIABLE})", path.display());
    let about = fs::metadata(path).with_context(context)?;
    if about.len() > FILE_MAX as u64 {
        bail!("the key file {} is too long", path.display());
    }
    if about.permissions().mode() & 0o007 != 0 {
        tracing::warn!("the key file {} can be read by everybody on this machine", path.display());
    }
    Ok(Secret::new(fs::read_to_string(path).with_context(context)?))
}

fn read_or_make(path: &Path, now: DateTime<Utc>) -> Result<Secret> {
    if !path.exists() {
        let text = KeyFile::generate(now)?.to_json()?;
        let made = make(path, &text);
        // Another replica with the same folder may have been first.
        if made.as_ref().is_err_and(|fault| fault.kind() != io::ErrorKind::AlreadyExists) {
            made.with_context(|| format!("failed to make the key file {} ({VARIABLE})", path.display()))?;
        }
    }
    read(path)
}

/// Makes the file whole or not at all, and never over another one.
fn make(path: &Path, text: &Secret) -> io::Result<()> {
    write_beside(path, text)?.persist_noclobber(path).map(drop).map_err(|fault| fault.error)
}

/// Replaces the file in one step.
fn replace(path: &Path, text: &Secret) -> Result<()> {
    let context = || format!("failed to replace the key file {}", path.display());
    write_beside(path, text).with_context(context)?.persist(path).map(drop).with_context(context)
}

/// A file of its own, readable by nobody else: replicas that begin together may share a folder and, in containers, a process id.
fn write_beside(path: &Path, text: &Secret) -> io::Result<NamedTempFile> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let mut file = NamedTempFile::new_in(folder)?;
    file.write_all(text.expose().as_bytes())?;
    file.as_file().sync_all()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Barrier;

    use roadstead_runtime::SystemClock;

    use super::*;

    #[test]
    fn regression_replicas_that_begin_together_have_one_key_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.json");
        let (begin, now) = (Barrier::new(8), SystemClock::shared().now());
        let texts: BTreeSet<String> = std::thread::scope(|scope| {
            let one = || {
                begin.wait();
                read_or_make(&path, now).unwrap().expose().to_owned()
            };
            let made: Vec<_> = (0..8).map(|_| scope.spawn(one)).collect();
            made.into_iter().map(|one| one.join().unwrap()).collect()
        });
        assert_eq!(texts.len(), 1, "every one reads the same keys");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    }
}
