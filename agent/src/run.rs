//! The life of an agent that dials: look, join once, then connect and come back for ever.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use roadstead_contracts::names::{ClusterName, Labels};
use roadstead_runtime::config::Env;
use roadstead_runtime::config::agent::AgentSettings;
use roadstead_runtime::retry::Backoff;
use roadstead_runtime::{Ids, OnFailure, SharedClock, Tasks};
use roadstead_tunnel::{CloseReason, Options, Role};
use tokio::time::Instant;

use crate::dial::{HubClock, dial};
use crate::enrol::{Joining, enrol};
use crate::keep::{Keeper, Kept};
use crate::kubernetes::Cluster;
use crate::metrics::Metrics;
use crate::net::Way;
use crate::net::door::Door;
use crate::preflight::{self, Plan};
use crate::probe::{self, Health};
use crate::{Core, Ended, Error, Result};

/// Waits between dials: full jitter between nothing and this, growing from a second to half a minute, so that 10,000
/// agents whose hub restarted do not come back together.
const BACKOFF: Backoff = Backoff { base: Duration::from_secs(1), cap: Duration::from_secs(30) };
/// A session that lived this long was a good one: the next wait is short again. Longer than an overloaded hub keeps one.
const STABLE: Duration = Duration::from_secs(10);
/// Spread on top of a time that the hub named to many at once.
const SPREAD: Duration = Duration::from_secs(1);
/// Failed dials after which the hub is asked again where its door is.
const ASK_AGAIN: u32 = 4;
/// Folder that the import manifest mounts for what the agent remembers of operations.
const MOUNTED_LEDGER: &str = "/var/lib/roadstead-agent/operations";
/// Longest time away that the hub may ask for.
const MOVE_MAX: Duration = Duration::from_secs(600);

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finished {
    /// The process was told to stop.
    Stopped,
    /// The hub cut the agent off for good.
    Revoked,
}

/// What an agent needs from its process.
#[derive(Debug)]
pub struct Process<'a> {
    /// Environment (proxies, home folder).
    pub env: &'a dyn EnvAndDebug,
    /// Clock.
    pub clock: SharedClock,
    /// Ids and jitter.
    pub ids: Ids,
    /// Tasks.
    pub tasks: Tasks,
}

/// An environment that can stand in a struct with `Debug`.
pub trait EnvAndDebug: Env + std::fmt::Debug + Sync {}
impl<T: Env + std::fmt::Debug + Sync> EnvAndDebug for T {}

/// An agent whose parts stand.
#[derive(Debug)]
struct Agent {
    way: Way,
    hub: String,
    keeper: Keeper,
    clock: Arc<HubClock>,
    ids: Ids,
    tasks: Tasks,
    core: Arc<Core>,
    metrics: Metrics,
    health: Health,
    /// The agents' door, once found.
    door: Mutex<Option<Door>>,
}

/// Runs until the process is told to stop or the hub revokes the agent.
pub async fn run(settings: &AgentSettings, process: &Process<'_>) -> Result<Finished> {
    let way = Way::new(settings.hub.ca_file.as_deref(), process.env)?;
    let cluster = Cluster::open(settings.kubeconfig.path.as_deref(), settings.kubeconfig.context.as_deref()).await;
    let opened = cluster.as_ref().ok();
    let keeper = keeper(settings, opened, process.env)?;
    let joined = keeper.load().await?;

    if joined.is_none() {
        let plan = Plan {
            hub: &settings.hub.url,
            token: settings.hub.token.as_ref(),
            keeper: Some(&keeper),
            cluster: cluster.as_ref(),
        };
        let report = preflight::run(&plan, &way, &process.clock).await;
        if let Some((step, detail, fix)) = report.broken() {
            return Err(Error::Settings(format!("pre-flight: {step}: {detail}; {fix}\n{report}")));
        }
    }
    let cluster = cluster?;
    let metrics = Metrics::new();
    let health = Health::default();
    serve_probes(settings, &cluster, &metrics, &health, &process.tasks).await?;
    let clock = HubClock::new(Arc::clone(&process.clock));
    let ledger = ledger(settings, &cluster, &keeper)?;
    let core = Core::new(cluster)
        .with_helm(settings.helm.program.clone())
        .with_ledger(ledger)
        .with_clock(Arc::clone(&clock) as SharedClock)
        .with_metrics(metrics.clone());
    let agent = Agent {
        way,
        hub: settings.hub.url.clone(),
        keeper,
        clock,
        ids: process.ids.clone(),
        tasks: process.tasks.clone(),
        core: Arc::new(core),
        metrics,
        health,
        door: Mutex::default(),
    };
    let joining = joining(settings)?;
    agent.live(joined, joining.as_ref()).await
}

impl Agent {
    async fn live(&self, joined: Option<Kept>, joining: Option<&Joining>) -> Result<Finished> {
        let stopping = self.tasks.stopping();
        let mut attempt = 0;
        let kept = match joined {
            Some(kept) => kept,
            None => match stopping.run_until_cancelled(self.join(joining)).await {
                Some(joined) => joined?,
                None => return Ok(Finished::Stopped),
            },
        };
        tracing::info!(cluster = %kept.cluster_name, agent = %kept.agent_id, "joined");
        self.core.learn_rights(kept.profile, kept.namespaces.clone());
        if !self.core.cluster().inside {
            self.core.bind_roles(kept.profile, &kept.namespaces).await;
        }
        // When it last was as it should be.
        let mut good = Instant::now();
        loop {
            let began = Instant::now();
            let ended = self.session(&kept, attempt).await;
            self.metrics.set_connected(false);
            self.health.set_connected(false);
            if ended.is_ok() && began.elapsed() >= STABLE {
                attempt = 0;
                good = Instant::now();
            }
            let away = good.elapsed();
            let wait = match ended {
                Ok(Ended::Revoked) => {
                    self.health.set_revoked();
                    return Ok(Finished::Revoked);
                }
                Ok(Ended::Move { after }) => {
                    attempt = 0;
                    // The hub has spread them, and callers wait meanwhile. One that asks each session for it at once is broken.
                    let own = if began.elapsed() < STABLE { self.ids.jitter(SPREAD) } else { Duration::ZERO };
                    after.min(MOVE_MAX) + own
                }
                Ok(Ended::Closed(reason)) => {
                    tracing::warn!("session ended: {reason}");
                    BACKOFF.delay_after(attempt, away, &self.ids)
                }
                Err(error) => self.wait_after(&error, attempt, away),
            };
            attempt = attempt.saturating_add(1);
            tracing::debug!("dialling again in {wait:?}");
            if stopping.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
                return Ok(Finished::Stopped);
            }
        }
    }

    /// Joins, however long the hub is away. A refused token ends it: waiting would not make it good.
    async fn join(&self, joining: Option<&Joining>) -> Result<Kept> {
        let Some(joining) = joining else {
            return Err(Error::Settings("the agent has not joined yet: give --join TOKEN".to_owned()));
        };
        let mut attempt = 0;
        let began = Instant::now();
        loop {
            let joined = async {
                self.keeper.check().await?;
                enrol(&self.way, &self.door(attempt).await?, joining).await
            };
            match joined.await {
                Ok(kept) => {
                    self.keeper.save(&kept).await?;
                    return Ok(kept);
                }
                Err(error @ (Error::Refused { status: 400..=499, .. } | Error::State(_)))
                    if !matches!(error, Error::Refused { status: 408 | 429, .. }) =>
                {
                    return Err(error);
                }
                Err(error) => tokio::time::sleep(self.wait_after(&error, attempt, began.elapsed())).await,
            }
            attempt = attempt.saturating_add(1);
        }
    }

    /// The agents' door: asked for once, and again now and then while dialling fails, in case it moved. Asking at each dial
    /// would double the work of a hub whose 10,000 agents come back.
    async fn door(&self, attempt: u32) -> Result<Door> {
        let known = self.door.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(door) = known.filter(|_| attempt % ASK_AGAIN != ASK_AGAIN - 1) {
            return Ok(door);
        }
        let door = Door::find(&self.way, &self.hub).await?;
        *self.door.lock().unwrap_or_else(PoisonError::into_inner) = Some(door.clone());
        Ok(door)
    }

    /// One session, from the dial to its end.
    async fn session(&self, kept: &Kept, attempt: u32) -> Result<Ended> {
        let dialled = async {
            let door = self.door(attempt).await?;
            dial(&self.way, &door, kept, &self.clock, &self.ids).await
        };
        // A session that runs leaves by itself when the process stops; a dial does not.
        let stopping = self.tasks.stopping();
        let Some(dialled) = stopping.run_until_cancelled(dialled).await else {
            return Ok(Ended::Closed(CloseReason::Cut));
        };
        self.metrics.dialled(dialled.is_ok());
        let (session, incoming) = roadstead_tunnel::start(dialled?, Role::Agent, Options::default(), &self.tasks);
        self.metrics.set_connected(true);
        self.health.set_connected(true);
        tracing::info!("connected to the hub");
        let core = Arc::clone(&self.core);
        let (root, cluster_id) = (kept.identity_root.clone(), kept.cluster_id.clone());
        core.serve(session, incoming, root, cluster_id, &self.tasks).await
    }

    /// Says what went wrong and how long to wait.
    fn wait_after(&self, error: &Error, attempt: u32, away: Duration) -> Duration {
        let own = BACKOFF.delay_after(attempt, away, &self.ids);
        match error {
            Error::Refused { status: 401 | 403, .. } => {
                tracing::error!("{error}; if the agent was revoked, remove {} and join again", self.keeper);
                own
            }
            Error::Refused { retry_after: Some(after), .. } => {
                tracing::warn!("{error}");
                // The hub knows how many knock and has spread them: waiting longer only leaves its doors idle.
                *after + self.ids.jitter(SPREAD)
            }
            Error::Net(fault) => {
                tracing::warn!("{fault}; {}", fault.fix);
                own
            }
            other => {
                tracing::warn!("{other}");
                own
            }
        }
    }
}

fn joining(settings: &AgentSettings) -> Result<Option<Joining>> {
    let Some(token) = settings.hub.token.clone() else { return Ok(None) };
    let named = settings.cluster.name.as_deref().map(ClusterName::parse).transpose();
    let name = named.map_err(|error| Error::Settings(format!("--name: {}", error.detail)))?;
    let labels = Labels(settings.cluster.labels.clone());
    labels.check().map_err(|error| Error::Settings(format!("labels: {}", error.detail)))?;
    Ok(Some(Joining { token, name, labels }))
}

/// Where the key goes: the folder that was named, else a Secret in a cluster, else the user's state folder.
pub fn keeper(settings: &AgentSettings, cluster: Option<&Cluster>, env: &dyn Env) -> Result<Keeper> {
    if let Some(folder) = &settings.state.dir {
        return Ok(Keeper::Folder(folder.clone()));
    }
    if let Some(cluster) = cluster.filter(|cluster| cluster.inside) {
        return Ok(Keeper::Secret { cluster: cluster.clone(), name: settings.state.secret_name.clone() });
    }
    let below = |name: &str, rest: &str| {
        env.var(name).filter(|value| !value.is_empty()).map(|value| PathBuf::from(value).join(rest))
    };
    // systemd's StateDirectory, then the XDG folder.
    below("STATE_DIRECTORY", "")
        .or_else(|| below("XDG_STATE_HOME", "roadstead-agent"))
        .or_else(|| below("HOME", ".local/state/roadstead-agent"))
        .map(Keeper::Folder)
        .ok_or_else(|| Error::Settings("nowhere to keep the agent's key: give --state DIR".to_owned()))
}

/// Where operations are remembered: the folder that was named, else beside the key, else what the import manifest mounts.
fn ledger(settings: &AgentSettings, cluster: &Cluster, keeper: &Keeper) -> Result<PathBuf> {
    match (&settings.state.ledger_dir, keeper) {
        (Some(folder), _) => Ok(folder.clone()),
        (None, Keeper::Folder(folder)) => Ok(folder.join("operations")),
        (None, Keeper::Secret { .. }) if cluster.inside => Ok(PathBuf::from(MOUNTED_LEDGER)),
        (None, Keeper::Secret { .. }) => {
            Err(Error::Settings("nowhere to remember operations: set state.ledger_dir".to_owned()))
        }
    }
}

async fn serve_probes(
    settings: &AgentSettings,
    cluster: &Cluster,
    metrics: &Metrics,
    health: &Health,
    tasks: &Tasks,
) -> Result<()> {
    let everywhere = if cluster.inside { Ipv4Addr::UNSPECIFIED } else { Ipv4Addr::LOCALHOST };
    let host = settings.server.host.unwrap_or(IpAddr::V4(everywhere));
    let address = SocketAddr::new(host, settings.server.port);
    let listener = probe::bind(address)
        .await
        .map_err(|error| Error::Settings(format!("failed to listen on {address}: {error}")))?;
    let listener = Arc::new(Mutex::new(Some(listener)));
    let (health, metrics, own) = (health.clone(), metrics.clone(), tasks.clone());
    tasks.run("probes", OnFailure::Log, move || {
        let listener = listener.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (health, metrics, own) = (health.clone(), metrics.clone(), own.clone());
        async move {
            if let Some(listener) = listener {
                probe::serve(listener, health, metrics, own).await;
            }
            Ok(())
        }
    });
    Ok(())
}
