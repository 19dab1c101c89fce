//! Wires the four services into one process.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use roadstead_auth::token::{Kind, TwoPart};
use roadstead_bus::{Bus, CallContext};
use roadstead_contracts::identity::Principal;
use roadstead_contracts::ids::JoinTokenId;
use roadstead_contracts::message::{CreateJoinToken, NewJoinToken, RightsProfile};
use roadstead_contracts::names::Labels;
use roadstead_runtime::Tasks;
use roadstead_runtime::config::Settings;

use super::kubeconfig::Hosted;
use super::options::reachable;
use super::{Admin, Ready, owner};
use crate::wiring::{DataFolder, Process, services};

/// Life of the join token of the first start.
const JOIN_TOKEN_SECONDS: u32 = 3600;
/// Its uses: a newcomer's first clusters.
const JOIN_TOKEN_USES: u32 = 10;
/// Longest wait until every part works: SQLite files and memory need milliseconds.
const READY_PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks.
const READY_PAUSE: Duration = Duration::from_millis(20);
/// Longest call on the bus of this process.
const CALL_DEADLINE: Duration = Duration::from_secs(10);

/// A running hub.
pub struct Hub {
    ready: Ready,
    process: Process,
    // Kept: a service may end what it started when it is dropped.
    _services: services::All,
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub").field("ready", &self.ready).finish_non_exhaustive()
    }
}

impl Hub {
    /// Its addresses, and on the first start the owner's secrets.
    pub fn ready(&self) -> &Ready {
        &self.ready
    }

    /// Its tasks.
    pub fn tasks(&self) -> &Tasks {
        &self.process.tasks
    }

    /// Stops it.
    pub async fn stop(&self, grace: Duration) {
        self.process.tasks.finish(grace).await;
    }
}

/// Starts a hub on a folder and hosts the clusters.
pub async fn start(settings: Settings, clusters: &[Hosted], folder: &DataFolder) -> Result<Hub> {
    roadstead_runtime::install_crypto();
    let tls = settings.tls.enabled;
    let process = Process::embedded(settings)?;
    let certificates = super::certificates::ensure(folder.path(), &process.settings, &*process.clock)?;
    let own = &process.settings.tls;
    let ca_file = if own.kubernetes_cert_file.is_some() || own.enabled {
        own.kubernetes_ca_file.clone()
    } else {
        Some(certificates.authority_file.clone())
    };
    let all = services::all(&process, certificates).await?;
    all.start().await?;
    wait_until_ready(&process).await?;
    let mut ready = Ready {
        url: reachable(all.front_door, tls),
        agent_url: reachable(all.agents_door, tls),
        kubernetes_url: all.kubernetes_url.clone(),
        ca_file,
        admin: None,
        api_key: None,
        join_token: None,
    };
    if let Some(first) = all.user.first_start().await.context("failed to make the first account")? {
        ready.admin = Some(Admin { username: first.username.clone(), password: first.password.expose().to_owned() });
        ready.api_key = Some(first.api_key.expose().to_owned());
        // From here on a failure must not lose the password: it is told, and the hub goes on.
        if let Err(fault) = owner::remember(folder.path(), &first.principal) {
            tracing::error!("the owner is not remembered: {fault:#}");
        }
        match join_token(&process, &all.bus, &first.principal).await {
            Ok(token) => ready.join_token = Some(token),
            Err(fault) => tracing::error!("no join token was made: {fault:#}"),
        }
    }
    host(&all, clusters, folder).await;
    Ok(Hub { ready, process, _services: all })
}

async fn wait_until_ready(process: &Process) -> Result<()> {
    let began = tokio::time::Instant::now();
    while !process.readiness.is_ready() {
        if began.elapsed() > READY_PATIENCE || process.tasks.stopping().is_cancelled() {
            let parts: Vec<String> = process
                .readiness
                .snapshot()
                .into_iter()
                .filter(|part| !part.ready)
                .map(|part| format!("{}: {}", part.name, part.detail))
                .collect();
            process.tasks.cut();
            bail!("the hub did not become ready: {}", parts.join(", "));
        }
        tokio::time::sleep(READY_PAUSE).await;
    }
    Ok(())
}

async fn join_token(process: &Process, bus: &Bus, owner: &Principal) -> Result<String> {
    let token = TwoPart::new(Kind::Join, process.ids.next::<JoinTokenId>(), &process.ids);
    let request = CreateJoinToken {
        principal: owner.clone(),
        token: NewJoinToken {
            id: token.id(),
            digest: token.digest(),
            lifetime_seconds: JOIN_TOKEN_SECONDS,
            uses: JOIN_TOKEN_USES,
            labels: Labels::default(),
            profile: RightsProfile::default(),
            namespaces: Vec::new(),
        },
        cluster: None,
    };
    bus.call(&request, &CallContext::new(CALL_DEADLINE, process.ids.uuid().to_string())).await?;
    Ok(token.format().expose().to_owned())
}

async fn host(all: &services::All, clusters: &[Hosted], folder: &DataFolder) {
    if clusters.is_empty() {
        return;
    }
    let owner = match owner::recall(folder.path()) {
        Ok(Some(owner)) => owner,
        Ok(None) => return tracing::error!("no cluster is hosted: this hub had its first start elsewhere"),
        Err(fault) => return tracing::error!("no cluster is hosted: {fault:#}"),
    };
    for cluster in clusters {
        let shown = cluster.kubeconfig.display();
        match all.onboarding.host(cluster.name.clone(), &cluster.kubeconfig, &owner).await {
            Ok(_) => tracing::info!("cluster {} is hosted from {shown}", cluster.name),
            Err(fault) => tracing::error!("cluster {} is not hosted from {shown}: {fault:#}", cluster.name),
        }
    }
}
