//! The whole product before one cluster or more: a hub with its Kubernetes door, and a real agent for each.

use std::fmt;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde::Deserialize;

use crate::hub::{Hub, Options};
use crate::process::{Running, sibling};
use crate::wire::{Asking, Way};

/// How long an agent may take to join.
const JOIN_LIMIT: Duration = Duration::from_secs(30);

/// A hub, its agents, and callers that none of its quotas holds up.
pub struct Product {
    /// The hub.
    pub hub: Hub,
    folder: tempfile::TempDir,
    keys: Vec<String>,
}

impl fmt::Debug for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Product({:?})", self.hub)
    }
}

impl Product {
    /// Starts a hub with so many API keys. Each may ask 200 times a second: quotas are kept, and nobody reaches them.
    pub async fn start(keys: usize) -> Result<Self> {
        let environment = ["REQUESTS", "API"]
            .map(|class| (format!("ROADSTEAD_RATE_LIMIT_{class}_PER_MINUTE"), "1000000".to_owned()))
            .to_vec();
        let hub = Hub::start(Options { environment, ..Options::default() }).await?;
        let mut made = Vec::new();
        for number in 0..keys {
            made.push(hub.new_api_key(&format!("load-{number}")).await?);
        }
        Ok(Self { hub, folder: tempfile::tempdir()?, keys: made })
    }

    /// Starts an agent and waits until it is connected.
    pub async fn agent(&self, cluster: &str, kubeconfig: &Path) -> Result<Running> {
        let before = self.hub.connected_agents().await?;
        let mut command = Command::new(sibling("roadstead-agent")?);
        command
            .args(["run", "--hub", &self.hub.first.agent_url, "--name", cluster])
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .arg("--state")
            .arg(self.folder.path().join(cluster))
            .env("ROADSTEAD_JOIN_TOKEN", self.hub.join_token(1).await?)
            .env("ROADSTEAD_AGENT_SERVER_PORT", "0")
            .env("ROADSTEAD_LOGGING_LEVEL", "warn");
        let agent = Running::start(&mut command)?;
        let joined = async {
            while self.hub.connected_agents().await? <= before {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Ok::<_, anyhow::Error>(())
        };
        tokio::time::timeout(JOIN_LIMIT, joined).await.context("the agent did not connect")??;
        Ok(agent)
    }

    /// A kubeconfig for a cluster that is only an HTTP server.
    pub fn kubeconfig(&self, backend: SocketAddr) -> Result<std::path::PathBuf> {
        let file = self.folder.path().join(format!("kubeconfig-{}", backend.port()));
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: bare\n\
             clusters: [{{ name: bare, cluster: {{ server: \"http://{backend}\" }} }}]\n\
             contexts: [{{ name: bare, context: {{ cluster: bare, user: bare }} }}]\n\
             users: [{{ name: bare, user: {{ token: none }} }}]\n"
        );
        fs::write(&file, text)?;
        Ok(file)
    }

    /// How a cluster is asked through the hub, with every key in turn.
    pub fn asking(&self, cluster: &str) -> Result<Asking> {
        let url = &self.hub.first.kubernetes_url;
        let address = url.trim_start_matches("https://").trim_end_matches('/').parse().context("no Kubernetes door")?;
        let authority = fs::read(&self.hub.first.ca_file).context("failed to read the hub's authority")?;
        let headers = self.keys.iter().map(|key| format!("Authorization: Bearer {key}\r\n")).collect();
        Ok(Asking { way: Way::Tls(address, trusting(&authority)?), path: format!("/k/{cluster}"), headers })
    }
}

/// TLS as every HTTP/1.1 client does it.
fn trusting(authority: &[u8]) -> Result<Arc<rustls::ClientConfig>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority).context("the authority is no certificate")?)?;
    Ok(Arc::new(rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()))
}

#[derive(Deserialize)]
struct Kubeconfig {
    clusters: Vec<Cluster>,
    users: Vec<User>,
}

#[derive(Deserialize)]
struct Cluster {
    cluster: Server,
}

#[derive(Deserialize)]
struct Server {
    server: String,
    #[serde(rename = "certificate-authority-data")]
    authority: String,
}

#[derive(Deserialize)]
struct User {
    user: Token,
}

#[derive(Deserialize)]
struct Token {
    token: String,
}

/// How the API server of a kubeconfig (a token, an authority in the file) is asked without a hub.
pub fn api_server(kubeconfig: &Path) -> Result<Asking> {
    let text = fs::read_to_string(kubeconfig).with_context(|| format!("failed to read {}", kubeconfig.display()))?;
    // The parser's message may quote the file, token and all.
    let Ok(file) = serde_saphyr::from_str::<Kubeconfig>(&text) else {
        bail!("{} is no kubeconfig with a token and an authority's data", kubeconfig.display())
    };
    let (Some(cluster), Some(user)) = (file.clusters.first(), file.users.first()) else { bail!("it names no cluster") };
    let authority = STANDARD.decode(&cluster.cluster.authority).context("the authority is not base64")?;
    let address =
        cluster.cluster.server.trim_start_matches("https://").parse().context("not at https://ADDRESS:PORT")?;
    let header = format!("Authorization: Bearer {}\r\n", user.user.token);
    Ok(Asking { way: Way::Tls(address, trusting(&authority)?), path: String::new(), headers: vec![header] })
}
