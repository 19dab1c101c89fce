//! TLS towards the servers of the process's own: whom it trusts and what it shows. The broker and the key-value store take
//! these texts; the database's driver reads the files itself.

use std::path::{Path, PathBuf};

use crate::Secret;

/// Largest file: the bundle of every public authority has some 230 KiB.
const FILE_MAX: u64 = 1024 * 1024;

/// Why a file cannot be used. Names the file, never what is in it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Missing or unreadable.
    #[error("failed to read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not what it should be.
    #[error("{} {fault}", path.display())]
    Bad {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        fault: &'static str,
    },
}

/// Whom a connection trusts, and what it shows.
#[derive(Debug, Clone, Default)]
pub struct ClientTls {
    /// Certificates of authorities, PEM; none = the system's.
    pub ca_pem: Option<String>,
    /// The process's own certificate, for servers that ask for one.
    pub identity: Option<Identity>,
}

/// A certificate and its key.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Chain, PEM, leaf first.
    pub chain_pem: String,
    /// Private key, PEM.
    pub key_pem: Secret,
}

impl ClientTls {
    /// Reads the files that settings name. A certificate without its key was refused with the settings.
    pub fn read(ca: Option<&Path>, certificate: Option<&Path>, key: Option<&Path>) -> Result<Self, Error> {
        let ca_pem = ca.map(|path| pem(path, "CERTIFICATE", "holds no PEM certificate")).transpose()?;
        let identity = match (certificate, key) {
            (Some(certificate), Some(key)) => Some(Identity {
                chain_pem: pem(certificate, "CERTIFICATE", "holds no PEM certificate")?,
                key_pem: Secret::new(pem(key, "PRIVATE KEY", "holds no PEM private key")?),
            }),
            _ => None,
        };
        Ok(Self { ca_pem, identity })
    }

    /// Whether anything was set.
    pub fn is_set(&self) -> bool {
        self.ca_pem.is_some() || self.identity.is_some()
    }
}

fn pem(path: &Path, label: &str, fault: &'static str) -> Result<String, Error> {
    let read = |source| Error::Read { path: path.to_owned(), source };
    let bad = |fault| Error::Bad { path: path.to_owned(), fault };
    if std::fs::metadata(path).map_err(read)?.len() > FILE_MAX {
        return Err(bad("is larger than any bundle of certificates"));
    }
    let text = std::fs::read_to_string(path).map_err(read)?;
    if text.contains("ENCRYPTED") {
        return Err(bad("is encrypted; give it without a passphrase"));
    }
    // `-----BEGIN EC PRIVATE KEY-----` and the like end the same way.
    if text.contains("-----BEGIN ") && text.contains(&format!("{label}-----")) { Ok(text) } else { Err(bad(fault)) }
}

/// Texts of the TLS library and the drivers above it, and what they mean for whoever runs the hub. By text, because
/// drivers wrap the library's error in ways that hide its type; tests with real servers hold the texts to it.
const SENTENCES: [(&str, &str); 14] = [
    ("UnknownIssuer", "its certificate is of an authority that is not trusted here"),
    ("not valid for name", "its certificate is for another name"),
    ("NotValidForName", "its certificate is for another name"),
    ("ertificate expired", "its certificate has expired"),
    ("Expired", "its certificate has expired"),
    ("not valid yet", "its certificate is not valid yet"),
    ("NotValidYet", "its certificate is not valid yet"),
    ("invalid peer certificate", "its certificate is not valid"),
    ("CertificateRequired", "it wants a certificate of the hub"),
    ("received fatal alert", "it refused the handshake"),
    ("corrupt message", "what listens there does not speak TLS"),
    ("does not support TLS", "what listens there does not speak TLS"),
    ("handshake eof", "what listens there does not speak TLS"),
    ("no server certificate", "it shows no certificate"),
];

/// What a driver's error says about TLS, in words of ours; `None` when it is about something else.
pub fn explain(text: &str) -> Option<&'static str> {
    SENTENCES.iter().find(|(part, _)| text.contains(part)).map(|(_, sentence)| *sentence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_checked_and_never_quoted() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let ca = write("ca.pem", "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n");
        let key = write("key.pem", "-----BEGIN EC PRIVATE KEY-----\ncanary\n-----END EC PRIVATE KEY-----\n");
        let locked = write("locked.pem", "-----BEGIN ENCRYPTED PRIVATE KEY-----\ncanary\n");
        let tls = ClientTls::read(Some(&ca), Some(&ca), Some(&key)).unwrap();
        assert!(tls.is_set() && !format!("{tls:?}").contains("canary"));
        for (file, fault) in [
            (folder.path().join("none.pem"), "failed to read"),
            (write("odd.pem", "canary"), "no PEM private key"),
            (ca.clone(), "no PEM private key"),
            (locked, "is encrypted"),
        ] {
            let said = ClientTls::read(None, Some(&ca), Some(&file)).unwrap_err().to_string();
            assert!(said.contains(fault) && said.contains("pem") && !said.contains("canary"), "{said}");
        }
        assert!(!ClientTls::read(None, None, None).unwrap().is_set());
    }
}
