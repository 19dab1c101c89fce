//! A hub: `roadstead up` as a process of its own, with a folder that outlives it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use crate::process::{Running, sibling};

/// How long a hub may take to be ready; a debug build hashes the first password slowly.
const START_MAX: Duration = Duration::from_secs(60);

/// What `up` writes when it is ready.
#[derive(Clone, Deserialize)]
pub struct Ready {
    /// Address of the front door.
    pub url: String,
    /// Address of the agents' door.
    pub agent_url: String,
    /// Address of the Kubernetes door.
    #[serde(default)]
    pub kubernetes_url: String,
    /// Who issued its certificate, PEM.
    #[serde(default)]
    pub ca_file: PathBuf,
    /// An API key of the owner; on the first start.
    #[serde(default)]
    pub api_key: Option<String>,
    /// A join token; on the first start.
    #[serde(default)]
    pub join_token: Option<String>,
}

impl std::fmt::Debug for Ready {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ready({})", self.url)
    }
}

/// How the hub is run.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Serve with a certificate of its own ([`Hub::certificate`]).
    pub tls: bool,
    /// Clusters to host.
    pub kubeconfigs: Vec<PathBuf>,
    /// More settings.
    pub environment: Vec<(String, String)>,
}

/// A hub and its folder.
#[derive(Debug)]
pub struct Hub {
    folder: tempfile::TempDir,
    options: Options,
    ports: [u16; 2],
    running: Option<Running>,
    /// What it said on its first start.
    pub first: Ready,
    client: reqwest::Client,
}

impl Hub {
    /// Starts a new hub.
    pub async fn start(options: Options) -> Result<Self> {
        let folder = tempfile::tempdir().context("failed to make a folder")?;
        if options.tls {
            write_certificate(folder.path())?;
        }
        // Fixed, because agents come back to where they were.
        let ports = roadstead_testkit::ports::free::<2>()?;
        let mut client = reqwest::Client::builder().no_proxy();
        if options.tls {
            let certificate = fs::read(folder.path().join("cert.pem"))?;
            client = client.add_root_certificate(reqwest::Certificate::from_pem(&certificate)?);
        }
        let client = client.build().context("failed to make an HTTP client")?;
        let first = Ready {
            url: String::new(),
            agent_url: String::new(),
            kubernetes_url: String::new(),
            ca_file: PathBuf::new(),
            api_key: None,
            join_token: None,
        };
        let mut hub = Self { folder, options, ports, running: None, first, client };
        hub.first = hub.launch().await?;
        Ok(hub)
    }

    /// Starts it again in its folder, after [`Hub::kill`].
    pub async fn launch(&mut self) -> Result<Ready> {
        let file = self.folder.path().join("ready.json");
        let _ = fs::remove_file(&file);
        let mut command = Command::new(sibling("roadstead")?);
        command
            .args(["up", "--listen", &format!("127.0.0.1:{}", self.ports[0])])
            .args(["--agent-listen", &format!("127.0.0.1:{}", self.ports[1])])
            .args(["--kubernetes-listen", "127.0.0.1:0"])
            .arg("--data")
            .arg(self.folder.path().join("data"))
            .arg("--ready-file")
            .arg(&file)
            .env("ROADSTEAD_LOGGING_LEVEL", "warn")
            .envs(self.options.environment.iter().cloned());
        for kubeconfig in &self.options.kubeconfigs {
            command.arg("--kubeconfig").arg(kubeconfig);
        }
        if self.options.tls {
            command
                .env("ROADSTEAD_TLS_ENABLED", "true")
                .env("ROADSTEAD_TLS_CERT_FILE", self.folder.path().join("cert.pem"))
                .env("ROADSTEAD_TLS_KEY_FILE", self.folder.path().join("key.pem"));
        }
        let mut running = Running::start(&mut command)?;
        let until = Instant::now() + START_MAX;
        loop {
            if let Ok(text) = fs::read(&file)
                && let Ok(ready) = serde_json::from_slice(&text)
            {
                self.running = Some(running);
                return Ok(ready);
            }
            if !running.is_alive() {
                bail!("the hub ended while it started");
            }
            if Instant::now() > until {
                bail!("the hub was not ready within {START_MAX:?}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// `kill -9`.
    pub fn kill(&mut self) -> Result<()> {
        self.running.take().context("the hub does not run")?.kill()
    }

    /// Its process id.
    pub fn pid(&self) -> Result<u32> {
        Ok(self.running.as_ref().context("the hub does not run")?.pid())
    }

    /// The certificate that agents must trust, if it has one.
    pub fn certificate(&self) -> Option<PathBuf> {
        self.options.tls.then(|| self.folder.path().join("cert.pem"))
    }

    /// The owner's API key.
    pub fn api_key(&self) -> Result<&str> {
        self.first.api_key.as_deref().context("the hub showed no API key")
    }

    /// Makes a join token that can be used so often.
    pub async fn join_token(&self, uses: usize) -> Result<String> {
        #[derive(Deserialize)]
        struct Made {
            token: String,
        }
        let answer = self
            .client
            .post(format!("{}/api/v1/join-tokens", self.first.url))
            .header("X-API-Key", self.api_key()?)
            .json(&serde_json::json!({ "uses": uses, "lifetime_seconds": 86_400 }))
            .send()
            .await
            .context("failed to ask for a join token")?;
        let answer = answer.error_for_status().context("the hub made no join token")?;
        Ok(answer.json::<Made>().await.context("the answer has no token")?.token)
    }

    /// Makes another API key of the owner.
    pub async fn new_api_key(&self, name: &str) -> Result<String> {
        #[derive(Deserialize)]
        struct Made {
            api_key: String,
        }
        let answer = self
            .client
            .post(format!("{}/api-keys/", self.first.url))
            .header("X-API-Key", self.api_key()?)
            .json(&serde_json::json!({ "key_name": name }))
            .send()
            .await
            .context("failed to ask for an API key")?;
        let answer = answer.error_for_status().context("the hub made no API key")?;
        Ok(answer.json::<Made>().await.context("the answer has no key")?.api_key)
    }

    /// Agents that the hub itself counts as connected.
    pub async fn connected_agents(&self) -> Result<usize> {
        let answer = self
            .client
            .get(format!("{}/api/v1/agents?connected=true&limit=1", self.first.url))
            .header("X-API-Key", self.api_key()?)
            .send()
            .await?
            .error_for_status()
            .context("the hub listed no agents")?;
        let total = answer.headers().get("x-total-count").and_then(|value| value.to_str().ok());
        total.and_then(|value| value.parse().ok()).context("the list of agents has no total")
    }

    /// How long `/healthz` takes now.
    pub async fn health_time(&self) -> Result<Duration> {
        let began = Instant::now();
        self.client.get(format!("{}/healthz", self.first.url)).send().await?.error_for_status()?;
        Ok(began.elapsed())
    }
}

fn write_certificate(folder: &Path) -> Result<()> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned(), "127.0.0.1".to_owned()])?;
    fs::write(folder.join("cert.pem"), made.cert.pem())?;
    fs::write(folder.join("key.pem"), made.signing_key.serialize_pem())?;
    Ok(())
}
