//! Seals and opens values.
//!
//! Two layers, both AES-256-GCM with random nonces: the value under a new data key, bound to its place; the data key under
//! the newest master key, bound to the purpose, the key's version and the ciphertext of the value. Rewrapping changes the
//! second layer only, so it needs neither the place nor the plain text.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use aws_lc_rs::digest::{SHA256, digest};
use roadstead_runtime::config::Seal;
use roadstead_runtime::{OnFailure, Tasks};
use zeroize::Zeroizing;

use crate::keys::{KEY_BYTES, Key};
use crate::source::{EnvironmentKey, KeySource, KeyringFile};
use crate::{Error, KeyVersion, MasterKeys, Result, Sealed};

/// Longest value: a kubeconfig with its certificates, the largest secret that is kept, has some 20 KiB.
pub const PLAIN_MAX: usize = 1024 * 1024;
/// Domain of the value's layer.
const VALUE: &str = "roadstead seal value 1";
/// Domain of the data key's layer.
const WRAP: &str = "roadstead seal key 1";
/// How often the ring is looked at while running.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Seals and opens the values of one purpose. Cheap to clone.
#[derive(Clone)]
pub struct Sealer {
    purpose: Arc<str>,
    source: Arc<dyn KeySource>,
    keys: Arc<ArcSwap<MasterKeys>>,
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer")
            .field("purpose", &self.purpose)
            .field("keys", &self.keys.load())
            .finish_non_exhaustive()
    }
}

/// What a database keeps to tell whether it is opened with the key it was sealed with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Version of the master key.
    pub version: KeyVersion,
    /// A MAC by it.
    pub value: String,
}

impl Sealer {
    /// The sealer of a service with the keys that the settings name. Blocks on a small file.
    pub fn open(settings: &Seal, purpose: &str) -> Result<Self> {
        match (&settings.master_key, &settings.keyring_file) {
            (Some(key), _) => Self::with_source(purpose, Arc::new(EnvironmentKey::new(key.clone()))),
            (None, Some(path)) => Self::with_source(purpose, Arc::new(KeyringFile::new(path))),
            (None, None) => Err(Error::NoKey),
        }
    }

    /// The sealer with keys from elsewhere: a KMS, or a test's.
    pub fn with_source(purpose: &str, source: Arc<dyn KeySource>) -> Result<Self> {
        let keys = source.load()?;
        Ok(Self { purpose: purpose.into(), source, keys: Arc::new(ArcSwap::from_pointee(keys)) })
    }

    /// A sealer whose key is gone with the process. For tests.
    pub fn ephemeral(purpose: &str) -> Result<Self> {
        Self::with_source(purpose, Arc::new(EnvironmentKey::random()?))
    }

    /// The same keys for a part of the purpose whose values must not open elsewhere, such as a tenant.
    #[must_use]
    pub fn within(&self, part: &str) -> Self {
        Self { purpose: format!("{}/{part}", self.purpose).into(), ..self.clone() }
    }

    /// Seals a value for its place.
    pub fn seal(&self, table: &str, column: &str, row: impl fmt::Display, plain: &[u8]) -> Result<Sealed> {
        self.seal_version(table, column, row, 0, plain)
    }

    /// Opens a value at its place.
    pub fn unseal(
        &self,
        table: &str,
        column: &str,
        row: impl fmt::Display,
        sealed: &Sealed,
    ) -> Result<Zeroizing<Vec<u8>>> {
        self.unseal_version(table, column, row, 0, sealed)
    }

    /// As [`Sealer::seal`], for rows that count their versions: an older value put back does not open.
    pub fn seal_version(
        &self,
        table: &str,
        column: &str,
        row: impl fmt::Display,
        version: i64,
        plain: &[u8],
    ) -> Result<Sealed> {
        if plain.len() > PLAIN_MAX {
            return Err(Error::TooLong);
        }
        let data_key = Key::random()?;
        let body = data_key.encrypt(plain, &self.place(table, column, &row.to_string(), version))?;
        let keys = self.keys.load();
        let newest = keys.newest();
        let wrapped = keys.get(newest)?.encrypt(data_key.bytes(), &self.envelope(newest, &body))?;
        Ok(Sealed::new(newest, &wrapped, &body))
    }

    /// As [`Sealer::unseal`], for rows that count their versions.
    pub fn unseal_version(
        &self,
        table: &str,
        column: &str,
        row: impl fmt::Display,
        version: i64,
        sealed: &Sealed,
    ) -> Result<Zeroizing<Vec<u8>>> {
        let (data_key, body) = self.open_envelope(sealed)?;
        data_key.decrypt(&body, &self.place(table, column, &row.to_string(), version))
    }

    /// The same value under the newest master key; `None` when it is under it already.
    pub fn rewrap(&self, sealed: &Sealed) -> Result<Option<Sealed>> {
        let keys = self.keys.load();
        let newest = keys.newest();
        if sealed.version() == newest {
            return Ok(None);
        }
        let (data_key, body) = self.open_envelope(sealed)?;
        let wrapped = keys.get(newest)?.encrypt(data_key.bytes(), &self.envelope(newest, &body))?;
        sealed.with_key(newest, &wrapped).map(Some)
    }

    /// Version of the key that wraps now.
    pub fn newest(&self) -> KeyVersion {
        self.keys.load().newest()
    }

    /// Reads the keys again; answers the version that wraps now. Keys of before go on when it fails. May block.
    pub fn reload(&self) -> Result<KeyVersion> {
        let fresh = self.source.load()?;
        let before = self.keys.load();
        for version in before.versions() {
            // A key that changed under its number would make every row under it unreadable.
            if fresh.get(version).is_ok() && fresh.check(version)? != before.check(version)? {
                return Err(Error::WrongKey(version));
            }
        }
        let newest = fresh.newest();
        self.keys.store(Arc::new(fresh));
        Ok(newest)
    }

    /// Reads the keys again every few seconds until the process stops: a new line in the file wraps from then on.
    pub fn watch(&self, tasks: &Tasks) {
        let (sealer, stopping) = (self.clone(), tasks.stopping());
        tasks.run("seal-keys", OnFailure::Restart, move || {
            let (sealer, stopping) = (sealer.clone(), stopping.clone());
            async move {
                loop {
                    tokio::select! {
                        () = stopping.cancelled() => return Ok(()),
                        () = tokio::time::sleep(LOOK_EVERY) => {}
                    }
                    let (reader, before) = (sealer.clone(), sealer.newest());
                    match tokio::task::spawn_blocking(move || reader.reload()).await? {
                        Ok(newest) if newest != before => tracing::info!("master key {newest} wraps from now on"),
                        Ok(_) => {}
                        Err(fault) => tracing::error!("the master keys are not taken, those of before go on: {fault}"),
                    }
                }
            }
        });
    }

    /// The check values of every key there is, oldest first.
    pub fn checks(&self) -> Result<Vec<Check>> {
        let keys = self.keys.load();
        keys.versions().map(|version| Ok(Check { version, value: keys.check(version)? })).collect()
    }

    /// Compares with what the database kept.
    pub fn verify(&self, kept: &Check) -> Result<()> {
        // The value is no secret: a MAC of a known text by a key of 256 bits.
        if self.keys.load().check(kept.version)? == kept.value { Ok(()) } else { Err(Error::WrongKey(kept.version)) }
    }

    fn open_envelope(&self, sealed: &Sealed) -> Result<(Key, Vec<u8>)> {
        let (wrapped, body) = sealed.bytes()?;
        let keys = self.keys.load();
        let data_key = keys.get(sealed.version())?.decrypt(&wrapped, &self.envelope(sealed.version(), &body))?;
        let data_key: Zeroizing<[u8; KEY_BYTES]> =
            Zeroizing::new(data_key.as_slice().try_into().map_err(|_| Error::Malformed)?);
        Ok((Key::new(*data_key).map_err(|_| Error::Malformed)?, body))
    }

    /// What a value is bound to.
    fn place(&self, table: &str, column: &str, row: &str, version: i64) -> Vec<u8> {
        bound(&[VALUE, &self.purpose, table, column, row, &version.to_string()])
    }

    /// What a data key is bound to.
    fn envelope(&self, version: KeyVersion, body: &[u8]) -> Vec<u8> {
        let mut out = bound(&[WRAP, &self.purpose, &version.to_string()]);
        out.extend_from_slice(digest(&SHA256, body).as_ref());
        out
    }
}

/// Texts with their lengths before them, so that no two lists give the same bytes.
fn bound(parts: &[&str]) -> Vec<u8> {
    let mut out = Vec::with_capacity(parts.iter().map(|part| part.len() + 8).sum());
    for part in parts {
        out.extend_from_slice(&(part.len() as u64).to_be_bytes());
        out.extend_from_slice(part.as_bytes());
    }
    out
}
