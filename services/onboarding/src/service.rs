//! The wiring: what the service is given, how it is built and started.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use roadstead_auth::mesh::MeshKey;
use roadstead_auth::mesh_tls::MeshTls;
use roadstead_bus::{Bus, CallContext};
use roadstead_contracts::identity::Principal;
use roadstead_contracts::message::{Cluster, RecordAudit};
use roadstead_contracts::names::ClusterName;
use roadstead_http_kit::figures::Figures;
use roadstead_http_kit::tls::{Certificate, Files};
use roadstead_kv::Kv;
use roadstead_runtime::config::Settings;
use roadstead_runtime::outgoing::Policy;
use roadstead_runtime::{Ids, Readiness, SharedClock, Tasks};
use roadstead_seal::Sealer;
use roadstead_store::audit::Trail;
use roadstead_store::{Opened, OutboxRelay};
use roadstead_telemetry::Metrics;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::drain::drain_when_stopping;
use crate::hosting::keep_hosting;
use crate::http::Door;
use crate::recording::prune_recordings;
use crate::session::{Keys, Presence, PresenceQueue, Registry, keep_keys, keep_replica, refresh, write_presence};
use crate::store::Store;

/// How long the user service may take to chain a batch of records.
const AUDIT_DEADLINE: Duration = Duration::from_secs(10);

/// What the service is given.
#[derive(Clone)]
pub struct Deps {
    /// The bus, as a member named [`crate::NAME`].
    pub bus: Bus,
    /// The service's own database.
    pub database: Opened,
    /// Small shared values.
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
    /// Signs what services say to each other; the bus has it already.
    pub mesh_key: MeshKey,
    /// The settings of the process.
    pub settings: Arc<Settings>,
}

impl fmt::Debug for Deps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deps").field("bus", &self.bus).finish_non_exhaustive()
    }
}

/// The service, built and not yet served.
pub struct Service {
    app: Arc<App>,
    door: Arc<Door>,
    address: SocketAddr,
    certificate: Option<Arc<Certificate>>,
    waiting: Mutex<Option<Waiting>>,
}

/// What [`Service::start`] sets going.
struct Waiting {
    listener: TcpListener,
    /// The listener for figures, where the settings give it a certificate.
    figures: Option<Figures>,
    /// Where other members of the mesh come for streams; none in one process.
    relay: Option<(TcpListener, MeshTls)>,
    presence: PresenceQueue,
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Brings the schema up to date and binds the agents' listener. Nothing is served before [`Service::start`].
pub async fn build(deps: Deps) -> anyhow::Result<Service> {
    let Deps { bus, database, kv, clock, ids, tasks, metrics, readiness, mesh_key: _, settings } = deps;
    let migrator = roadstead_store::migrations!("onboarding");
    migrator.up(&database).await.context("failed to bring the onboarding database up to date")?;
    let sealer = Sealer::open(&settings.seal, crate::NAME).context("failed to open the keys that seal credentials")?;
    roadstead_store::seal::guard(&database, &sealer).await.context("the onboarding database has other keys")?;
    sealer.watch(&tasks);
    let outgoing = Policy::of(!database.is_shared(), &settings.outgoing.allow);
    let store: Arc<dyn Store> = roadstead_store::share!(database => dyn Store);
    let server = &settings.server;
    let listener = TcpListener::bind((server.agent_host, server.agent_port))
        .await
        .with_context(|| format!("failed to listen on {}:{} for agents", server.agent_host, server.agent_port))?;
    let address = listener.local_addr().context("the agents' listener has no address")?;
    let certificate = if settings.tls.enabled {
        let files = Files { key: settings.tls.key_file.clone(), certificate: settings.tls.cert_file.clone() };
        Some(
            Certificate::watch(files, Arc::clone(&clock), &tasks)
                .context("failed to read the certificate of the agents' door")?,
        )
    } else {
        None
    };
    let relay = if database.is_shared() { relay_listener(&settings).await? } else { None };
    let replica_address = match &relay {
        Some((listener, _)) => Some({
            let named = settings.server.replica_address.as_deref();
            roadstead_relay::advertised(&settings, named, "server.replica_address", listener.local_addr()?).await?
        }),
        None => None,
    };
    let figures = figures(&settings, &clock, &tasks)?;
    let (presence, queue) = Presence::new(Arc::clone(&clock));
    let replica = bus.replica();
    let app = Arc::new(App {
        store,
        relay: OutboxRelay::new(database.clone(), Arc::clone(&clock)),
        trail: Trail::new(database.clone(), Arc::clone(&clock), ids.clone()),
        bus,
        kv,
        clock,
        ids,
        tasks,
        metrics,
        settings,
        replica,
        replica_address,
        sessions: Registry::new(),
        presence,
        sealer,
        outgoing,
        hosting: tokio::sync::Notify::new(),
        keys: Keys::default(),
        keys_ready: readiness.register("identity_keys"),
    });
    if !database.is_shared() {
        // Nobody else uses this file: whoever was connected, was connected to a process that is gone.
        let everyone = app.clock.now() + chrono::TimeDelta::days(365);
        let swept = app.store.sweep(everyone, chrono::DateTime::UNIX_EPOCH, &app.own_change()).await;
        swept.context("failed to clear the presence of the last process")?;
    }
    refresh(&app).await.context("failed to take this replica's place in the database")?;
    let door = Door::new(Arc::clone(&app), readiness);
    let waiting = Mutex::new(Some(Waiting { listener, figures, relay, presence: queue }));
    Ok(Service { app, door, address, certificate, waiting })
}

/// In one process the front door has it.
fn figures(settings: &Settings, clock: &SharedClock, tasks: &Tasks) -> anyhow::Result<Option<Figures>> {
    if settings.rabbitmq.url.is_none() {
        return Ok(None);
    }
    let host = settings.server.agent_host.to_string();
    Figures::bind(&host, &settings.metrics, clock, tasks).context("figures cannot be shown by TLS")
}

/// The listener for the other members of a mesh.
async fn relay_listener(settings: &Settings) -> anyhow::Result<Option<(TcpListener, MeshTls)>> {
    let Some(secret) = &settings.mesh.secret else { return Ok(None) };
    let server = &settings.server;
    let tls = MeshTls::derive(secret).context("the mesh secret gives no certificates")?;
    let listener = TcpListener::bind((server.replica_host, server.replica_port))
        .await
        .with_context(|| format!("failed to listen on {}:{} for the mesh", server.replica_host, server.replica_port))?;
    Ok(Some((listener, tls)))
}

impl Service {
    /// Address of the agents' door.
    pub fn agent_address(&self) -> SocketAddr {
        self.address
    }

    /// Agents connected to this replica.
    pub fn sessions(&self) -> usize {
        self.app.sessions.len()
    }

    /// Streams to the agents of this process.
    pub fn streams(&self) -> crate::Streams {
        crate::Streams(Arc::clone(&self.app))
    }

    /// Hosts an agent in this process for a cluster that a kubeconfig reaches: made on the first call, taken up again on
    /// later ones.
    pub async fn host(
        &self,
        name: ClusterName,
        kubeconfig: &Path,
        owner: &Principal,
    ) -> roadstead_contracts::Result<Cluster> {
        crate::app::host(&self.app, name, kubeconfig, owner).await
    }

    /// Opens the doors. A second call does nothing.
    pub async fn start(&self) -> anyhow::Result<()> {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Waiting { listener, figures, relay, mut presence }) = waiting else { return Ok(()) };
        let app = &self.app;
        let tasks = &app.tasks;
        let writer = Arc::clone(app);
        // It must outlive the sessions that end with the process, and not hold the stop up.
        tasks.support("presence", async move {
            let App { store, presence: sender, ids, relay, replica, .. } = &*writer;
            write_presence(&mut presence, &**store, *replica, sender, ids, relay).await;
        });
        let bus = app.bus.clone();
        app.relay.start(tasks, move |event| {
            let bus = bus.clone();
            async move { bus.emit(&event).await }
        });
        let (bus, ids) = (app.bus.clone(), app.ids.clone());
        app.trail.start(tasks, move |records| {
            let (bus, context) = (bus.clone(), CallContext::new(AUDIT_DEADLINE, ids.uuid().to_string()));
            async move { bus.call(&RecordAudit { records }, &context).await.map(drop) }
        });
        let trail = app.trail.clone();
        app.bus.report_forged(move |forged| {
            let trail = trail.clone();
            async move { trail.forged(&forged.queue, forged.count).await }
        });
        tasks.spawn("replica", keep_replica(Arc::clone(app)));
        tasks.spawn("identity-keys", keep_keys(Arc::clone(app)));
        let drained = CancellationToken::new();
        tasks.spawn("drain", drain_when_stopping(Arc::clone(app), drained.clone().drop_guard()));
        tasks.spawn("hosting", keep_hosting(Arc::clone(app)));
        tasks.spawn("recordings", prune_recordings(Arc::clone(app)));
        crate::bus::serve(app).await.context("failed to open the queue doors")?;
        if let Some((listener, tls)) = relay {
            tasks.spawn("relay", crate::relay::serve(Arc::clone(app), listener, tls, drained));
        }
        if let Some(figures) = figures {
            self.door.serve_figures(figures).context("failed to serve the listener for figures")?;
        }
        let (door, certificate, serving) = (Arc::clone(&self.door), self.certificate.clone(), tasks.clone());
        tasks.spawn("agents-door", async move {
            if let Err(fault) = crate::http::serve(door, listener, certificate, serving.clone()).await {
                tracing::error!("the agents' door failed, stopping: {fault:#}");
                serving.stop();
            }
        });
        Ok(())
    }
}
