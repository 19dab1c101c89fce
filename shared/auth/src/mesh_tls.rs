//! Mutual TLS between the processes of a mesh, with nothing to hand out besides the mesh secret.
//!
//! A certificate authority is derived from the secret (HMAC-SHA256 with a label of its own as the seed of an Ed25519 key), and
//! each process issues itself a certificate when it starts. Both sides check the other's certificate against that authority
//! with the ordinary verifier. Who knows the mesh secret is a member, who does not is not: the same trust as the signature
//! on messages, and the bytes are encrypted.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ED25519,
};
use roadstead_runtime::Secret;
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use zeroize::Zeroizing;

use crate::mesh::{MeshKey, SignedParts};
use crate::{Error, Result};

/// Keeps the seed apart from every signature the key makes.
const CONTEXT: &str = "mesh-tls-authority.v1";
/// The name in every certificate: members are peers, their addresses do not matter.
const MEMBER: &str = "member.roadstead.internal";
/// PKCS #8 (RFC 8410 §7) around an Ed25519 seed.
const PKCS8_HEAD: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// Both sides' TLS settings of one process.
#[derive(Debug, Clone)]
pub struct MeshTls {
    /// For the side that listens: wants a member's certificate.
    pub server: Arc<ServerConfig>,
    /// For the side that dials.
    pub client: Arc<ClientConfig>,
}

impl MeshTls {
    /// Derives the authority from the mesh secret and issues this process a certificate.
    pub fn derive(secret: &Secret) -> Result<Self> {
        let unusable = |_| Error::BadKey("the mesh authority could not be made");
        let (authority, authority_key) = authority(secret).map_err(unusable)?;
        let root = CertificateDer::from(authority.self_signed(&authority_key).map_err(unusable)?.der().to_vec());
        let issuer = Issuer::new(authority, authority_key);

        let key = KeyPair::generate_for(&PKCS_ED25519).map_err(unusable)?;
        let mut member = CertificateParams::new(vec![MEMBER.to_owned()]).map_err(unusable)?;
        member.distinguished_name.push(DnType::CommonName, MEMBER);
        member.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        member.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = CertificateDer::from(member.signed_by(&key, &issuer).map_err(unusable)?.der().to_vec());

        let mut roots = RootCertStore::empty();
        roots.add(root).map_err(|_| Error::BadKey("the mesh authority is not usable"))?;
        let roots = Arc::new(roots);
        let private = || PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let refused = |_| Error::BadKey("the member's certificate is not usable");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
            .build()
            .map_err(|_| Error::BadKey("the mesh authority is not usable"))?;
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(refused)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![certificate.clone()], private())
            .map_err(refused)?;
        let client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(refused)?
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![certificate], private())
            .map_err(refused)?;
        Ok(Self { server: Arc::new(server), client: Arc::new(client) })
    }

    /// The name to dial with: the one in every member's certificate.
    pub fn member_name() -> ServerName<'static> {
        ServerName::DnsName(rustls_pki_types::DnsName::try_from_str(MEMBER).unwrap_or_else(|_| unreachable_name()))
    }
}

#[expect(clippy::unreachable, reason = "a constant that a test reads")]
fn unreachable_name() -> rustls_pki_types::DnsName<'static> {
    unreachable!("{MEMBER} is a DNS name")
}

fn authority(secret: &Secret) -> std::result::Result<(CertificateParams, KeyPair), rcgen::Error> {
    let mesh = MeshKey::new(secret).map_err(|_| rcgen::Error::CouldNotParseKeyPair)?;
    let seed = Zeroizing::new(mesh.derive(&SignedParts { context: CONTEXT, parts: &[] }));
    let der = Zeroizing::new([PKCS8_HEAD.as_slice(), seed.as_slice()].concat());
    let key = KeyPair::from_pkcs8_der_and_sign_algo(&PrivatePkcs8KeyDer::from(der.as_slice()), &PKCS_ED25519)?;
    let mut authority = CertificateParams::default();
    authority.distinguished_name = rcgen::DistinguishedName::new();
    authority.distinguished_name.push(DnType::CommonName, "roadstead mesh");
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    Ok((authority, key))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use rustls::{ClientConnection, ServerConnection};

    use super::*;

    fn mesh(secret: char) -> MeshTls {
        MeshTls::derive(&Secret::new(secret.to_string().repeat(32))).unwrap()
    }

    fn handshake(server: &MeshTls, client: Arc<ClientConfig>) -> std::result::Result<(), rustls::Error> {
        let mut server = ServerConnection::new(Arc::clone(&server.server)).unwrap();
        let mut client = ClientConnection::new(client, MeshTls::member_name()).unwrap();
        for _ in 0..8 {
            let mut wire = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut wire).unwrap();
            }
            server.read_tls(&mut wire.as_slice()).unwrap();
            server.process_new_packets()?;
            let mut wire = Vec::new();
            while server.wants_write() {
                server.write_tls(&mut wire).unwrap();
            }
            client.read_tls(&mut wire.as_slice()).unwrap();
            client.process_new_packets()?;
        }
        assert!(!client.is_handshaking() && !server.is_handshaking());
        client.writer().write_all(b"hello").unwrap();
        let mut wire = Vec::new();
        client.write_tls(&mut wire).unwrap();
        server.read_tls(&mut wire.as_slice()).unwrap();
        server.process_new_packets()?;
        let mut read = [0; 5];
        server.reader().read_exact(&mut read).unwrap();
        assert_eq!(&read, b"hello");
        Ok(())
    }

    #[test]
    fn members_of_one_mesh_know_each_other() {
        // Two processes derive apart and meet.
        handshake(&mesh('a'), mesh('a').client).unwrap();
    }

    #[test]
    fn strangers_are_refused_on_both_sides() {
        assert!(handshake(&mesh('a'), mesh('b').client).is_err());
        // A stranger's certificate towards a server it trusts.
        let mut mixed = (*mesh('a').client).clone();
        mixed.client_auth_cert_resolver = Arc::clone(&mesh('b').client.client_auth_cert_resolver);
        assert!(handshake(&mesh('a'), Arc::new(mixed)).is_err());
    }
}
