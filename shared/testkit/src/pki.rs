//! Certificates for the servers of tests: an authority, a server's and a client's certificate of it, and a stranger.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

use crate::servers::private_file;

/// The only name in the server's certificate: whoever calls it `localhost` calls it by another name.
pub const NAME: &str = "127.0.0.1";

/// Files of one test.
#[derive(Debug, Clone)]
pub struct Pki {
    /// Certificate of the authority.
    pub ca: PathBuf,
    /// Certificate of another authority, which issued nothing.
    pub other_ca: PathBuf,
    /// Certificate of a server that is called [`NAME`], and its key.
    pub server: (PathBuf, PathBuf),
    /// Certificate of a client, and its key.
    pub client: (PathBuf, PathBuf),
    /// Certificate of a service that is a server to some and a client of others, and its key.
    pub member: (PathBuf, PathBuf),
    /// Certificate and key of a client of the other authority.
    pub stranger: (PathBuf, PathBuf),
}

impl Pki {
    /// Makes all of them in a folder.
    pub fn make(folder: &Path) -> Result<Self> {
        use ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
        std::fs::create_dir_all(folder).with_context(|| format!("failed to make {}", folder.display()))?;
        let own = authority("tests")?;
        let other = authority("strangers")?;
        let write = |name: &str, text: &str| {
            let path = folder.join(name);
            private_file(&path, text).map(|()| path)
        };
        let pair = |name: &str, issuer: &Issuer<'static, KeyPair>, uses: &[ExtendedKeyUsagePurpose]| -> Result<_> {
            let (certificate, key) = leaf(name, issuer, uses)?;
            Ok((write(&format!("{name}.pem"), &certificate)?, write(&format!("{name}-key.pem"), &key)?))
        };
        Ok(Self {
            ca: write("ca.pem", &own.0)?,
            other_ca: write("other-ca.pem", &other.0)?,
            server: pair("server", &own.1, &[ServerAuth])?,
            client: pair("client", &own.1, &[ClientAuth])?,
            member: pair("member", &own.1, &[ServerAuth, ClientAuth])?,
            stranger: pair("stranger", &other.1, &[ClientAuth])?,
        })
    }
}

fn authority(name: &str) -> Result<(String, Issuer<'static, KeyPair>)> {
    let key = KeyPair::generate().context("failed to make a key")?;
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    let certificate = params.self_signed(&key).context("failed to sign the authority")?.pem();
    Ok((certificate, Issuer::new(params, key)))
}

fn leaf(name: &str, issuer: &Issuer<'static, KeyPair>, uses: &[ExtendedKeyUsagePurpose]) -> Result<(String, String)> {
    let key = KeyPair::generate().context("failed to make a key")?;
    let mut params = CertificateParams::new(vec![NAME.to_owned()]).context("failed to name a certificate")?;
    params.distinguished_name.push(DnType::CommonName, name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = uses.to_vec();
    params.use_authority_key_identifier_extension = true;
    let certificate = params.signed_by(&key, issuer).context("failed to sign a certificate")?;
    Ok((certificate.pem(), key.serialize_pem()))
}
