//! What the service takes from the settings.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use roadstead_contracts::names::ClusterName;
use roadstead_contracts::operation::BODY_MAX;
use roadstead_http_kit::tls::Files;
use roadstead_http_kit::{Limits, LongBodies, RateSettings};
use roadstead_relay::{AgentStreams, BodyStage, Handovers};
use roadstead_runtime::Secret;
use roadstead_runtime::config::{JwtAlgorithm, Settings};

/// Ends of the paths that take manifests.
const MANIFEST_ROUTES: [&str; 4] = ["/manifests", "/charts", "/operations", "/rollouts"];
/// What a form or JSON adds to manifests: escapes of a text of ordinary lines, boundaries, names of files.
const FORM_MAX: usize = 1024 * 1024;

/// Addresses that are known only once the other services of the process are bound.
#[derive(Clone, Default)]
pub struct Links {
    /// Where the user service's HTTP is; left out, where the settings say.
    pub user_url: Option<String>,
    /// Where agents dial, when the settings say nothing.
    pub agent_url: Option<String>,
    /// The Kubernetes door of a hub in one process. A mesh has none of these: it takes the settings' certificate, and
    /// streams over the mesh.
    pub kubernetes: Option<KubernetesLink>,
    /// Keeps the manifests of operations, in one process. A mesh has none: they go over the mesh.
    pub bodies: Option<Arc<dyn BodyStage>>,
    /// Takes what must not ride a queue to onboarding, in one process. A mesh has none: it goes over the mesh.
    pub handovers: Option<Arc<dyn Handovers>>,
}

/// What the Kubernetes door of a hub in one process is made with.
#[derive(Clone)]
pub struct KubernetesLink {
    /// Opens streams to the agents.
    pub streams: Arc<dyn AgentStreams>,
    /// Certificate of the door.
    pub files: Files,
    /// Whoever issued it, PEM, for kubeconfigs.
    pub authority: String,
}

impl fmt::Debug for Links {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Links")
            .field("user_url", &self.user_url)
            .field("agent_url", &self.agent_url)
            .finish_non_exhaustive()
    }
}

/// Folder of the audit trail's records in the data folder, when the settings name none.
const AUDIT_SPOOL: &str = "audit-spool";

/// The service's options.
#[derive(Debug, Clone)]
pub struct Options {
    /// Address of the front door.
    pub host: IpAddr,
    /// Its port.
    pub port: u16,
    /// More ports with the same routes.
    pub compat_ports: Vec<u16>,
    /// Port of a listener that serves only metrics and probes.
    pub metrics_port: Option<u16>,
    /// Whether metrics are shown.
    pub metrics: bool,
    /// Whether the doors show them to whoever asks; else a listener with a certificate of its own does.
    pub metrics_at_doors: bool,
    /// Certificate of the doors.
    pub tls: Option<Files>,
    /// Where clients reach the hub, when settings say so.
    pub public_url: Option<String>,
    /// Where agents reach the hub, when settings say so.
    pub agent_url: Option<String>,
    /// Port of the agents' door, for a link when nothing else is known.
    pub agent_port: u16,
    /// Image in import manifests.
    pub agent_image: String,
    /// The user service's HTTP.
    pub user_url: String,
    /// Shared secret of HS256 tokens; EdDSA without one.
    pub hs256: Option<Secret>,
    /// Issuer of access tokens.
    pub issuer: String,
    /// Audience of access tokens.
    pub audience: String,
    /// Quotas.
    pub rates: RateSettings,
    /// Agent ids that a caller may make in a minute.
    pub generate_agent_id_per_minute: u32,
    /// Clusters that a caller may onboard in a minute.
    pub onboard_per_minute: u32,
    /// Whether peers of the seeds are told what is done to clusters: none is listed, none could read it.
    pub tell_peers: bool,
    /// Proxies whose forwarding headers are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Limits of a request.
    pub limits: Limits,
    /// Address of the Kubernetes door.
    pub kubernetes_host: IpAddr,
    /// Its port.
    pub kubernetes_port: u16,
    /// Where clients reach it, when settings say so.
    pub kubernetes_url: Option<String>,
    /// Its certificate.
    pub kubernetes_tls: Option<Files>,
    /// Whoever issued it, for kubeconfigs.
    pub kubernetes_authority: Option<PathBuf>,
    /// How long a question to an agent may take.
    pub agent_deadline: Duration,
    /// Where records of the audit trail wait for the user service.
    pub audit_spool: PathBuf,
    /// Most bytes there.
    pub audit_spool_limit: usize,
    /// How long running requests may take after a stop signal.
    pub grace: Duration,
}

impl Options {
    /// Reads the settings.
    pub fn of(settings: &Settings, links: Links) -> Self {
        let (server, jwt, rates) = (&settings.server, &settings.auth.jwt, &settings.rate_limit);
        Self {
            host: server.host,
            port: server.port,
            compat_ports: server.compat_ports.clone(),
            metrics_port: (settings.metrics.enabled && settings.metrics.port != 0).then_some(settings.metrics.port),
            metrics: settings.metrics.enabled,
            metrics_at_doors: settings.metrics.at_doors(),
            tls: settings.tls.enabled.then(|| Files {
                key: PathBuf::from(&settings.tls.key_file),
                certificate: PathBuf::from(&settings.tls.cert_file),
            }),
            public_url: server.public_url.clone(),
            // Behind one address an ingress routes `/agent/` by itself.
            agent_url: server.agent_public_url.clone().or_else(|| server.public_url.clone()).or(links.agent_url),
            agent_port: server.agent_port,
            agent_image: settings.agents.image.clone(),
            user_url: links.user_url.unwrap_or_else(|| settings.user.url.clone()),
            hs256: jwt.secret.clone().filter(|_| jwt.algorithm == JwtAlgorithm::Hs256),
            issuer: jwt.issuer.clone(),
            audience: jwt.audience.clone(),
            rates: RateSettings {
                enabled: rates.enabled,
                seed: rates.requests_per_minute,
                api: rates.api_per_minute,
                login: rates.login_per_minute,
            },
            generate_agent_id_per_minute: rates.generate_agent_id_per_minute,
            onboard_per_minute: rates.onboard_per_minute,
            tell_peers: !settings.compat.queue_peers.is_empty(),
            trusted_proxies: server.trusted_proxies.clone(),
            limits: Limits {
                body: server.body_limit.0,
                body_time: server.read_timeout,
                together: server.bodies_limit.0,
                long: LongBodies { ends: &MANIFEST_ROUTES, body: BODY_MAX + FORM_MAX },
                ..Limits::default()
            },
            kubernetes_host: server.kubernetes_host.unwrap_or(server.host),
            kubernetes_port: server.kubernetes_port,
            kubernetes_url: server.kubernetes_public_url.clone(),
            kubernetes_tls: match (&settings.tls.kubernetes_key_file, &settings.tls.kubernetes_cert_file) {
                (Some(key), Some(certificate)) => Some(Files { key: key.clone(), certificate: certificate.clone() }),
                _ => settings
                    .tls
                    .enabled
                    .then(|| Files { key: settings.tls.key_file.clone(), certificate: settings.tls.cert_file.clone() }),
            },
            kubernetes_authority: settings.tls.kubernetes_ca_file.clone(),
            agent_deadline: settings.agents.request_timeout,
            audit_spool: settings.audit.spool_dir.clone().unwrap_or_else(|| settings.data_dir.join(AUDIT_SPOOL)),
            audit_spool_limit: settings.audit.spool_limit.0,
            grace: server.shutdown_grace,
        }
    }
}

/// Where clients and agents reach the hub: what join lines and links carry. Never taken from a request (row R23).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicUrls {
    /// The front door, without a slash at the end.
    pub hub: String,
    /// The agents' door, without a slash at the end.
    pub agents: String,
    /// The Kubernetes door, without `/k/`; nothing when there is none.
    pub kubernetes: Option<String>,
}

impl PublicUrls {
    pub(crate) fn of(options: &Options, bound: std::net::SocketAddr, kubernetes: Option<std::net::SocketAddr>) -> Self {
        let scheme = if options.tls.is_some() { "https" } else { "http" };
        // Bound to every address, none is the right one; what works on the machine itself is the honest guess.
        let host = match bound.ip() {
            ip if ip.is_unspecified() => "localhost".to_owned(),
            IpAddr::V6(six) => format!("[{six}]"),
            IpAddr::V4(four) => four.to_string(),
        };
        let trim = |url: &str| url.trim_end_matches('/').to_owned();
        let hub = options.public_url.as_deref().map_or_else(|| format!("{scheme}://{host}:{}", bound.port()), trim);
        let agents =
            options.agent_url.as_deref().map_or_else(|| format!("{scheme}://{host}:{}", options.agent_port), trim);
        let kubernetes = kubernetes.map(|bound| {
            let host = match bound.ip() {
                ip if ip.is_unspecified() => "localhost".to_owned(),
                IpAddr::V6(six) => format!("[{six}]"),
                IpAddr::V4(four) => four.to_string(),
            };
            // Behind one address an ingress routes `/k/` by itself.
            let public = options
                .kubernetes_url
                .as_deref()
                .or_else(|| options.public_url.as_deref().filter(|url| url.starts_with("https://")));
            public.map_or_else(|| format!("https://{host}:{}", bound.port()), trim)
        });
        Self { hub, agents, kubernetes }
    }

    /// The line that joins a cluster from a machine with a kubeconfig.
    pub(crate) fn join_command(&self, token: &Secret, name: Option<&ClusterName>) -> String {
        let mut line = format!("roadstead-agent run --hub {} --join {}", self.agents, token.expose());
        if let Some(name) = name {
            line.push_str(" --name ");
            line.push_str(name.as_str());
        }
        line
    }

    /// The manifest that joins a cluster.
    pub(crate) fn import_url(&self, token: &Secret) -> String {
        format!("{}/import/{}.yaml", self.hub, token.expose())
    }
}
