//! Certificates from files, read again without a restart: a broken pair at the start stops the process with a sentence
//! that names the file, a broken pair later leaves the old one in use (reliability row C02).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use chrono::{DateTime, Utc};
use roadstead_runtime::{SharedClock, Tasks};
use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::reload::{Followed, follow, stamp};

/// Why a pair of files cannot be used. Each sentence names its file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Missing or unreadable.
    #[error("failed to read {what} {path}: {source}")]
    Read {
        /// Key, certificate or authority.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not what it should be.
    #[error("{what} {path} {fault}")]
    Bad {
        /// Key, certificate or authority.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        fault: String,
    },
}

const KEY: &str = "TLS key";
const CERTIFICATE: &str = "TLS certificate";

pub(crate) fn bad(what: &'static str, path: &Path, fault: impl Into<String>) -> Error {
    Error::Bad { what, path: path.to_owned(), fault: fault.into() }
}

pub(crate) fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|source| Error::Read { what, path: path.to_owned(), source })
}

/// A pair of files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// Private key, PEM.
    pub key: PathBuf,
    /// Certificate chain, PEM, leaf first.
    pub certificate: PathBuf,
}

impl Files {
    pub(crate) fn load(&self, now: DateTime<Utc>) -> Result<CertifiedKey, Error> {
        let (key, chain) = (read(KEY, &self.key)?, read(CERTIFICATE, &self.certificate)?);
        certified(&key, &chain, self, now)
    }

    /// Both of them.
    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        vec![self.certificate.clone(), self.key.clone()]
    }
}

fn certified(key: &[u8], chain: &[u8], files: &Files, now: DateTime<Utc>) -> Result<CertifiedKey, Error> {
    let key_path = files.key.as_path();
    let chain_path = files.certificate.as_path();
    if key.windows(9).any(|window| window == b"ENCRYPTED") {
        return Err(bad(KEY, key_path, "is encrypted; give it without a passphrase"));
    }
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|_| bad(KEY, key_path, "holds no PEM private key (PKCS#8, PKCS#1 or SEC1)"))?;
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain)
        .collect::<Result<_, _>>()
        .map_err(|_| bad(CERTIFICATE, chain_path, "holds a PEM section that is broken"))?;
    let Some(leaf) = chain.first() else {
        return Err(bad(CERTIFICATE, chain_path, "holds no PEM certificate"));
    };
    check_leaf(leaf, chain_path, now)?;
    let signer = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key)
        .map_err(|_| bad(KEY, key_path, "is of a kind that TLS does not use"))?;
    let others = chain.get(1..).unwrap_or_default().to_vec();
    let pair = CertifiedKey::new(chain, Arc::clone(&signer));
    if pair.keys_match().is_err() {
        let elsewhere =
            others.into_iter().any(|other| CertifiedKey::new(vec![other], Arc::clone(&signer)).keys_match().is_ok());
        return Err(if elsewhere {
            bad(CERTIFICATE, chain_path, "has its chain in the wrong order: the server's own certificate must be first")
        } else {
            bad(KEY, key_path, format!("does not belong to the certificate {}", chain_path.display()))
        });
    }
    Ok(pair)
}

fn check_leaf(leaf: &CertificateDer<'_>, path: &Path, now: DateTime<Utc>) -> Result<(), Error> {
    let (_, parsed) = X509Certificate::from_der(leaf)
        .map_err(|_| bad(CERTIFICATE, path, "holds a certificate that does not parse"))?;
    let validity = parsed.validity();
    if now.timestamp() > validity.not_after.timestamp() {
        return Err(bad(CERTIFICATE, path, format!("expired on {}", validity.not_after)));
    }
    if now.timestamp() < validity.not_before.timestamp() {
        return Err(bad(CERTIFICATE, path, format!("is not valid before {}", validity.not_before)));
    }
    Ok(())
}

/// A certificate that can be exchanged while connections come in.
#[derive(Debug)]
pub struct Certificate {
    current: ArcSwap<CertifiedKey>,
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

impl Certificate {
    /// Reads the files, and reads them again whenever they change.
    pub fn watch(files: Files, clock: SharedClock, tasks: &Tasks) -> Result<Arc<Self>, Error> {
        let (paths, seen) = (files.paths(), stamp(&files.paths()));
        let certificate = Arc::new(Self { current: ArcSwap::from_pointee(files.load(clock.now())?) });
        let watched = Arc::clone(&certificate);
        let load = move || files.load(clock.now());
        follow(Followed { paths, seen, load, keep: move |pair| watched.current.store(Arc::new(pair)) }, tasks);
        Ok(certificate)
    }

    /// TLS settings that serve this certificate.
    pub fn server_config(self: &Arc<Self>) -> Result<ServerConfig, rustls::Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let resolver: Arc<dyn ResolvesServerCert> = Arc::<Self>::clone(self);
        Ok(ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(resolver))
    }
}
