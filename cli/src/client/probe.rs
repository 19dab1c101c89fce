//! `roadstead probe URL`: what a container without a shell asks itself.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use reqwest::{Certificate, Identity};
use roadstead_runtime::client_tls::ClientTls;

/// Below the time-out of the container's own health check.
const TIMEOUT: Duration = Duration::from_secs(3);

pub(super) async fn run(url: &str, ca: Option<&Path>, certificate: Option<&Path>, key: Option<&Path>) -> Result<()> {
    roadstead_runtime::install_crypto();
    let tls = ClientTls::read(ca, certificate, key).context("TLS cannot be set up")?;
    let mut builder =
        reqwest::Client::builder().timeout(TIMEOUT).redirect(reqwest::redirect::Policy::none()).no_proxy();
    if let Some(pem) = &tls.ca_pem {
        let trusted =
            Certificate::from_pem_bundle(pem.as_bytes()).context("the authority's certificate is unreadable")?;
        builder = builder.tls_certs_only(trusted);
    }
    if let Some(own) = &tls.identity {
        let both = format!("{}\n{}", own.chain_pem, own.key_pem.expose());
        builder = builder.identity(Identity::from_pem(both.as_bytes()).context("the certificate cannot be shown")?);
    }
    let client = builder.build().context("failed to set up HTTP")?;
    let status = client.get(url).send().await.with_context(|| format!("failed to reach {url}"))?.status();
    ensure!(status.is_success(), "{url} answers {status}");
    Ok(())
}
