//! The certificate authority of a hub in one process: made on its first start, kept beside its keys, trusted by the kubeconfigs
//! that the hub gives out and by nobody else.

use chrono::{DateTime, Datelike as _, Duration, Utc};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, date_time_ymd,
};
use roadstead_runtime::Secret;

use crate::{Error, Result};

/// The authority's name. It must not change: leaves name it, and the certificate that clients hold was made with it.
const NAME: &str = "roadstead up";
/// Life of the authority: kubeconfigs live as long as the hub's folder.
const AUTHORITY_DAYS: i64 = 3_650;
/// Life of a leaf, which each start makes anew: the longest that every client takes.
const LEAF_DAYS: i64 = 397;
/// Clocks of clients may be behind.
const SLACK_DAYS: i64 = 1;

/// Midnight so many days from now. A macro, because the type is of a crate that we do not name.
macro_rules! day {
    ($now:expr, $days:expr) => {{
        let (year, month, day) = ymd($now, $days);
        date_time_ymd(year, month, day)
    }};
}

/// An authority: its certificate and its key, both PEM.
#[derive(Debug, Clone)]
pub struct Authority {
    /// For clients.
    pub certificate: String,
    /// Private.
    pub key: Secret,
}

/// A certificate of a door.
#[derive(Debug, Clone)]
pub struct Leaf {
    /// Chain, PEM, leaf first.
    pub chain: String,
    /// Private key, PEM.
    pub key: Secret,
}

impl Authority {
    /// A new one.
    pub fn generate(now: DateTime<Utc>) -> Result<Self> {
        let key = new_key()?;
        let certificate = params(now).self_signed(&key).map_err(unusable)?.pem();
        Ok(Self { certificate, key: Secret::new(key.serialize_pem()) })
    }

    /// A certificate for a server with these names and addresses.
    pub fn issue(&self, names: &[String], now: DateTime<Utc>) -> Result<Leaf> {
        let signer = KeyPair::from_pem(self.key.expose()).map_err(unusable)?;
        let issuer = Issuer::new(params(now), signer);
        let key = new_key()?;
        let mut leaf = CertificateParams::new(names.to_vec()).map_err(unusable)?;
        leaf.distinguished_name = DistinguishedName::new();
        leaf.distinguished_name.push(DnType::CommonName, "roadstead");
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        leaf.use_authority_key_identifier_extension = true;
        (leaf.not_before, leaf.not_after) = (day!(now, -SLACK_DAYS), day!(now, LEAF_DAYS));
        let certificate = leaf.signed_by(&key, &issuer).map_err(unusable)?;
        Ok(Leaf { chain: format!("{}{}", certificate.pem(), self.certificate), key: Secret::new(key.serialize_pem()) })
    }
}

fn unusable(_: rcgen::Error) -> Error {
    Error::BadKey("the certificate authority cannot be used")
}

fn new_key() -> Result<KeyPair> {
    // Every client takes P-256; Ed25519 not every one.
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(unusable)
}

fn params(now: DateTime<Utc>) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, NAME);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    (params.not_before, params.not_after) = (day!(now, -SLACK_DAYS), day!(now, AUTHORITY_DAYS));
    params
}

fn ymd(now: DateTime<Utc>, days: i64) -> (i32, u8, u8) {
    let date = now + Duration::days(days);
    (date.year(), u8::try_from(date.month()).unwrap_or(1), u8::try_from(date.day()).unwrap_or(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leaf_of_an_authority_that_was_kept_is_trusted() {
        use rustls_pki_types::pem::PemObject as _;
        use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
        let now: DateTime<Utc> = chrono::DateTime::from(std::time::SystemTime::now());
        let made = Authority::generate(now - Duration::days(30)).unwrap();
        let kept = Authority { certificate: made.certificate.clone(), key: made.key.clone() };
        let leaf = kept.issue(&["127.0.0.1".to_owned(), "::1".to_owned(), "localhost".to_owned()], now).unwrap();
        let chain: Vec<CertificateDer<'_>> =
            CertificateDer::pem_slice_iter(leaf.chain.as_bytes()).collect::<std::result::Result<_, _>>().unwrap();
        assert_eq!(chain.len(), 2);
        PrivateKeyDer::from_pem_slice(leaf.key.expose().as_bytes()).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(made.certificate.as_bytes()).unwrap()).unwrap();
        let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier =
            rustls::client::WebPkiServerVerifier::builder_with_provider(std::sync::Arc::new(roots), provider)
                .build()
                .unwrap();
        let now = rustls_pki_types::UnixTime::now();
        for name in ["127.0.0.1", "::1", "localhost"] {
            let name = ServerName::try_from(name).unwrap();
            rustls::client::danger::ServerCertVerifier::verify_server_cert(
                &*verifier,
                &chain[0],
                &chain[1..],
                &name,
                &[],
                now,
            )
            .unwrap();
        }
        let other = ServerName::try_from("evil.example").unwrap();
        rustls::client::danger::ServerCertVerifier::verify_server_cert(
            &*verifier,
            &chain[0],
            &chain[1..],
            &other,
            &[],
            now,
        )
        .unwrap_err();
    }

    /// Clients that check more than the hub's own would not take less: a certificate that says it is an authority, of
    /// leaves only, for as long as the hub's folder lives.
    #[test]
    fn an_authority_and_its_leaves_say_what_they_are() {
        use rustls_pki_types::CertificateDer;
        use rustls_pki_types::pem::PemObject as _;
        let now: DateTime<Utc> = "2026-11-22T07:30:00Z".parse().unwrap();
        let holds = |der: &[u8], bytes: &[u8]| der.windows(bytes.len()).any(|window| window == bytes);
        let authority = Authority::generate(now).unwrap();
        let leaf = authority.issue(&["localhost".to_owned()], now).unwrap();
        let first = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        let (of_authority, of_leaf) = (first(&authority.certificate), first(&leaf.chain));
        // Extensions as RFC 5280 writes them: their number, whether they are critical, what they say.
        let leaves_only = b"\x06\x03\x55\x1d\x13\x01\x01\xff\x04\x08\x30\x06\x01\x01\xff\x02\x01\x00";
        let signs_certificates = b"\x06\x03\x55\x1d\x0f\x01\x01\xff\x04\x04\x03\x02\x02\x04";
        for (what, of, is) in [
            ("an authority's name", &b"roadstead up"[..], (true, true)),
            ("an authority of leaves", leaves_only, (true, false)),
            ("signs certificates", signs_certificates, (true, false)),
            ("from the day before", b"261121000000Z", (true, true)),
            ("for ten years", b"361119000000Z", (true, false)),
            ("for thirteen months", b"271224000000Z", (false, true)),
        ] {
            assert_eq!((holds(&of_authority, of), holds(&of_leaf, of)), is, "{what}");
        }
    }
}
