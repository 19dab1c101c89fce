//! `roadstead probe URL`: what a container without a shell asks itself.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

/// Below the time-out of the container's own health check.
const TIMEOUT: Duration = Duration::from_secs(3);

pub(super) async fn run(url: &str) -> Result<()> {
    roadstead_runtime::install_crypto();
    let client = reqwest::Client::builder()
        .timeout(TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()
        .context("failed to set up HTTP")?;
    let status = client.get(url).send().await.with_context(|| format!("failed to reach {url}"))?.status();
    ensure!(status.is_success(), "{url} answers {status}");
    Ok(())
}
