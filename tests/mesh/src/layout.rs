//! Which programs make up a hub, and what each is told.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use roadstead_auth::authority::Authority;
use roadstead_runtime::{Clock as _, SystemClock};
use roadstead_testkit::ports;
use roadstead_testkit::servers::State;

use crate::api::Api;
use crate::compose::{Compose, Given};

/// How the hub is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// `roadstead up`: one process, SQLite, no other server.
    OneProcess,
    /// Four services, two replicas of `cluster` and `onboarding`, over RabbitMQ, PostgreSQL and Redis.
    Mesh,
}

/// What a test wants otherwise than by default.
#[derive(Debug, Clone, Default)]
pub struct Tuning {
    /// Variables for each process.
    pub environment: Vec<(String, String)>,
    /// TLS, with a client's certificate, between the services of a mesh and its servers, among them, and for scrapers.
    pub tls: bool,
    /// A way to PostgreSQL that the test shuts.
    pub strait: bool,
    /// Bytes that each process may have for its data.
    pub memory: Option<u64>,
}

impl Tuning {
    /// One more variable.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// TLS to every server of the mesh.
    #[must_use]
    pub fn with_tls(self) -> Self {
        Self { tls: true, ..self }
    }

    /// A way to PostgreSQL that the test shuts.
    #[must_use]
    pub fn with_strait(self) -> Self {
        Self { strait: true, ..self }
    }

    /// So many bytes for the data of each process of the hub.
    #[must_use]
    pub fn with_memory(self, bytes: u64) -> Self {
        Self { memory: Some(bytes), ..self }
    }

    /// Quotas that a test under load does not meet.
    #[must_use]
    pub fn without_quotas(self) -> Self {
        self.with("ROADSTEAD_RATE_LIMIT_REQUESTS_PER_MINUTE", "1000000")
            .with("ROADSTEAD_RATE_LIMIT_API_PER_MINUTE", "1000000")
            .with("ROADSTEAD_RATE_LIMIT_LOGIN_PER_MINUTE", "1000")
    }
}

/// One process of the hub.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) name: String,
    pub(crate) arguments: Vec<String>,
    pub(crate) environment: Vec<(String, String)>,
    /// Where `/readyz` is.
    pub(crate) url: String,
}

impl Part {
    /// A caller at its own door, with the certificate of a member where it asks for one.
    pub(crate) fn api(&self) -> Result<Api> {
        if !self.url.starts_with("https") {
            return Api::new(&self.url);
        }
        let file = |name: &str| Ok::<_, anyhow::Error>(PathBuf::from(self.variable(name)?));
        let (ca, certificate) = (file("ROADSTEAD_MESH_CA_FILE")?, file("ROADSTEAD_MESH_CERT_FILE")?);
        Api::showing(&self.url, &ca, Some((&certificate, &file("ROADSTEAD_MESH_KEY_FILE")?)))
    }

    /// What it was told; of several the last.
    pub(crate) fn variable(&self, name: &str) -> Result<&str> {
        let found = self.environment.iter().rev().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str()).with_context(|| format!("{} is not told {name}", self.name))
    }
}

/// The parts of a mesh, and where its doors are.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) parts: Vec<Part>,
    pub(crate) doors: Vec<String>,
    pub(crate) agent_doors: Vec<u16>,
}

/// The certificate of the Kubernetes doors of a mesh.
struct Certificates {
    key: PathBuf,
    certificate: PathBuf,
    authority: PathBuf,
}

impl Certificates {
    fn make(folder: &Path) -> Result<Self> {
        let now = SystemClock.now();
        let authority = Authority::generate(now)?;
        let leaf = authority.issue(&["127.0.0.1".to_owned(), "localhost".to_owned()], now)?;
        let write = |name: &str, text: &str| {
            let file = folder.join(name);
            std::fs::write(&file, text).map(|()| file)
        };
        Ok(Self {
            key: write("kubernetes-key.pem", leaf.key.expose())?,
            certificate: write("kubernetes.pem", &leaf.chain)?,
            authority: write("ca.pem", &authority.certificate)?,
        })
    }
}

/// What stands for the address of the first front door in a test's variables: it is chosen when the hub starts.
pub(crate) const DOOR: &str = "{door}";

/// The same by the name of this machine, for what browsers allow to names only.
pub(crate) const NAMED_DOOR: &str = "{named_door}";

fn at_door(tuning: &Tuning, url: &str) -> Vec<(String, String)> {
    let named = url.replace("127.0.0.1", "localhost");
    let at = |value: &str| value.replace(DOOR, url).replace(NAMED_DOOR, &named);
    tuning.environment.iter().map(|(name, value)| (name.clone(), at(value))).collect()
}

/// The token with which the first admin of a mesh is made.
pub(crate) const BOOTSTRAP: &str = "bootstrap-4f9c1d7a02e84b63a8d1e5f70c92";

/// Four services, two of them twice, with the environment of `docker-compose.yml`.
pub(crate) fn mesh(folder: &Path, servers: &State, tuning: &Tuning, agent_url: &str, agents: [u16; 2]) -> Result<Plan> {
    let [user, operations, first, second] = ports::free()?;
    let metrics: [u16; 6] = ports::free()?;
    let user_url = format!("{}://127.0.0.1:{user}", if tuning.tls { "https" } else { "http" });
    let replicas = [
        ("user", "user", user, "ROADSTEAD_USER_PORT"),
        ("onboarding-1", "onboarding", agents[0], "ROADSTEAD_SERVER_AGENT_PORT"),
        ("onboarding-2", "onboarding", agents[1], "ROADSTEAD_SERVER_AGENT_PORT"),
        ("operations", "operations", operations, "ROADSTEAD_OPERATIONS_PORT"),
        ("cluster-1", "cluster", first, "ROADSTEAD_SERVER_PORT"),
        ("cluster-2", "cluster", second, "ROADSTEAD_SERVER_PORT"),
    ];
    let compose = Compose::open(folder, servers)?;
    let certificates = Certificates::make(folder)?;
    let mut parts = Vec::new();
    for ((name, service, port, port_variable), metrics) in replicas.into_iter().zip(metrics) {
        let Given { arguments, mut environment } = compose.service(service, servers)?;
        let mut set = |name: &str, value: &str| environment.push((name.to_owned(), value.to_owned()));
        for host in ["SERVER_HOST", "SERVER_AGENT_HOST", "USER_HOST", "OPERATIONS_HOST"] {
            set(&format!("ROADSTEAD_{host}"), "127.0.0.1");
        }
        set(port_variable, &port.to_string());
        set("ROADSTEAD_METRICS_PORT", &metrics.to_string());
        set("ROADSTEAD_USER_URL", &user_url);
        set("ROADSTEAD_DATA_DIR", &folder.join(name).display().to_string());
        set("ROADSTEAD_SERVER_AGENT_PUBLIC_URL", agent_url);
        // Replicas on one machine: each takes streams at a port of its own.
        set("ROADSTEAD_SERVER_REPLICA_HOST", "127.0.0.1");
        set("ROADSTEAD_SERVER_REPLICA_PORT", "0");
        set("ROADSTEAD_OPERATIONS_RELAY_HOST", "127.0.0.1");
        set("ROADSTEAD_OPERATIONS_RELAY_PORT", "0");
        if service == "cluster" {
            set("ROADSTEAD_SERVER_KUBERNETES_PORT", "0");
            set("ROADSTEAD_TLS_KUBERNETES_KEY_FILE", &certificates.key.display().to_string());
            set("ROADSTEAD_TLS_KUBERNETES_CERT_FILE", &certificates.certificate.display().to_string());
            set("ROADSTEAD_TLS_KUBERNETES_CA_FILE", &certificates.authority.display().to_string());
        }
        // Later ones win.
        environment.extend(at_door(tuning, &format!("http://127.0.0.1:{first}")));
        let url = if service == "user" { user_url.clone() } else { format!("http://127.0.0.1:{port}") };
        parts.push(Part { name: name.to_owned(), arguments, environment, url });
    }
    let doors = [first, second].map(|port| format!("http://127.0.0.1:{port}")).to_vec();
    Ok(Plan { parts, doors, agent_doors: agents.to_vec() })
}

/// `roadstead up`; its addresses come in the ready file.
pub(crate) fn one_process(folder: &Path, tuning: &Tuning, ports: [u16; 2]) -> Plan {
    let listen = format!("127.0.0.1:{}", ports[0]);
    let agents = format!("127.0.0.1:{}", ports[1]);
    let data = folder.join("data").display().to_string();
    let ready = folder.join("ready.json").display().to_string();
    let any = "127.0.0.1:0";
    let arguments = [
        "up",
        "--listen",
        &listen,
        "--agent-listen",
        &agents,
        "--kubernetes-listen",
        any,
        "--data",
        &data,
        "--ready-file",
        &ready,
    ];
    let url = format!("http://{listen}");
    Plan {
        parts: vec![Part {
            name: "up".into(),
            arguments: arguments.map(str::to_owned).to_vec(),
            environment: at_door(tuning, &url),
            url: url.clone(),
        }],
        doors: vec![url],
        agent_doors: vec![ports[1]],
    }
}
