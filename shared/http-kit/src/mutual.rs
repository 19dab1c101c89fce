//! Mutual TLS with the operator's own certificates, for what listens inside a mesh: the user service's HTTP, and figures for
//! scrapers. Whoever calls shows a certificate of the authority that the settings name, or does not get past the handshake;
//! where names are listed, one of them must be in it. All files are read again without a restart, the authority too: it is
//! looked at for each connection anew, so nobody comes back on a session that an older authority let in.
//!
//! Not for streams between replicas: those have certificates from the mesh secret (`auth::mesh_tls`).

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use chrono::{DateTime, Utc};
use roadstead_runtime::config;
use roadstead_runtime::{SharedClock, Tasks};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig,
    SignatureScheme,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::reload::{Followed, follow, stamp};
use crate::tls::{self, Error};

const AUTHORITY: &str = "TLS authority";
/// Most certificates of authorities in one file: an old one and a new one beside each other, and some to spare.
const AUTHORITIES_MAX: usize = 100;

/// Files of one member.
#[derive(Debug, Clone)]
pub struct Files {
    /// Its own certificate and key.
    pub own: tls::Files,
    /// Whoever issued the others'; left out, nobody is asked for one.
    pub authority: Option<PathBuf>,
}

/// What was read of them.
struct Read {
    own: Arc<CertifiedKey>,
    others: Option<Others>,
}

/// How others are looked at.
struct Others {
    as_clients: Arc<dyn ClientCertVerifier>,
    as_servers: Arc<WebPkiServerVerifier>,
}

impl Files {
    fn load(&self, now: DateTime<Utc>) -> Result<Read, Error> {
        let own = Arc::new(self.own.load(now)?);
        let others = self.authority.as_ref().map(|path| others(path)).transpose()?;
        Ok(Read { own, others })
    }
}

fn others(path: &Path) -> Result<Others, Error> {
    let bad = |fault: &str| tls::bad(AUTHORITY, path, fault);
    let text = tls::read(AUTHORITY, path)?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.map_err(|_| bad("holds a PEM section that is broken"))?;
        roots.add(certificate).map_err(|_| bad("holds a certificate that does not parse"))?;
        if roots.len() > AUTHORITIES_MAX {
            return Err(bad("holds more certificates than anybody needs"));
        }
    }
    if roots.is_empty() {
        return Err(bad("holds no PEM certificate"));
    }
    let (roots, unusable) = (Arc::new(roots), |_| bad("cannot be used"));
    Ok(Others {
        as_clients: WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), provider())
            .build()
            .map_err(unusable)?,
        as_servers: WebPkiServerVerifier::builder_with_provider(roots, provider()).build().map_err(unusable)?,
    })
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// One member: what it shows, and whom it takes.
pub struct Member {
    current: ArcSwap<Read>,
    /// Names of which a client's certificate must carry one, in small letters; empty: any of the authority.
    names: BTreeSet<String>,
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member").field("names", &self.names).finish_non_exhaustive()
    }
}

impl Member {
    /// Reads the files, and reads them again whenever they change.
    pub fn watch(files: Files, names: &[String], clock: SharedClock, tasks: &Tasks) -> Result<Arc<Self>, Error> {
        let mut paths = files.own.paths();
        paths.extend(files.authority.clone());
        let seen = stamp(&paths);
        let names = names.iter().map(|name| name.to_ascii_lowercase()).collect();
        let member = Arc::new(Self { current: ArcSwap::from_pointee(files.load(clock.now())?), names });
        let watched = Arc::clone(&member);
        let load = move || files.load(clock.now());
        follow(Followed { paths, seen, load, keep: move |read| watched.current.store(Arc::new(read)) }, tasks);
        Ok(member)
    }

    /// Of the services of a mesh, where the settings give them certificates.
    pub fn of_mesh(mesh: &config::Mesh, clock: &SharedClock, tasks: &Tasks) -> Result<Option<Arc<Self>>, Error> {
        let (Some(key), Some(certificate)) = (&mesh.key_file, &mesh.cert_file) else { return Ok(None) };
        let own = tls::Files { key: key.clone(), certificate: certificate.clone() };
        let files = Files { own, authority: mesh.ca_file.clone() };
        Self::watch(files, &mesh.client_names, Arc::clone(clock), tasks).map(Some)
    }

    /// Of the listener for figures, where the settings give it a certificate.
    pub fn of_figures(
        metrics: &config::Metrics,
        clock: &SharedClock,
        tasks: &Tasks,
    ) -> Result<Option<Arc<Self>>, Error> {
        let (Some(key), Some(certificate)) = (&metrics.key_file, &metrics.cert_file) else { return Ok(None) };
        let own = tls::Files { key: key.clone(), certificate: certificate.clone() };
        let files = Files { own, authority: metrics.client_ca_file.clone() };
        Self::watch(files, &metrics.client_names, Arc::clone(clock), tasks).map(Some)
    }

    /// TLS settings of a listener.
    pub fn server_config(self: &Arc<Self>) -> Result<ServerConfig, rustls::Error> {
        let resolver: Arc<dyn ResolvesServerCert> = Arc::<Self>::clone(self);
        let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
        let mut config = if self.current.load().others.is_some() {
            builder.with_client_cert_verifier(Arc::<Self>::clone(self)).with_cert_resolver(resolver)
        } else {
            builder.with_no_client_auth().with_cert_resolver(resolver)
        };
        // A session that is taken up again is not looked at again.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }

    /// TLS settings of a client: trusts the authority alone, and shows the certificate.
    pub fn client_config(self: &Arc<Self>) -> Result<ClientConfig, rustls::Error> {
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::<Self>::clone(self))
            .with_client_cert_resolver(Arc::<Self>::clone(self));
        config.resumption = Resumption::disabled();
        Ok(config)
    }

    /// Whether a client's certificate carries one of the names that are listed.
    fn is_listed(&self, leaf: &CertificateDer<'_>) -> bool {
        self.names.is_empty() || names_of(leaf).iter().any(|name| self.names.contains(name))
    }
}

/// The names for which a certificate was issued.
fn names_of(leaf: &CertificateDer<'_>) -> Vec<String> {
    let Ok((_, parsed)) = X509Certificate::from_der(leaf) else { return Vec::new() };
    let Ok(Some(names)) = parsed.subject_alternative_name() else { return Vec::new() };
    let text = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(text) | GeneralName::URI(text) => Some(text.to_ascii_lowercase()),
        GeneralName::IPAddress(bytes) => address(bytes).map(|address| address.to_string()),
        _ => None,
    };
    names.value.general_names.iter().filter_map(text).collect()
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    four.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

impl ResolvesServerCert for Member {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.load().own))
    }
}

impl ResolvesClientCert for Member {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.load().own))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// The authority went away while the process ran: nobody is anybody.
const NOBODY: rustls::Error = rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);

impl ClientCertVerifier for Member {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // Hints are a help to clients with several certificates; those of the authority may change.
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let read = self.current.load();
        let others = read.others.as_ref().ok_or(NOBODY)?;
        let verified = others.as_clients.verify_client_cert(leaf, between, now).and_then(|verified| {
            let named = self.is_listed(leaf);
            let refused = rustls::Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure);
            if named { Ok(verified) } else { Err(refused) }
        });
        verified.inspect_err(|fault| tracing::info!("a client's certificate was refused: {fault}"))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = provider().signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

impl ServerCertVerifier for Member {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let read = self.current.load();
        let others = read.others.as_ref().ok_or(NOBODY)?;
        others.as_servers.verify_server_cert(leaf, between, name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        ClientCertVerifier::verify_tls12_signature(self, message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        ClientCertVerifier::verify_tls13_signature(self, message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ClientCertVerifier::supported_verify_schemes(self)
    }
}
