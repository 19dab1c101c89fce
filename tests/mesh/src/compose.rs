//! The environment of each service as `docker-compose.yml` gives it, with the hosts of this machine: what is tested is
//! what is deployed.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use roadstead_testkit::servers::State;
use serde::Deserialize;

use crate::layout::BOOTSTRAP;

/// Where compose mounts secrets.
const SECRETS: &str = "/run/secrets/";

#[derive(Deserialize)]
struct File {
    services: BTreeMap<String, Service>,
}

#[derive(Debug, Deserialize)]
struct Service {
    #[serde(default)]
    command: Vec<String>,
    #[serde(default)]
    environment: BTreeMap<String, String>,
}

/// The compose file, and where its secrets lie here.
#[derive(Debug)]
pub(crate) struct Compose {
    services: BTreeMap<String, Service>,
    secrets: PathBuf,
}

/// What a service is started with.
#[derive(Debug)]
pub(crate) struct Given {
    pub(crate) arguments: Vec<String>,
    pub(crate) environment: Vec<(String, String)>,
}

impl Compose {
    /// Reads the repository's compose file and makes its secrets in a folder.
    pub(crate) fn open(folder: &Path, servers: &State) -> Result<Self> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docker-compose.yml");
        let text = fs::read_to_string(&path).context("failed to read docker-compose.yml")?;
        let file: File = serde_saphyr::from_str(&text).context("failed to understand docker-compose.yml")?;
        let secrets = folder.join("secrets");
        fs::create_dir_all(&secrets)?;
        for (name, value) in known_secrets(servers) {
            let mut options = fs::OpenOptions::new();
            let file = options.write(true).create(true).truncate(true).mode(0o600).open(secrets.join(name));
            std::io::Write::write_all(&mut file?, value.as_bytes())?;
        }
        Ok(Self { services: file.services, secrets })
    }

    /// Arguments and variables of a service.
    pub(crate) fn service(&self, name: &str, servers: &State) -> Result<Given> {
        let service = self.services.get(name).with_context(|| format!("compose has no {name}"))?;
        let mut variables = Vec::new();
        for (name, value) in &service.environment {
            let port = match value.as_str() {
                "postgres" if name.ends_with("_HOST") => Some(servers.ports.postgres),
                "rabbitmq" if name.ends_with("_HOST") => Some(servers.ports.amqp),
                "redis" if name.ends_with("_HOST") => Some(servers.ports.redis),
                _ => None,
            };
            if let Some(port) = port {
                variables.push((name.clone(), "127.0.0.1".to_owned()));
                variables.push((name.replace("_HOST", "_PORT"), port.to_string()));
            } else if let Some(secret) = value.strip_prefix(SECRETS) {
                let file = self.secrets.join(secret);
                if !file.exists() {
                    bail!("{name} reads the secret {secret}, which is unknown here");
                }
                variables.push((name.clone(), file.display().to_string()));
            } else {
                variables.push((name.clone(), filled(value)));
            }
        }
        Ok(Given { arguments: service.command.clone(), environment: variables })
    }
}

fn known_secrets(servers: &State) -> Vec<(String, String)> {
    let mut secrets = vec![
        ("redis".to_owned(), servers.secrets.redis.clone()),
        ("mesh".to_owned(), servers.secrets.mesh.clone()),
        ("bootstrap_token".to_owned(), BOOTSTRAP.to_owned()),
        ("seal".to_owned(), roadstead_testkit::servers::MASTER_KEY.to_owned()),
    ];
    for (service, password) in &servers.secrets.services {
        secrets.push((format!("postgres_{service}"), password.clone()));
        secrets.push((format!("rabbitmq_{service}"), password.clone()));
    }
    secrets
}

/// `${NAME:-default}` as compose fills it in where the caller sets nothing.
fn filled(value: &str) -> String {
    match value.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')) {
        Some(inside) => inside.split_once(":-").map_or(String::new(), |(_, default)| default.to_owned()),
        None => value.to_owned(),
    }
}
