//! Settings of the agent. The file of seed 000's systemd unit is our own shape; its flat file and its demo's file are
//! understood too.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use super::address::check_web;
use super::layers::{Catalogue, Values};
use super::table::{Row, hub, mckmt, section, short};
use super::value::{LogFormat, LogLevel};
use super::{CATALOGUE, ConfigErrors, Env, ServiceRole, file_from};
use crate::Secret;

section! {
    /// Where the hub is, and how to join it.
    Hub "hub." as "AGENT_" {
        /// Address of the hub: of the agents' door, or of the front door, which names the other.
        url: String = "" [hub("hub.endpoint"), hub("hub.url"), hub("hub_url")];
        /// Join token; needed until the agent has enrolled.
        token: Option<Secret> = "" [short("ROADSTEAD_JOIN_TOKEN"), hub("hub.token"), hub("token")];
        /// PEM file of the authority that signed the hub's certificate, when it is a private one.
        ca_file: Option<PathBuf> = "";
    }

    /// The cluster.
    Cluster "cluster." as "AGENT_" {
        /// Name for the cluster; ignored when the join token is bound to one.
        name: Option<String> = "" [hub("cluster.name"), mckmt("MCKMA_CLUSTER_NAME")];
        /// Labels for the cluster.
        labels: BTreeMap<String, String> = "" [hub("cluster.labels")];
    }

    /// How the agent reaches the cluster's API.
    Kubeconfig "kubeconfig." as "AGENT_" {
        /// kubeconfig file; left out, the pod's own account is used, then `KUBECONFIG` and `~/.kube/config`.
        path: Option<PathBuf> = "" [hub("kubeconfig.path"), mckmt("MCKMA_KUBECONFIG_PATH")];
        /// Context in that file; left out, the current one.
        context: Option<String> = "";
    }

    /// The agent's own door: `/metrics` and `/healthz`.
    Server "server." as "AGENT_" {
        /// Address it listens on; left out, every address in a cluster and loopback elsewhere.
        host: Option<IpAddr> = "" [hub("server.host")];
        /// Port.
        port: u16 = "8081" [hub("server.port")];
    }

    /// Charts.
    Helm "helm." as "AGENT_" {
        /// The `helm` that installs charts; left out, the first on `PATH`.
        program: Option<PathBuf> = "";
    }

    /// Log lines.
    Logging "logging." as "AGENT_" {
        /// Least level.
        level: LogLevel = "info" [hub("logging.level")];
        /// How lines look.
        format: LogFormat = "auto" [hub("logging.format")];
    }

    /// What the agent keeps.
    State "state." as "AGENT_" {
        /// Folder for the agent's key; left out, a Secret in a cluster and the user's state folder elsewhere.
        dir: Option<PathBuf> = "";
        /// Folder in which the agent remembers operations, so that none is done twice; it must outlive the process. Left out:
        /// `operations` in the folder above, and `/var/lib/roadstead-agent/operations` in a cluster.
        ledger_dir: Option<PathBuf> = "";
        /// Secret that holds the agent's key in a cluster.
        secret_name: String = "roadstead-agent-key";
    }
}

pub(super) const ROWS: [&[Row]; 7] =
    [Hub::ROWS, Cluster::ROWS, Kubeconfig::ROWS, Server::ROWS, Helm::ROWS, Logging::ROWS, State::ROWS];

/// The agent's sections, in the order of the documentation.
pub const SECTIONS: [super::Section; 7] = [
    ("Hub", Hub::ROWS),
    ("Cluster", Cluster::ROWS),
    ("Kubernetes", Kubeconfig::ROWS),
    ("The agent's own door", Server::ROWS),
    ("Charts", Helm::ROWS),
    ("Log", Logging::ROWS),
    ("State", State::ROWS),
];

const AGENT_CATALOGUE: Catalogue = Catalogue {
    rows: &ROWS,
    paths_without_effect: WITHOUT_EFFECT,
    variables_without_effect: &[
        ("MCKMT_HUB_HOST", "set the hub's URL"),
        ("MCKMT_GRPC_PORT", "the agent dials the WebSocket door"),
    ],
    others: CATALOGUE.rows,
};

pub(super) const WITHOUT_EFFECT: &[(&str, &str)] = &[
    ("hub.grpc_port", "the agent dials the WebSocket door"),
    ("hub.timeout", "the agent bounds each step itself"),
    ("hub.retry_attempts", "the agent never gives up"),
    ("hub.retry_delay", "the agent waits with full jitter"),
    ("heartbeat_interval", "the hub tells its agents"),
    ("reconnect_wait", "the agent waits with full jitter"),
    ("operation_timeout", "each request carries its deadline"),
    ("max_retries", "the agent never gives up"),
    ("retry_backoff", "the agent waits with full jitter"),
    ("logging.caller", "log lines carry their target"),
    ("logging.stacktrace", "log lines carry the chain of causes"),
    ("logging.output_paths", "logs go to standard error"),
    ("logging.error_output_paths", "logs go to standard error"),
];

/// Every setting of the agent.
#[derive(Debug, Clone)]
pub struct AgentSettings {
    /// Where the hub is. Its URL has a scheme after loading.
    pub hub: Hub,
    /// The cluster.
    pub cluster: Cluster,
    /// How the agent reaches the cluster's API.
    pub kubeconfig: Kubeconfig,
    /// The agent's own door.
    pub server: Server,
    /// Charts.
    pub helm: Helm,
    /// Log lines.
    pub logging: Logging,
    /// What the agent keeps.
    pub state: State,
    /// What is worth a warning once logging works.
    pub notes: Vec<String>,
}

impl AgentSettings {
    /// Loads the agent's settings; `command_line` holds `(key, text, option's name)`.
    pub fn load(
        file: Option<PathBuf>,
        env: &dyn Env,
        command_line: &[(&str, String, &str)],
    ) -> Result<Self, ConfigErrors> {
        let mut values = Values::new(ServiceRole::Tool, AGENT_CATALOGUE);
        if let Some(path) = file.or_else(|| file_from(env, &mut values.problems)) {
            values.file(&path);
        }
        values.environment(env);
        for (key, text, option) in command_line {
            values.set(key, text.clone(), option);
        }
        let mut settings = Self {
            hub: Hub::read(&mut values),
            cluster: Cluster::read(&mut values),
            kubeconfig: Kubeconfig::read(&mut values),
            server: Server::read(&mut values),
            helm: Helm::read(&mut values),
            logging: Logging::read(&mut values),
            state: State::read(&mut values),
            notes: Vec::new(),
        };
        if settings.hub.url.is_empty() {
            values.problem("hub.url", "must be set (or give --hub)");
        } else {
            settings.hub.url = with_scheme(&settings.hub.url);
            if let Err(message) = check_web(&settings.hub.url) {
                values.problem("hub.url", message);
            }
        }
        settings.notes = std::mem::take(&mut values.notes);
        values.done(settings)
    }
}

/// Seed 000's flat file writes `localhost:8081`. On loopback that is plain HTTP, elsewhere TLS.
fn with_scheme(url: &str) -> String {
    if url.contains("://") {
        return url.to_owned();
    }
    let host = url.rsplit_once(':').map_or(url, |(host, _)| host);
    let loopback = host == "localhost"
        || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    format!("{}://{url}", if loopback { "http" } else { "https" })
}
