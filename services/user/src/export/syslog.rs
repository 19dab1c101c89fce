//! Syslog: RFC 5424 lines over TCP (RFC 6587 §3.4.1) or TLS (RFC 5425), each with its number of octets before it.
//!
//! Syslog has no word for "I have it". A batch has a connection of its own: it is written, our side is closed, and the batch
//! counts once the receiver has closed its side in order, which it does after it has read to the end. A reset, a silence or,
//! with TLS, an end without the closing word (somebody on the way could make one) means that the batch is sent again.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use chrono::SecondsFormat;
use roadstead_runtime::client_tls::{ClientTls, explain};
use roadstead_runtime::config::Audit;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::{Delivered, Result, Row, Sink};

/// Facility 13, "log audit" (RFC 5424 §6.2.1).
const FACILITY: u8 = 13;
/// How long a connection may take, its handshake included.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a receiver may take to read a batch and to close: well inside the time that a replica holds it.
const READ: Duration = Duration::from_secs(20);
/// Bytes that a receiver may say before it closes; syslog has nothing to say.
const SAID_MAX: usize = 4 * 1024;

/// A receiver of syslog.
pub(crate) struct Syslog {
    /// `host:port`.
    address: String,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Syslog {
    pub(crate) fn new(url: &str, audit: &Audit) -> anyhow::Result<Self> {
        let (scheme, address) = url.split_once("://").context("audit.syslog_url is not a URL")?;
        let tls = if scheme == "tls" {
            let files = ClientTls::read(
                audit.syslog_ca_file.as_deref(),
                audit.syslog_cert_file.as_deref(),
                audit.syslog_key_file.as_deref(),
            )
            .context("TLS to the receiver of syslog cannot be set up")?;
            let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
            let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
            let name = ServerName::try_from(host).context("audit.syslog_url names no host")?;
            Some((TlsConnector::from(Arc::new(config(&files)?)), name))
        } else {
            None
        };
        Ok(Self { address: address.to_owned(), tls })
    }
}

fn config(tls: &ClientTls) -> anyhow::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    match &tls.ca_pem {
        Some(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                let certificate = certificate.context("the authority's file has a broken section")?;
                roots.add(certificate).context("the authority's certificate cannot be used")?;
            }
        }
        None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("TLS cannot be set up")?
        .with_root_certificates(roots);
    let Some(identity) = &tls.identity else { return Ok(builder.with_no_client_auth()) };
    let chain = CertificateDer::pem_slice_iter(identity.chain_pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .context("the certificate's file has a broken section")?;
    let key = PrivateKeyDer::from_pem_slice(identity.key_pem.expose().as_bytes())
        .map_err(|_| anyhow::anyhow!("the private key cannot be read"))?;
    builder.with_client_auth_cert(chain, key).context("certificate and key do not belong together")
}

#[async_trait]
impl Sink for Syslog {
    fn name(&self) -> &'static str {
        "syslog"
    }

    async fn deliver(&self, rows: &[Row]) -> Result<Delivered> {
        let mut batch = String::new();
        for row in rows {
            frame(&mut batch, row);
        }
        let connecting = async {
            let stream = TcpStream::connect(&self.address).await.map_err(|_| "nobody listens there".to_owned())?;
            match &self.tls {
                None => Ok(Either::Plain(stream)),
                Some((connector, name)) => match connector.connect(name.clone(), stream).await {
                    Ok(stream) => Ok(Either::Tls(Box::new(stream))),
                    Err(fault) => Err(explain(&fault.to_string()).unwrap_or("the TLS handshake failed").to_owned()),
                },
            }
        };
        let stream = timeout(CONNECT, connecting).await.map_err(|_| "it does not answer".to_owned())??;
        let handed = async {
            match stream {
                Either::Plain(stream) => hand_over(stream, batch.as_bytes()).await,
                Either::Tls(stream) => hand_over(*stream, batch.as_bytes()).await,
            }
        };
        match timeout(READ, handed).await {
            Ok(Ok(())) => Ok(Delivered::default()),
            Ok(Err(fault)) => Err(explain(&fault.to_string())
                .map_or_else(|| format!("the connection broke before the end: {}", fault.kind()), str::to_owned)),
            Err(_) => Err("it did not close the connection after the end".to_owned()),
        }
    }
}

enum Either {
    Plain(TcpStream),
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

/// Writes everything, closes our side, and waits for the other to close its own.
async fn hand_over<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, batch: &[u8]) -> std::io::Result<()> {
    stream.write_all(batch).await?;
    stream.flush().await?;
    stream.shutdown().await?;
    let mut said = [0; 256];
    let mut bytes = 0;
    loop {
        match stream.read(&mut said).await? {
            0 => return Ok(()),
            more => bytes += more,
        }
        if bytes > SAID_MAX {
            return Err(std::io::Error::other("the receiver talks"));
        }
    }
}

/// `LENGTH <PRI>1 TIME HOST APP PROCESS MESSAGE-ID STRUCTURED-DATA MESSAGE`.
fn frame(batch: &mut String, row: &Row) {
    let priority = FACILITY * 8 + row.severity();
    let at = row.record.at.to_rfc3339_opts(SecondsFormat::Micros, true);
    let message = format!("<{priority}>1 {at} - roadstead - audit - {}", row.line);
    // Writing to a `String` does not fail.
    let _ = write!(batch, "{} {message}", message.len());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::audit::ChainRow;

    #[test]
    fn a_row_is_one_frame_with_its_octets_counted() {
        let record = r#"{"id":"00000000-0000-0000-0000-000000000007","at":"2026-01-02T03:04:05.123456Z","phase":"outcome","action":"user.create","actor":{"kind":"system","name":"tést"},"resource":{"kind":"user"},"origin":{"request_id":"r"},"outcome":{"result":"refused","code":"forbidden"}}"#;
        let row = ChainRow { seq: 7, prev: "00".into(), hash: "11".into(), record: record.into() };
        let row = Row::of(row).unwrap();
        let mut batch = String::new();
        frame(&mut batch, &row);
        frame(&mut batch, &row);
        let (length, rest) = batch.split_once(' ').unwrap();
        let length: usize = length.parse().unwrap();
        let (first, second) = rest.as_bytes().split_at(length);
        let first = std::str::from_utf8(first).unwrap();
        assert!(first.starts_with("<108>1 2026-01-02T03:04:05.123456Z - roadstead - audit - {\"seq\":7,"), "{first}");
        assert!(first.ends_with(&format!("\"record\":{record}}}")), "{first}");
        assert_eq!(second, format!("{length} {first}").as_bytes());
    }
}
