//! What is known about one set of servers between two calls: `state.json` in its folder, readable by us only.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::{Process, Server};
use crate::ports;

/// Master key of the databases of tests: base64 of 32 bytes that are no secret.
pub const MASTER_KEY: &str = "dGVzdHMtb25seS1tYXN0ZXIta2V5LTAxMjM0NTY3ODk=";
/// The services of the product: each has a login of its own at the broker and the database.
pub const SERVICES: [&str; 4] = ["user", "cluster", "onboarding", "operations"];

/// One set of servers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct State {
    /// Where `state.json`, `env` and the logs are.
    pub home: PathBuf,
    /// Where the servers keep their data: `home`, or a folder in the system's temporary one where the database's
    /// account cannot reach `home`.
    pub folder: PathBuf,
    /// The broker's node name, unique per run.
    pub node: String,
    /// Where the servers listen, all on 127.0.0.1.
    pub ports: Ports,
    /// Made at random for this set.
    pub secrets: Secrets,
    /// Whether the services' logins and databases are there.
    pub databases_made: bool,
    /// What runs.
    pub processes: BTreeMap<String, Process>,
    /// Where the servers take TLS, besides.
    #[serde(default)]
    pub tls: Option<Tls>,
}

/// TLS of one set: the servers want a certificate of their clients, of the same authority. PostgreSQL takes it on its port.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Tls {
    /// RabbitMQ's AMQP over TLS.
    pub amqp: u16,
    /// Redis over TLS.
    pub redis: u16,
    /// Certificate of the authority.
    pub ca: PathBuf,
    /// Certificate of the servers.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// Ports of one set.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Ports {
    /// RabbitMQ's AMQP.
    pub amqp: u16,
    /// Erlang's distribution.
    pub distribution: u16,
    /// Erlang's port mapper.
    pub epmd: u16,
    /// PostgreSQL.
    pub postgres: u16,
    /// Redis.
    pub redis: u16,
}

/// Passwords of one set.
#[derive(Clone, Serialize, Deserialize)]
pub struct Secrets {
    /// RabbitMQ's administrator `roadstead`.
    pub rabbitmq: String,
    /// PostgreSQL's superuser `postgres`.
    pub postgres: String,
    /// Redis.
    pub redis: String,
    /// The broker user `peer`, for clients of the seeds.
    pub peer: String,
    /// What the services sign their messages with.
    pub mesh: String,
    /// `roadstead_<service>` at the broker and the database.
    pub services: BTreeMap<String, String>,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl Secrets {
    pub(super) fn service(&self, service: &str) -> &str {
        self.services.get(service).map_or("", String::as_str)
    }
}

impl State {
    /// A new set: ports and passwords, nothing started.
    pub(super) fn new(home: PathBuf, folder: PathBuf) -> Result<Self> {
        let [amqp, distribution, epmd, postgres, redis] = ports::free()?;
        let mut services = BTreeMap::new();
        for service in SERVICES {
            services.insert(service.to_owned(), random()?);
        }
        Ok(Self {
            home,
            folder,
            node: format!("roadstead-{}@localhost", &random()?[..8]),
            ports: Ports { amqp, distribution, epmd, postgres, redis },
            secrets: Secrets {
                rabbitmq: random()?,
                postgres: random()?,
                redis: random()?,
                peer: random()?,
                mesh: random()?,
                services,
            },
            databases_made: false,
            processes: BTreeMap::new(),
            tls: None,
        })
    }

    pub(super) fn load(home: &Path) -> Result<Option<Self>> {
        match fs::read(home.join("state.json")) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes).context("failed to read state.json")?)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).context("failed to read state.json"),
        }
    }

    pub(super) fn save(&self) -> Result<()> {
        super::private_file(&self.home.join("state.json"), &serde_json::to_string_pretty(self)?)
    }

    /// A server's log file.
    pub fn log(&self, name: &str) -> PathBuf {
        self.home.join(format!("{name}.log"))
    }

    /// Whether a server runs.
    pub fn is_alive(&self, server: Server) -> bool {
        self.processes.get(server.name()).is_some_and(|process| process.is_alive())
    }

    /// RabbitMQ for one of its users.
    pub fn amqp_url(&self, user: &str, password: &str) -> String {
        format!("amqp://{user}:{password}@127.0.0.1:{}/%2f", self.ports.amqp)
    }

    /// What tests read, and what a service needs beside its own logins.
    pub fn environment(&self) -> Vec<(String, String)> {
        let redis = format!("redis://:{}@127.0.0.1:{}/0", self.secrets.redis, self.ports.redis);
        let logins = SERVICES.map(|service| {
            let name = format!("ROADSTEAD_TEST_RABBITMQ_{}_URL", service.to_ascii_uppercase());
            (name, self.amqp_url(&format!("roadstead_{service}"), self.secrets.service(service)))
        });
        let shared = [
            (
                "ROADSTEAD_TEST_POSTGRES_URL",
                format!("postgres://postgres:{}@127.0.0.1:{}/postgres", self.secrets.postgres, self.ports.postgres),
            ),
            ("ROADSTEAD_TEST_RABBITMQ_URL", self.amqp_url("roadstead", &self.secrets.rabbitmq)),
            ("ROADSTEAD_TEST_RABBITMQ_PEER_URL", self.amqp_url("peer", &self.secrets.peer)),
            ("ROADSTEAD_TEST_REDIS_URL", redis.clone()),
            ("ROADSTEAD_REDIS_URL", redis),
            ("ROADSTEAD_MESH_SECRET", self.secrets.mesh.clone()),
            ("ROADSTEAD_SEAL_MASTER_KEY", MASTER_KEY.to_owned()),
        ];
        shared.map(|(name, value)| (name.to_owned(), value)).into_iter().chain(logins).collect()
    }

    /// What one service needs: [`Self::environment`] with its own logins.
    pub fn service_environment(&self, service: &str) -> Vec<(String, String)> {
        let (name, password) = (format!("roadstead_{service}"), self.secrets.service(service));
        let mut variables = self.environment();
        variables.push((
            "ROADSTEAD_DATABASE_URL".into(),
            format!("postgres://{name}:{password}@127.0.0.1:{}/{name}", self.ports.postgres),
        ));
        variables.push(("ROADSTEAD_RABBITMQ_URL".into(), self.amqp_url(&name, password)));
        variables
    }

    /// `env` for everybody, `<service>.env` for each service, to be sourced by a shell.
    pub(super) fn write_environment(&self) -> Result<()> {
        super::private_file(&self.home.join("env"), &shell(&self.environment())?)?;
        for service in SERVICES {
            let text = shell(&self.service_environment(service))?;
            super::private_file(&self.home.join(format!("{service}.env")), &text)?;
        }
        Ok(())
    }
}

fn shell(variables: &[(String, String)]) -> Result<String> {
    let mut text = String::new();
    for (name, value) in variables {
        writeln!(text, "export {name}='{value}'")?;
    }
    Ok(text)
}

/// 32 random hexadecimal digits, from the kernel: good for a password, a node name and a URL alike.
fn random() -> Result<String> {
    let mut bytes = [0; 16];
    fs::File::open("/dev/urandom")?.read_exact(&mut bytes).context("failed to read randomness")?;
    let mut text = String::new();
    for byte in bytes {
        write!(text, "{byte:02x}")?;
    }
    Ok(text)
}
