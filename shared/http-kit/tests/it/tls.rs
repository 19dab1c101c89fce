use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use roadstead_http_kit::tls::{Certificate, Files};
use roadstead_runtime::{SystemClock, Tasks};
use tokio::io::AsyncWriteExt as _;

struct Pair {
    key: String,
    certificate: String,
}

fn pair(name: &str) -> Pair {
    let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
    Pair { key: made.signing_key.serialize_pem(), certificate: made.cert.pem() }
}

fn write(folder: &Path, key: &str, certificate: &str) -> Files {
    let files = Files { key: folder.join("key.pem"), certificate: folder.join("cert.pem") };
    std::fs::write(&files.key, key).unwrap();
    std::fs::write(&files.certificate, certificate).unwrap();
    files
}

fn refusal(key: &str, certificate: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let files = write(folder.path(), key, certificate);
    Certificate::watch(files, SystemClock::shared(), &Tasks::new()).unwrap_err().to_string()
}

#[tokio::test]
async fn a_broken_pair_is_refused_with_the_files_name() {
    let (one, two) = (pair("one"), pair("two"));
    assert!(refusal(&one.key, &two.certificate).contains("key.pem does not belong to the certificate"));
    assert!(refusal(&one.key, &format!("{}{}", two.certificate, one.certificate)).contains("wrong order"));
    assert!(refusal("", &one.certificate).contains("key.pem holds no PEM private key"));
    assert!(refusal(&one.key, "garbage").contains("cert.pem holds no PEM certificate"));
    let encrypted = one.key.replace("PRIVATE", "ENCRYPTED PRIVATE");
    assert!(refusal(&encrypted, &one.certificate).contains("key.pem is encrypted"));
    let mut old = rcgen::CertificateParams::new(vec!["old".to_owned()]).unwrap();
    old.not_after = rcgen::date_time_ymd(2001, 1, 1);
    let key = rcgen::KeyPair::generate().unwrap();
    let expired = old.self_signed(&key).unwrap().pem();
    assert!(refusal(&key.serialize_pem(), &expired).contains("cert.pem expired on"));
    let files = Files { key: "/nowhere/key.pem".into(), certificate: "/nowhere/cert.pem".into() };
    let missing = Certificate::watch(files, SystemClock::shared(), &Tasks::new()).unwrap_err().to_string();
    assert!(missing.contains("failed to read TLS key /nowhere/key.pem"), "{missing}");
}

#[tokio::test]
async fn a_new_pair_is_taken_and_a_broken_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (pair("one"), pair("two"));
    let files = write(folder.path(), &one.key, &one.certificate);
    let tasks = Tasks::new();
    let certificate = Certificate::watch(files, SystemClock::shared(), &tasks).unwrap();
    let door = crate::door::Door::open(crate::door::Options {
        tls: Some(certificate.server_config().unwrap()),
        ..crate::door::Options::default()
    });
    assert_eq!(served(&door).await, "one");
    std::fs::write(folder.path().join("key.pem"), &two.key).unwrap();
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert_eq!(served(&door).await, "one", "a half-written pair must not be taken");
    std::fs::write(folder.path().join("cert.pem"), &two.certificate).unwrap();
    for _ in 0..50 {
        if served(&door).await == "two" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the new certificate was not taken");
}

/// The name in the certificate that is served, after one good answer over it.
async fn served(door: &crate::door::Door) -> String {
    roadstead_runtime::install_crypto();
    let config = rustls::ClientConfig::builder()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone))
        .with_no_client_auth();
    let stream = tokio::net::TcpStream::connect(door.address).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let name = rustls_pki_types::ServerName::try_from("hub").unwrap();
    let mut stream = connector.connect(name, stream).await.unwrap();
    let leaf = stream.get_ref().1.peer_certificates().unwrap()[0].clone();
    stream.write_all(b"GET /api/v1/open HTTP/1.1\r\nhost: hub\r\nconnection: close\r\n\r\n").await.unwrap();
    let text = crate::door::read_all(&mut stream).await;
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    let shown = String::from_utf8_lossy(&leaf).into_owned();
    if shown.contains("two") { "two".to_owned() } else { "one".to_owned() }
}

#[derive(Debug)]
struct Anyone;

impl rustls::client::danger::ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &rustls_pki_types::CertificateDer<'_>,
        _: &[rustls_pki_types::CertificateDer<'_>],
        _: &rustls_pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls_pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &rustls_pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &rustls_pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
