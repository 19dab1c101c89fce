//! The cluster service: the front door. Authenticates callers, holds them to their quotas, asks the owners over the bus
//! and answers in the words of whichever seed's route was called. It keeps nothing.
//!
//! Read [`build`] for the wiring, `http` for the table of routes, `app` for what it does.

mod app;
mod audit;
mod domain;
mod http;
mod kubectl;
mod kubernetes;
mod options;
mod quotas;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use roadstead_auth::mesh::MeshKey;
use roadstead_auth::mesh_tls::MeshTls;
use roadstead_bus::Bus;
use roadstead_http_kit::figures::Figures;
use roadstead_http_kit::forward::Forward;
use roadstead_http_kit::mutual::Member;
use roadstead_http_kit::outgoing::Outgoing;
use roadstead_http_kit::probes::{Probes, RenderMetrics, Version};
use roadstead_http_kit::tls::Certificate;
use roadstead_http_kit::{Front, Limiter, Listener, RouteRow, ServeOptions, bind, serve};
use roadstead_kv::Kv;
use roadstead_relay::{BodyStage, Cache, MeshHandovers, MeshStage};
use roadstead_runtime::config::Settings;
use roadstead_runtime::outgoing::Policy;
use roadstead_runtime::{Ids, Readiness, SharedClock, Tasks};
use roadstead_telemetry::Metrics;
use rustls::ServerConfig;

use crate::app::{App, Authentication, Live, Refreshed, TokenKeys};
use crate::audit::Audit;
use crate::quotas::KvQuotas;

pub use options::{KubernetesLink, Links, Options, PublicUrls};
pub use roadstead_relay::{AgentStreams, Handovers};

/// The name of the service: of its lines in the log.
pub const NAME: &str = "cluster";

/// What the process hands in.
#[derive(Clone)]
pub struct Deps {
    /// The bus.
    pub bus: Bus,
    /// Quotas that replicas share.
    pub kv: Arc<dyn Kv>,
    /// Time.
    pub clock: SharedClock,
    /// Ids and randomness.
    pub ids: Ids,
    /// Where its tasks run.
    pub tasks: Tasks,
    /// What it counts.
    pub metrics: Metrics,
    /// Where its parts say how they are.
    pub readiness: Readiness,
    /// Signs forwarded requests.
    pub mesh_key: MeshKey,
    /// The settings of the process.
    pub settings: Arc<Settings>,
}

impl std::fmt::Debug for Deps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Deps").field("bus", &self.bus).finish_non_exhaustive()
    }
}

/// The service, built and not yet served.
pub struct Service {
    deps: Deps,
    app: Arc<App>,
    keys: Arc<TokenKeys>,
    front: Arc<Front>,
    addresses: Vec<SocketAddr>,
    metrics_address: Option<SocketAddr>,
    kubernetes: Option<kubernetes::Built>,
    listeners: Mutex<Option<Listeners>>,
}

struct Listeners {
    doors: Vec<Listener>,
    metrics: Option<Listener>,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

/// Binds the doors. Nothing is served before [`Service::start`]. Needs a tokio runtime: the certificate is watched.
pub fn build(deps: Deps, links: Links) -> anyhow::Result<Service> {
    let link = links.kubernetes.clone();
    let bodies = bodies(&deps, links.bodies.clone())?;
    let handovers = handovers(&deps, links.handovers.clone())?;
    let policy = Policy::of(links.bodies.is_some(), &deps.settings.outgoing.allow);
    let outgoing = Outgoing::new(policy, []).context("failed to make the client that fetches charts")?;
    let options = Options::of(&deps.settings, links);
    let tls = certificate(&options, &deps)?;
    let doors = bind_doors(&options, tls.as_ref())?;
    let metrics = figures(&options, &deps)?;
    let addresses = doors.iter().map(Listener::address).collect::<std::io::Result<Vec<_>>>()?;
    let metrics_address = metrics.as_ref().map(Listener::address).transpose()?;
    let kubernetes = kubernetes::bind(&options, link, &deps)?;
    let first = *addresses.first().context("the front door has no address")?;

    let member = Member::of_mesh(&deps.settings.mesh, &deps.clock, &deps.tasks)?;
    let member = member.map(|member| member.client_config()).transpose().context("failed to set up TLS of the mesh")?;
    let client =
        Forward::client(options.agent_deadline, member).context("failed to set up HTTP to the user service")?;
    let keys = Arc::new(TokenKeys::new(&options, client.clone(), Arc::clone(&deps.clock))?);
    let authentication = Arc::new(Authentication::new(
        deps.bus.clone(),
        Arc::clone(&deps.clock),
        Arc::clone(&keys),
        deps.metrics.clone(),
        &deps.tasks,
    ));
    let front = Arc::new(Front {
        ids: deps.ids.clone(),
        clock: Arc::clone(&deps.clock),
        trusted_proxies: options.trusted_proxies.clone(),
        forwarded_by: None,
        limits: options.limits,
        metrics: Arc::new(deps.metrics.clone()),
        authenticator: Arc::clone(&authentication) as Arc<dyn roadstead_http_kit::Authenticator>,
        limiter: Limiter::new(options.rates, Some(Arc::new(KvQuotas(Arc::clone(&deps.kv))))),
    });
    let app = Arc::new(App {
        urls: PublicUrls::of(&options, first, kubernetes.as_ref().map(|bound| bound.address)),
        kubernetes: std::sync::OnceLock::new(),
        kubernetes_authority: kubernetes.as_ref().and_then(|bound| bound.authority.clone()),
        bus: deps.bus.clone(),
        clock: Arc::clone(&deps.clock),
        ids: deps.ids.clone(),
        metrics: deps.metrics.clone(),
        readiness: deps.readiness.clone(),
        authentication,
        agents: Cache::new(Arc::clone(&deps.clock), deps.tasks.clone()),
        figures: tokio::sync::Mutex::new(Refreshed::default()),
        bodies,
        handovers,
        outgoing,
        live: Live::new(&deps.tasks),
        forward: Forward::new(&options.user_url, client, deps.mesh_key.clone(), Arc::clone(&deps.clock)),
        audit: Arc::new(Audit::open(
            options.audit_spool.clone(),
            options.audit_spool_limit,
            deps.ids.clone(),
            Arc::clone(&deps.clock),
            &deps.tasks,
        )),
        options,
    });
    let listeners = Mutex::new(Some(Listeners { doors, metrics }));
    let kubernetes = kubernetes.map(|bound| bound.build(&app, &deps));
    if let Some(built) = &kubernetes {
        let _ = app.kubernetes.set(Arc::clone(&built.door));
    }
    Ok(Service { deps, app, keys, front, addresses, metrics_address, kubernetes, listeners })
}

/// Where manifests go: a call in one process, else over the mesh.
fn bodies(deps: &Deps, link: Option<Arc<dyn BodyStage>>) -> anyhow::Result<Arc<dyn BodyStage>> {
    if let Some(link) = link {
        return Ok(link);
    }
    let Some(secret) = &deps.settings.mesh.secret else { return Ok(Arc::new(NoStage)) };
    let tls = MeshTls::derive(secret).context("the mesh secret gives no certificates")?;
    let (bus, clock, ids, tasks) = (deps.bus.clone(), Arc::clone(&deps.clock), deps.ids.clone(), deps.tasks.clone());
    Ok(Arc::new(MeshStage::new(bus, clock, ids, tasks, &tls)))
}

/// Where requests go that must not ride a queue: a call in one process, else over the mesh.
fn handovers(deps: &Deps, link: Option<Arc<dyn Handovers>>) -> anyhow::Result<Arc<dyn Handovers>> {
    if let Some(link) = link {
        return Ok(link);
    }
    let Some(secret) = &deps.settings.mesh.secret else { return Ok(Arc::new(NoStage)) };
    let tls = MeshTls::derive(secret).context("the mesh secret gives no certificates")?;
    let (bus, clock, ids, tasks) = (deps.bus.clone(), Arc::clone(&deps.clock), deps.ids.clone(), deps.tasks.clone());
    Ok(Arc::new(MeshHandovers::new(bus, clock, ids, tasks, &tls)))
}

#[async_trait::async_trait]
impl Handovers for NoStage {
    async fn hand_over(&self, _: &'static str, _: bytes::Bytes, _: &str) -> roadstead_contracts::Result<Vec<u8>> {
        Err(roadstead_contracts::Code::Unavailable.into())
    }
}

/// A front door by itself has nobody who keeps manifests.
struct NoStage;

#[async_trait::async_trait]
impl BodyStage for NoStage {
    async fn stage(&self, _: bytes::Bytes) -> roadstead_contracts::Result<String> {
        Err(roadstead_contracts::Code::Unavailable.into())
    }
}

fn certificate(options: &Options, deps: &Deps) -> anyhow::Result<Option<ServerConfig>> {
    let Some(files) = options.tls.clone() else { return Ok(None) };
    let certificate = Certificate::watch(files, Arc::clone(&deps.clock), &deps.tasks)?;
    Ok(Some(certificate.server_config().context("failed to set up TLS")?))
}

/// The listener for figures: by TLS where the settings give it a certificate.
fn figures(options: &Options, deps: &Deps) -> anyhow::Result<Option<Listener>> {
    let Some(port) = options.metrics_port else { return Ok(None) };
    let (host, metrics) = (options.host.to_string(), &deps.settings.metrics);
    let by_tls = Figures::bind(&host, metrics, &deps.clock, &deps.tasks).context("figures cannot be shown by TLS")?;
    match by_tls {
        Some(figures) => Ok(Some(figures.into_listener())),
        None => Ok(Some(Listener { socket: bind(&host, port)?, tls: None })),
    }
}

fn bind_doors(options: &Options, tls: Option<&ServerConfig>) -> std::io::Result<Vec<Listener>> {
    let host = options.host.to_string();
    let mut doors = vec![Listener { socket: bind(&host, options.port)?, tls: tls.cloned() }];
    for port in options.compat_ports.iter().filter(|port| **port != options.port) {
        doors.push(Listener { socket: bind(&host, *port)?, tls: tls.cloned() });
    }
    Ok(doors)
}

impl Service {
    /// Address of the front door.
    pub fn address(&self) -> SocketAddr {
        // `build` refuses to be without one.
        self.addresses.first().copied().unwrap_or(SocketAddr::from(([0, 0, 0, 0], 0)))
    }

    /// Every address with the front door's routes: its own, then `COMPAT_PORTS`.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Address of the metrics listener.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics_address
    }

    /// Address of the Kubernetes door, when there is one.
    pub fn kubernetes_address(&self) -> Option<SocketAddr> {
        self.kubernetes.as_ref().map(|door| door.address)
    }

    /// What links and join lines carry.
    pub fn urls(&self) -> &PublicUrls {
        &self.app.urls
    }

    /// Opens the doors. A second call does nothing.
    pub async fn start(&self) -> anyhow::Result<()> {
        let listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(listeners) = listeners else { return Ok(()) };
        self.app.authentication.follow_events().await.context("failed to follow events about accounts")?;
        self.app.live.follow_events(&self.deps.bus).await.context("failed to follow events about operations")?;
        self.app.audit.relay(&self.deps.bus, self.deps.readiness.register("audit-spool"), &self.deps.tasks);
        Arc::clone(&self.keys).start(self.deps.readiness.register("token-keys"), &self.deps.tasks);
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        self.serve("cluster-http", listeners.doors, workers, false)?;
        if let Some(door) = &self.kubernetes {
            door.start(&self.app, &self.deps.tasks)?;
        }
        if let Some(listener) = listeners.metrics {
            self.serve("cluster-metrics", vec![listener], 1, true)?;
        }
        Ok(())
    }

    fn serve(
        &self,
        name: &'static str,
        listeners: Vec<Listener>,
        workers: usize,
        only_probes: bool,
    ) -> anyhow::Result<()> {
        let options = ServeOptions {
            name,
            listeners,
            workers,
            head_time: self.app.options.limits.body_time,
            grace: self.app.options.grace,
        };
        let (front, app) = (Arc::clone(&self.front), Arc::clone(&self.app));
        let ours = &self.app.options;
        let shown = if only_probes { ours.metrics } else { ours.metrics_at_doors };
        let probes = probes(shown, &self.deps.readiness, &self.deps.metrics);
        serve(&self.deps.tasks, options, Arc::clone(&self.front), move |config| {
            http::share(&app, config);
            let front = Arc::clone(&front);
            if only_probes {
                probes.add_to(roadstead_http_kit::Routes::new(front)).mount(config);
            } else {
                http::table(front, &app.options, &probes, Some(Arc::clone(&app.audit) as _)).mount(config);
            }
        })
        .with_context(|| format!("failed to serve {name}"))
    }
}

fn probes(shown: bool, readiness: &Readiness, metrics: &Metrics) -> Probes {
    // Nobody shows a credential here: no figure that names a cluster.
    let metrics = metrics.clone();
    let render: RenderMetrics = Arc::new(move || metrics.render_public());
    Probes { version: Version::of(NAME), readiness: readiness.clone(), metrics: shown.then_some(render) }
}

/// Every route of the front door, with these settings.
pub fn routes(settings: &Settings) -> Vec<RouteRow> {
    use roadstead_http_kit::{Authenticator, Caller, Credential, Limits, NoMetrics, RateSettings, RequestContext};

    struct Nobody;

    #[async_trait::async_trait]
    impl Authenticator for Nobody {
        async fn authenticate(&self, _: &Credential, _: &RequestContext) -> roadstead_contracts::Result<Caller> {
            Err(roadstead_contracts::Code::InvalidCredential.into())
        }
    }

    let clock = roadstead_runtime::SystemClock::shared();
    let front = Arc::new(Front {
        ids: Ids::system(Arc::clone(&clock)),
        clock,
        trusted_proxies: Vec::new(),
        forwarded_by: None,
        limits: Limits::default(),
        metrics: Arc::new(NoMetrics),
        authenticator: Arc::new(Nobody),
        limiter: Limiter::new(RateSettings::default(), None),
    });
    let options = Options::of(settings, Links::default());
    let probes = probes(options.metrics_at_doors, &Readiness::new(), &Metrics::new());
    http::table(front, &options, &probes, None).rows().to_vec()
}

/// The description of the routes that this service answers itself.
pub fn openapi() -> utoipa::openapi::OpenApi {
    http::openapi::document()
}
