//! Certificates on both sides: who shows none, another authority's, an old one or one with another name does not get past the
//! handshake; a new authority counts without a restart, for whoever was let in before as well.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use roadstead_http_kit::mutual::{Files, Member};
use roadstead_http_kit::{forward, tls};
use roadstead_runtime::{SystemClock, Tasks};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::door::{Door, Options};

struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let (key, mut params) = (KeyPair::generate().unwrap(), CertificateParams::default());
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Self { pem: params.self_signed(&key).unwrap().pem(), issuer: Issuer::new(params, key) }
    }

    /// Certificate and key of a member with a name beside the address.
    fn issue(&self, name: &str, over: bool) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned(), name.to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        if over {
            params.not_after = rcgen::date_time_ymd(2001, 1, 1);
        }
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }
}

fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

fn files(folder: &Path, name: &str, authority: &str, own: &(String, String)) -> Files {
    Files {
        own: tls::Files {
            key: write(folder, &format!("{name}-key.pem"), &own.1),
            certificate: write(folder, &format!("{name}.pem"), &own.0),
        },
        authority: Some(write(folder, &format!("{name}-ca.pem"), authority)),
    }
}

fn member(files: Files, names: &[&str], tasks: &Tasks) -> Arc<Member> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    Member::watch(files, &names, SystemClock::shared(), tasks).unwrap()
}

fn open(listening: &Arc<Member>) -> Door {
    Door::open(Options { tls: Some(listening.server_config().unwrap()), ..Options::default() })
}

/// A new connection each time, so that each is a handshake; the settings of one caller are kept.
async fn asked(door: &Door, config: Option<&rustls::ClientConfig>) -> Result<u16, String> {
    let config = config.cloned();
    let client = forward::Forward::client(Duration::from_secs(5), config).unwrap();
    let url = format!("https://127.0.0.1:{}/api/v1/open", door.address.port());
    client.get(url).send().await.map(|answer| answer.status().as_u16()).map_err(|fault| format!("{fault:?}"))
}

fn as_caller(folder: &Path, name: &str, trusted: &str, own: &(String, String), tasks: &Tasks) -> rustls::ClientConfig {
    member(files(folder, name, trusted, own), &[], tasks).client_config().unwrap()
}

#[tokio::test]
async fn only_who_shows_a_certificate_of_the_authority_gets_past_the_handshake() {
    roadstead_runtime::install_crypto();
    let (folder, tasks) = (tempfile::tempdir().unwrap(), Tasks::new());
    let folder = folder.path();
    let (own, other) = (Authority::new(), Authority::new());
    let listening = files(folder, "server", &own.pem, &own.issue("user.mesh", false));
    let door = open(&member(listening, &["front.mesh", "10.0.0.7"], &tasks));

    let front = as_caller(folder, "front", &own.pem, &own.issue("Front.mesh", false), &tasks);
    assert_eq!(asked(&door, Some(&front)).await, Ok(200));
    let stranger = as_caller(folder, "stranger", &own.pem, &other.issue("front.mesh", false), &tasks);
    let another = as_caller(folder, "another", &own.pem, &own.issue("other.mesh", false), &tasks);
    for (what, config) in [("another authority's", &stranger), ("another name's", &another)] {
        let said = asked(&door, Some(config)).await.unwrap_err();
        assert!(said.contains("lert") || said.contains("reset") || said.contains("closed"), "{what}: {said}");
    }
    // Its own files say that it is over, so it is shown by a caller that does not look.
    let (chain, key) = own.issue("front.mesh", true);
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(own.pem.as_bytes()).unwrap()).unwrap();
    let chain = vec![CertificateDer::from_pem_slice(chain.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let builder = || rustls::ClientConfig::builder().with_root_certificates(roots.clone());
    let over = builder().with_client_auth_cert(chain, key).unwrap();
    assert!(asked(&door, Some(&over)).await.is_err(), "an expired certificate was taken");
    let bare = builder().with_no_client_auth();
    assert!(asked(&door, Some(&bare)).await.is_err(), "nobody was let in");
    // The caller looks as well: whoever listens with another authority's certificate is not told anything.
    let false_door = open(&member(files(folder, "false", &own.pem, &other.issue("user.mesh", false)), &[], &tasks));
    let said = asked(&false_door, Some(&front)).await.unwrap_err();
    assert!(said.contains("UnknownIssuer") || said.contains("BadSignature"), "{said}");
}

#[tokio::test]
async fn a_new_authority_counts_without_a_restart() {
    roadstead_runtime::install_crypto();
    let (folder, tasks) = (tempfile::tempdir().unwrap(), Tasks::new());
    let folder = folder.path();
    let (old, new) = (Authority::new(), Authority::new());
    let listening = files(folder, "server", &old.pem, &old.issue("user.mesh", false));
    let door = open(&member(listening, &[], &tasks));
    let both = format!("{}{}", old.pem, new.pem);
    let before = as_caller(folder, "before", &both, &old.issue("front.mesh", false), &tasks);
    let after = as_caller(folder, "after", &both, &new.issue("front.mesh", false), &tasks);
    assert_eq!(asked(&door, Some(&before)).await, Ok(200));
    assert!(asked(&door, Some(&after)).await.is_err());
    write(folder, "server-ca.pem", &new.pem);
    for _ in 0..100 {
        if asked(&door, Some(&after)).await == Ok(200) {
            // Nor does a session of before let anybody in.
            assert!(asked(&door, Some(&before)).await.is_err(), "the old authority still counts");
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the new authority was not taken");
}

#[tokio::test]
async fn broken_files_are_named() {
    let (folder, tasks) = (tempfile::tempdir().unwrap(), Tasks::new());
    let own = Authority::new().issue("a", false);
    for (text, said) in [
        ("", "holds no PEM certificate"),
        ("-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n", "does not parse"),
    ] {
        let refused = Member::watch(files(folder.path(), "x", text, &own), &[], SystemClock::shared(), &tasks);
        let refused = refused.unwrap_err().to_string();
        assert!(
            refused.contains("TLS authority") && refused.contains("x-ca.pem") && refused.contains(said),
            "{refused}"
        );
    }
}
