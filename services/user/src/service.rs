//! How the service is put together.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use roadstead_auth::audit::CheckpointKey;
use roadstead_auth::ed25519::PrivateKey;
use roadstead_auth::mesh::MeshKey;
use roadstead_auth::password::Hasher;
use roadstead_bus::Bus;
use roadstead_contracts::message::RecordAudit;
use roadstead_http_kit::Listener;
use roadstead_http_kit::figures::Figures;
use roadstead_http_kit::mutual::Member;
use roadstead_http_kit::outgoing::Outgoing;
use roadstead_http_kit::webhook::{SECRET_MIN, Webhooks};
use roadstead_kv::Kv;
use roadstead_runtime::config::Settings;
use roadstead_runtime::outgoing::Policy;
use roadstead_runtime::{Ids, Readiness, Secret, SharedClock, Tasks};
use roadstead_seal::Sealer;
use roadstead_store::audit::Trail;
use roadstead_store::{Opened, OutboxRelay};
use roadstead_telemetry::Metrics;

use crate::app::{App, Chat, FirstStart, Parts};
use crate::domain::ProviderSettings;
use crate::keys::Keys;
use crate::oidc::Providers;
use crate::options::Options;
use crate::policy::{Keeper, Strategy};
use crate::store::Store;
use crate::{bus, http};

/// What the process hands in.
#[derive(Clone)]
pub struct Deps {
    /// The bus.
    pub bus: Bus,
    /// The service's own database.
    pub database: Opened,
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
    /// Checks what the front door forwards.
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
#[derive(Debug)]
pub struct Service {
    deps: Deps,
    app: Arc<App>,
    outbox: OutboxRelay,
    address: SocketAddr,
    waiting: Mutex<Option<Waiting>>,
}

/// What [`Service::start`] sets going.
#[derive(Debug)]
struct Waiting {
    listener: Listener,
    figures: Option<Figures>,
}

/// Brings the schema up to date, reads the keys and binds the listener. Nothing is served before [`Service::start`].
pub async fn build(deps: Deps) -> anyhow::Result<Service> {
    let options = Options::of(&deps.settings);
    let migrator = roadstead_store::migrations!("user");
    migrator.up(&deps.database).await.context("failed to bring the user database up to date")?;
    let store: Arc<dyn Store> = roadstead_store::share!(deps.database => dyn Store);
    let keys = Arc::new(Keys::open(&options, deps.clock.now()).await?);
    check_root(store.as_ref(), &keys, &options).await?;
    let checkpoint_key = checkpoint_key(&keys, &options)?;
    let sinks = crate::export::sinks(&options.audit).context("the audit trail cannot be exported")?;
    let outbox = OutboxRelay::new(deps.database.clone(), SharedClock::clone(&deps.clock));
    let host = options.host.to_string();
    let member = Member::of_mesh(&deps.settings.mesh, &deps.clock, &deps.tasks)?;
    let tls = member.map(|member| member.server_config()).transpose().context("failed to set up TLS of the mesh")?;
    let listener = Listener { socket: roadstead_http_kit::bind(&host, options.port)?, tls };
    let address = listener.address().context("the listener has no address")?;
    let figures = figures(&deps, &host)?;
    let policy = Policy::of(deps.settings.rabbitmq.url.is_none(), &deps.settings.outgoing.allow);
    let providers = ProviderSettings::all(&deps.settings).context("the identity providers cannot be used")?;
    let providers = Providers::new(providers, &policy, &deps.clock)?;
    let chat = chat(&deps.settings, &policy)?;
    let sealer = Sealer::open(&deps.settings.seal, crate::NAME).context("failed to open the keys that seal secrets")?;
    roadstead_store::seal::guard(&deps.database, &sealer).await.context("the user database has other keys")?;
    sealer.watch(&deps.tasks);
    let policy = Arc::new(Keeper::new(Arc::clone(&store), Strategy::of(&options.authorization), &deps.readiness));
    policy.begin().await?;
    if matches!(policy.strategy(), Strategy::NoAuth) {
        tracing::warn!("authorization is off: everybody who logs in may do everything");
    }
    let app = Arc::new(App::new(Parts {
        store,
        policy,
        kv: Arc::clone(&deps.kv),
        keys,
        options,
        providers,
        sealer,
        clock: SharedClock::clone(&deps.clock),
        ids: deps.ids.clone(),
        hasher: Hasher::new()?,
        outbox: outbox.clone(),
        trail: Trail::new(deps.database.clone(), SharedClock::clone(&deps.clock), deps.ids.clone()),
        checkpoint_key,
        sinks,
        metrics: deps.metrics.clone(),
        bus: deps.bus.clone(),
        chat,
    }));
    Ok(Service { deps, app, outbox, address, waiting: Mutex::new(Some(Waiting { listener, figures })) })
}

/// The listener for figures, where the settings give it a certificate; in one process the front door has it.
fn figures(deps: &Deps, host: &str) -> anyhow::Result<Option<Figures>> {
    if deps.settings.rabbitmq.url.is_none() {
        return Ok(None);
    }
    Figures::bind(host, &deps.settings.metrics, &deps.clock, &deps.tasks).context("figures cannot be shown by TLS")
}

/// The chat that is told of requests for access. Its address is the settings' own: it is dialled wherever it is.
fn chat(settings: &Settings, policy: &Policy) -> anyhow::Result<Option<Chat>> {
    let (url, key) = match (&settings.access.webhook_url, &settings.access.webhook_secret) {
        (None, _) => return Ok(None),
        (Some(url), Some(key)) if key.expose().len() >= SECRET_MIN => (url.clone(), key.clone()),
        (Some(_), _) => {
            anyhow::bail!("access.webhook_url needs access.webhook_secret of at least {SECRET_MIN} characters")
        }
    };
    let client = Outgoing::new(policy.clone(), [url.expose()]).context("failed to make the client of the chat")?;
    let webhooks = Webhooks::new(client, key);
    webhooks.vet(url.expose()).context("access.webhook_url cannot be used")?;
    Ok(Some(Chat { webhooks, url }))
}

/// The key that signs the audit trail's checkpoints: the file that the settings name, or one that follows from the keys.
fn checkpoint_key(keys: &Keys, options: &Options) -> anyhow::Result<CheckpointKey> {
    let Some(path) = &options.audit.checkpoint_key_file else { return Ok(CheckpointKey::new(keys.checkpoint_key()?)) };
    let context = || format!("failed to read the key of audit checkpoints from {}", path.display());
    let pem = Secret::new(std::fs::read_to_string(path).with_context(context)?);
    Ok(CheckpointKey::new(PrivateKey::from_pem(pem.expose()).with_context(context)?))
}

/// A replica with a key file of its own would sign what agents refuse and refuse every stored key: it must not start.
async fn check_root(store: &dyn Store, keys: &Keys, options: &Options) -> anyhow::Result<()> {
    let root = keys.now().identity_keys.root.clone();
    let pinned = store.pin_root(&root).await.context("failed to compare the key file with the database")?;
    anyhow::ensure!(
        pinned == root,
        "the key file {} does not belong to this database: give every replica of the user service the same file \
         (ROADSTEAD_AUTH_IDENTITY_KEY_FILE)",
        options.key_file.display()
    );
    Ok(())
}

impl Service {
    /// Address of the HTTP door.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Opens the doors and begins the service's own work. A second call does nothing.
    pub async fn start(&self) -> anyhow::Result<()> {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Waiting { listener, figures }) = waiting else { return Ok(()) };
        let Deps { bus, clock, tasks, .. } = &self.deps;
        let emit = bus.clone();
        self.outbox.start(tasks, move |event| {
            let bus = emit.clone();
            async move { bus.emit(&event).await }
        });
        self.app.keys.watch(SharedClock::clone(clock), tasks);
        self.app.policy.watch(tasks);
        self.app.keep_last_used(tasks);
        self.app.keep_pruning(tasks);
        self.app.keep_audit(tasks);
        self.app.keep_access(tasks);
        self.app.keep_exporting(tasks);
        let app = Arc::clone(&self.app);
        self.app.trail.start(tasks, move |records| {
            let app = Arc::clone(&app);
            async move { app.record_audit(&RecordAudit { records }).await.map(|_| ()) }
        });
        let app = Arc::clone(&self.app);
        bus.report_forged(move |forged| {
            let app = Arc::clone(&app);
            async move { app.trail.forged(&forged.queue, forged.count).await }
        });
        bus::serve(&self.app, bus).await.context("failed to open the queue doors")?;
        if let Some(figures) = figures {
            http::serve_figures(&self.deps, &self.app, figures).context("failed to serve the listener for figures")?;
        }
        http::serve(&self.deps, &self.app, listener).context("failed to serve the HTTP door")
    }

    /// Removes rows of the audit trail that are older than the settings keep; done by itself every hour.
    pub async fn prune_audit(&self) -> roadstead_contracts::Result<u64> {
        self.app.prune_audit().await
    }

    /// Makes the account `owner` with a password and an API key to be shown once; `None` when there is an admin.
    pub async fn first_start(&self) -> anyhow::Result<Option<FirstStart>> {
        self.app.first_start().await.context("failed to make the first admin")
    }
}
