//! The wiring: what the service is given, how it is built and started.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use bytes::Bytes;
use roadstead_auth::mesh_tls::MeshTls;
use roadstead_bus::{Bus, CallContext};
use roadstead_contracts::message::RecordAudit;
use roadstead_http_kit::Listener;
use roadstead_http_kit::figures::Figures;
use roadstead_http_kit::outgoing::Outgoing;
use roadstead_http_kit::webhook::{SECRET_MIN, Webhooks};
use roadstead_relay::{AgentStreams, Intake, MeshStreams};
use roadstead_runtime::config::Settings;
use roadstead_runtime::outgoing::Policy;
use roadstead_runtime::{Ids, Readiness, SharedClock, Tasks};
use roadstead_seal::Sealer;
use roadstead_store::audit::{AuditRelay, Trail};
use roadstead_store::{Opened, OutboxRelay};
use roadstead_telemetry::Metrics;
use roadstead_tunnel::Stream;
use tokio::net::TcpListener;
use tokio::sync::Notify;

use crate::app::{App, run_rollouts, run_upkeep, run_webhooks};
use crate::dispatch::{Faults, Running, find, listen, renew};
use crate::limits::ASK;
use crate::store::Store;
use crate::{NAME, Options, Stage};

/// What the process hands in.
#[derive(Clone)]
pub struct Deps {
    /// The bus.
    pub bus: Bus,
    /// The service's own database.
    pub database: Opened,
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
    /// The settings of the process.
    pub settings: Arc<Settings>,
    /// Streams to agents in one process; none = over the mesh.
    pub streams: Option<Arc<dyn AgentStreams>>,
    /// Points at which tests let a dispatcher die.
    pub faults: Faults,
}

impl fmt::Debug for Deps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deps").field("bus", &self.bus).finish_non_exhaustive()
    }
}

/// The service, built and not yet served.
pub struct Service {
    app: Arc<App>,
    deps: Deps,
    address: SocketAddr,
    waiting: Mutex<Option<Waiting>>,
}

/// What [`Service::start`] sets going.
struct Waiting {
    listener: Listener,
    /// The listener for figures, where the settings give it a certificate.
    figures: Option<Figures>,
    /// Where other members of the mesh bring bodies; none in one process.
    relay: Option<(TcpListener, MeshTls)>,
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Brings the schema up to date, checks the master keys and binds the listeners. Nothing is served before
/// [`Service::start`].
pub async fn build(deps: Deps) -> anyhow::Result<Service> {
    let settings = &deps.settings;
    let options = Options::of(settings);
    options.check()?;
    let migrator = roadstead_store::migrations!("operations");
    migrator.up(&deps.database).await.context("failed to bring the operations database up to date")?;
    let sealer = Sealer::open(&settings.seal, NAME).context("failed to open the keys that seal manifests")?;
    roadstead_store::seal::guard(&deps.database, &sealer).await.context("the operations database has other keys")?;
    let store: Arc<dyn Store> = roadstead_store::share!(deps.database => dyn Store);
    if !deps.database.is_shared() {
        store.free().await.context("failed to free the leases of the last process")?;
    }
    let listener = Listener { socket: roadstead_http_kit::bind(&options.host.to_string(), options.port)?, tls: None };
    let address = listener.address().context("the health listener has no address")?;
    let figures = figures(&deps, &options)?;
    let (streams, relay) = match &deps.streams {
        Some(streams) => (Arc::clone(streams), None),
        None => mesh(&deps).await?,
    };
    let stage_address = match &relay {
        Some((listener, _)) => {
            let named = settings.operations.relay_address.as_deref();
            let bound = listener.local_addr()?;
            Some(roadstead_relay::advertised(settings, named, "operations.relay_address", bound).await?)
        }
        None => None,
    };
    let app = Arc::new(App {
        store,
        relay: OutboxRelay::new(deps.database.clone(), Arc::clone(&deps.clock)),
        audit: AuditRelay::new(deps.database.clone(), Arc::clone(&deps.clock)),
        bus: deps.bus.clone(),
        clock: Arc::clone(&deps.clock),
        ids: deps.ids.clone(),
        tasks: deps.tasks.clone(),
        metrics: deps.metrics.clone(),
        options,
        sealer,
        streams,
        webhooks: webhooks(settings, deps.streams.is_some())?,
        stage_address,
        work: Notify::new(),
        rollouts: Notify::new(),
        running: Running::default(),
        dispatcher_ready: deps.readiness.register("dispatcher"),
        faults: deps.faults.clone(),
    });
    let waiting = Mutex::new(Some(Waiting { listener, figures, relay }));
    Ok(Service { app, deps, address, waiting })
}

/// In one process the front door has it.
fn figures(deps: &Deps, options: &Options) -> anyhow::Result<Option<Figures>> {
    if deps.settings.rabbitmq.url.is_none() {
        return Ok(None);
    }
    let host = options.host.to_string();
    Figures::bind(&host, &deps.settings.metrics, &deps.clock, &deps.tasks).context("figures cannot be shown by TLS")
}

type Mesh = (Arc<dyn AgentStreams>, Option<(TcpListener, MeshTls)>);

/// Streams over the mesh, and the listener for bodies.
async fn mesh(deps: &Deps) -> anyhow::Result<Mesh> {
    let secret = deps.settings.mesh.secret.as_ref().context("mesh.secret is not set")?;
    let tls = MeshTls::derive(secret).context("the mesh secret gives no certificates")?;
    let streams =
        MeshStreams::new(deps.bus.clone(), Arc::clone(&deps.clock), deps.ids.clone(), deps.tasks.clone(), &tls);
    let place = (deps.settings.operations.relay_host, deps.settings.operations.relay_port);
    let listener = TcpListener::bind(place)
        .await
        .with_context(|| format!("failed to listen on {}:{} for manifests", place.0, place.1))?;
    Ok((Arc::new(streams), Some((listener, tls))))
}

fn webhooks(settings: &Settings, one_process: bool) -> anyhow::Result<Option<Webhooks>> {
    let Some(key) = &settings.operations.webhook_secret else { return Ok(None) };
    anyhow::ensure!(
        key.expose().len() >= SECRET_MIN,
        "operations.webhook_secret must have at least {SECRET_MIN} characters"
    );
    let policy = Policy::of(one_process, &settings.outgoing.allow);
    let client = Outgoing::new(policy, []).context("failed to make the client of webhooks")?;
    Ok(Some(Webhooks::new(client, key.clone())))
}

impl Service {
    /// Address of the health listener.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where the front door of the same process leaves bodies.
    pub fn stage(&self) -> Stage {
        Stage(Arc::clone(&self.app))
    }

    /// Opens the doors. A second call does nothing.
    pub async fn start(&self) -> anyhow::Result<()> {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Waiting { listener, figures, relay }) = waiting else { return Ok(()) };
        let app = &self.app;
        let tasks = &app.tasks;
        let bus = app.bus.clone();
        app.relay.start(tasks, move |event| {
            let bus = bus.clone();
            async move { bus.emit(&event).await }
        });
        let told = Arc::clone(app);
        app.audit.start(tasks, move |records| {
            let app = Arc::clone(&told);
            async move {
                let context = CallContext::new(ASK, app.ids.uuid().to_string());
                app.bus.call(&RecordAudit { records }, &context).await.map(drop)
            }
        });
        // Its records leave by the relay above.
        let trail = Trail::new(self.deps.database.clone(), Arc::clone(&app.clock), app.ids.clone());
        app.bus.report_forged(move |forged| {
            let trail = trail.clone();
            async move { trail.forged(&forged.queue, forged.count).await }
        });
        app.sealer.watch(tasks);
        // Leases are kept while carriers finish what they do.
        tasks.support("operation-leases", renew(Arc::clone(app)));
        crate::bus::open(app).await.context("failed to open the queue doors")?;
        listen(app).await.context("failed to listen for events")?;
        tasks.spawn("dispatcher", find(Arc::clone(app)));
        tasks.spawn("rollouts", run_rollouts(Arc::clone(app)));
        tasks.spawn("upkeep", run_upkeep(Arc::clone(app)));
        if app.webhooks.is_some() {
            tasks.spawn("webhooks", run_webhooks(Arc::clone(app)));
        }
        if let Some((listener, tls)) = relay {
            let intake = Intake::new(Arc::new(self.stage()));
            let on_stream = move |head: Bytes, stream: Stream| {
                let intake = intake.clone();
                async move { intake.receive(&head, stream).await }
            };
            let over = tasks.stopping().cancelled_owned();
            tasks.spawn("relay", roadstead_relay::serve(listener, tls, tasks.clone(), over, on_stream));
        }
        if let Some(figures) = figures {
            let served = crate::http::serve_figures(&self.deps, &app.options, figures);
            served.context("failed to serve the listener for figures")?;
        }
        crate::http::serve(&self.deps, &app.options, listener).context("failed to serve the health listener")
    }
}
