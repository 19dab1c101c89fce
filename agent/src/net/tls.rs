//! Whom the agent trusts, and what a failed handshake means.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::{CertificateError, ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use super::{NetError, Step, Target};
use crate::{Error, Result};

/// The system's authorities, and a private one when there is a file.
pub(super) fn config(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>> {
    roadstead_runtime::install_crypto();
    let mut roots = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    if let Some(error) = system.errors.first() {
        tracing::debug!("not every authority of the system could be read: {error}");
    }
    roots.add_parsable_certificates(system.certs);
    if let Some(path) = ca_file {
        let wrong =
            |detail: String| Error::Settings(format!("failed to read the authority {}: {detail}", path.display()));
        let certificates: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(path)
            .and_then(Iterator::collect)
            .map_err(|error| wrong(error.to_string()))?;
        if certificates.is_empty() {
            return Err(wrong("no certificate in it".to_owned()));
        }
        for certificate in certificates {
            roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
        }
    }
    Ok(Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()))
}

/// What to do about a failed handshake.
pub(super) fn judge(error: &io::Error, target: &Target) -> NetError {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let (detail, fix) = match inner {
        Some(rustls::Error::InvalidCertificate(fault)) => certificate(fault, target),
        Some(rustls::Error::InvalidMessage(_)) => (
            format!("{target} does not speak TLS"),
            "if the hub is meant to be plain HTTP, give --hub as http://, otherwise check the port".to_owned(),
        ),
        _ => (
            format!("{target} ended the handshake: {error}"),
            "check that the address is the hub's and that no firewall inspects it".to_owned(),
        ),
    };
    NetError::new(Step::Tls, detail, fix)
}

fn certificate(fault: &CertificateError, target: &Target) -> (String, String) {
    match fault {
        CertificateError::UnknownIssuer => (
            format!("the certificate of {target} is signed by an unknown authority"),
            "give the hub's authority with --ca-file".to_owned(),
        ),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => (
            format!("the certificate of {target} has expired"),
            "renew the hub's certificate, or set this machine's clock".to_owned(),
        ),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            (format!("the certificate of {target} is not valid yet"), "set this machine's clock".to_owned())
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => (
            format!("the certificate of {target} is for another name"),
            "use the name in the hub's certificate in --hub".to_owned(),
        ),
        other => (
            format!("the certificate of {target} is not acceptable: {other}"),
            "check the hub's certificate".to_owned(),
        ),
    }
}
