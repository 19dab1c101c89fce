//! Certificates and keys that a caller gave (reliability row S06). Nothing of a key is ever in an error.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use roadstead_contracts::message::Sensitive;
use roadstead_contracts::{Error, Result};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::{PemObject as _, SectionKind};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// Longest PEM text: a few certificates with their chains.
const PEM_MAX: usize = 256 * 1024;
/// Most certificates of an authority: a cluster has one, during a rotation two.
const CERTIFICATES_MAX: usize = 16;

/// What a PEM text holds.
pub(super) struct Pem {
    /// Certificates, DER.
    pub(super) certificates: Vec<Vec<u8>>,
    keys: usize,
}

impl Pem {
    /// Reads every section.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let mut found = Self { certificates: Vec::new(), keys: 0 };
        for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(text.as_bytes()) {
            let (kind, der) = section.map_err(|_| "holds a PEM section that is broken".to_owned())?;
            match kind {
                SectionKind::Certificate => found.certificates.push(der),
                SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey => found.keys += 1,
                _ => return Err("holds something that is neither certificate nor key".to_owned()),
            }
        }
        Ok(found)
    }
}

/// PEM, or PEM in base64 as kubeconfigs have it.
fn plain(text: &str) -> Result<String, String> {
    const NEITHER: &str = "is neither PEM nor PEM in base64";
    if text.len() > PEM_MAX {
        return Err(format!("must be at most {PEM_MAX} bytes"));
    }
    if text.contains("-----BEGIN ") {
        return Ok(text.to_owned());
    }
    let packed: String = text.split_ascii_whitespace().collect();
    let bytes = STANDARD.decode(packed).map_err(|_| NEITHER.to_owned())?;
    let text = String::from_utf8(bytes).map_err(|_| NEITHER.to_owned())?;
    if text.contains("-----BEGIN ") { Ok(text) } else { Err(NEITHER.to_owned()) }
}

/// Certificates of whoever issued the server's.
pub(super) fn check_authority(text: &str, place: &[&str], now: DateTime<Utc>) -> Result<String> {
    let checked = || -> Result<String, String> {
        let text = plain(text)?;
        let pem = Pem::read(&text)?;
        if pem.keys > 0 {
            return Err("holds a private key, which belongs to nobody else's hands".to_owned());
        }
        if pem.certificates.is_empty() || pem.certificates.len() > CERTIFICATES_MAX {
            return Err(format!("must hold 1 to {CERTIFICATES_MAX} certificates"));
        }
        for certificate in &pem.certificates {
            in_time(certificate, now)?;
        }
        Ok(text)
    };
    checked().map_err(|why| Error::field(place, "value_error", why))
}

/// A client certificate and its key.
pub(super) fn check_pair(
    certificate: &str,
    key: &str,
    place: [&[&str]; 2],
    now: DateTime<Utc>,
) -> Result<(String, Sensitive)> {
    let at = |index: usize| move |why: String| Error::field(place[index], "value_error", why);
    let certificate = plain(certificate).map_err(at(0))?;
    let pem = Pem::read(&certificate).map_err(at(0))?;
    if pem.keys > 0 || pem.certificates.is_empty() || pem.certificates.len() > CERTIFICATES_MAX {
        return Err(at(0)(format!("must hold 1 to {CERTIFICATES_MAX} certificates and no key")));
    }
    in_time(&pem.certificates[0], now).map_err(at(0))?;
    let key = plain(key).map_err(at(1))?;
    let parsed = PrivateKeyDer::from_pem_slice(key.as_bytes())
        .map_err(|_| at(1)("holds no PEM private key (PKCS#8, PKCS#1 or SEC1) without a passphrase".to_owned()))?;
    let signer = rustls::crypto::aws_lc_rs::sign::any_supported_type(&parsed)
        .map_err(|_| at(1)("is a key of a kind that TLS does not use".to_owned()))?;
    let chain = pem.certificates.into_iter().map(CertificateDer::from).collect();
    CertifiedKey::new(chain, signer)
        .keys_match()
        .map_err(|_| at(1)("does not belong to the client certificate".to_owned()))?;
    Ok((certificate, Sensitive(key)))
}

fn in_time(certificate: &[u8], now: DateTime<Utc>) -> Result<(), String> {
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| "holds a certificate that does not parse")?;
    let validity = parsed.validity();
    if now.timestamp() > validity.not_after.timestamp() {
        return Err(format!("holds a certificate that expired on {}", validity.not_after));
    }
    if now.timestamp() < validity.not_before.timestamp() {
        return Err(format!("holds a certificate that is not valid before {}", validity.not_before));
    }
    Ok(())
}
