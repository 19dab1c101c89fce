//! A cluster without an agent of its own: the same agent runs in this process, over an in-memory connection. There is one
//! path to a cluster, not two.

use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use roadstead_agent::{Core, Ended};
use roadstead_contracts::identity::Principal;
use roadstead_contracts::ids::{AgentId, ClusterId};
use roadstead_contracts::message::{Cluster, ClusterMode, RightsProfile};
use roadstead_contracts::names::{ClusterName, Labels};
use roadstead_contracts::{Code, Error, Result};
use roadstead_runtime::{OnFailure, Tasks};
use roadstead_tunnel::transport::pipe;
use roadstead_tunnel::{Options, Role, start};
use tokio_util::sync::CancellationToken;

use super::App;
use crate::domain::{AgentKind, ClusterRef, cut_text};
use crate::hosting::folder;
use crate::limits::{HOST_FINISH, HOST_LEAVE, KEYS_RETRY};
use crate::session::{Arrival, attach};
use crate::store::{NewAgent, NewCluster};

/// Wait before a hosted agent that ended comes back.
const AGAIN: Duration = Duration::from_secs(1);

pub(crate) async fn host(app: &Arc<App>, name: ClusterName, kubeconfig: &Path, owner: &Principal) -> Result<Cluster> {
    let core = Core::from_kubeconfig(Some(kubeconfig), None).await.map_err(|fault| {
        let shown = cut_text(&format!("{:#}", anyhow::Error::from(fault)));
        Error::field(&["kubeconfig"], "value_error", format!("the kubeconfig cannot be used: {shown}"))
    })?;
    let cluster = cluster_named(app, name, owner).await?;
    let agent = agent_of(app, cluster.id, owner).await?;
    let core = core.with_ledger(folder(&app.settings.data_dir, cluster.id));
    let (app, core, cluster_id) = (Arc::clone(app), Arc::new(core), cluster.id);
    app.tasks.clone().run("hosted-agent", OnFailure::Restart, move || {
        serve_hosted(Arc::clone(&app), Arc::clone(&core), (agent, cluster_id), Ends::default())
    });
    Ok(cluster)
}

async fn cluster_named(app: &App, name: ClusterName, owner: &Principal) -> Result<Cluster> {
    let by = ClusterRef::Name(name.to_string());
    if let Some(found) = app.store.find_cluster(&by, app.presence.cutoff()).await? {
        if found.cluster.mode != ClusterMode::Hosted {
            return Err(Error::new(
                Code::Conflict,
                format!("a cluster named {name} exists already and has its own agent"),
            ));
        }
        return Ok(found.cluster);
    }
    let new = NewCluster {
        id: app.ids.next(),
        name,
        description: String::new(),
        labels: Labels::default(),
        mode: ClusterMode::Hosted,
        owner_id: owner.user_id,
        owner_seq: owner.user_seq,
        details: None,
    };
    let made = app.store.create_cluster(&new, None, &app.own_change()).await?;
    app.relay.nudge();
    Ok(made.cluster)
}

async fn agent_of(app: &App, cluster: ClusterId, owner: &Principal) -> Result<AgentId> {
    let found = app.store.active_agent(cluster, app.presence.cutoff()).await?;
    if let Some(found) = found.filter(|found| found.kind == AgentKind::Hosted) {
        return Ok(found.id);
    }
    let new = NewAgent {
        id: app.ids.next(),
        cluster_id: Some(cluster),
        owner_id: owner.user_id,
        kind: AgentKind::Hosted,
        profile: RightsProfile::default(),
    };
    Ok(app.store.create_agent(&new, &app.own_change()).await?.id)
}

/// The tasks of one hosted agent: they end with it, whatever else the process does.
#[derive(Default)]
struct Own(Tasks);

impl Drop for Own {
    fn drop(&mut self) {
        self.0.cut();
    }
}

/// How a hosted agent ends.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ends {
    /// Cancelled to let it go.
    pub stop: CancellationToken,
    /// Cancelled when it changes nothing any more: the process stops, and what it still carries ends by itself.
    pub at_rest: CancellationToken,
}

/// Sessions of a hosted agent, one after the other, until it is stopped, the process stops or the agent is revoked. When it
/// returns nothing of it is at work any more.
pub(crate) async fn serve_hosted(
    app: Arc<App>,
    core: Arc<Core>,
    whose: (AgentId, ClusterId),
    ends: Ends,
) -> anyhow::Result<()> {
    let own = Own::default();
    let served = sessions(&app, &core, whose, &ends, &own.0).await;
    let let_go = ends.stop.is_cancelled();
    let grace = if app.tasks.stopping().is_cancelled() && !let_go { HOST_FINISH } else { HOST_LEAVE };
    own.0.finish(grace).await;
    served
}

async fn sessions(
    app: &Arc<App>,
    core: &Arc<Core>,
    (agent, cluster): (AgentId, ClusterId),
    Ends { stop, at_rest }: &Ends,
    own: &Tasks,
) -> anyhow::Result<()> {
    let stopping = app.tasks.stopping();
    while !stopping.is_cancelled() && !stop.is_cancelled() {
        let Ok(keys) = app.keys.get() else {
            tokio::time::sleep(KEYS_RETRY).await;
            continue;
        };
        let epoch = match app.presence.connect(agent).await {
            Ok(Some(epoch)) => epoch,
            Ok(None) => {
                tracing::info!("the agent {agent} of a hosted cluster was cut off");
                return Ok(());
            }
            Err(fault) => {
                tracing::debug!("a hosted agent waits for the database: {fault}");
                pause(app, stop).await;
                continue;
            }
        };
        let attending = Arc::clone(core);
        tokio::task::spawn_blocking(move || attending.attend(epoch)).await?;
        let (hub, end) = pipe();
        attach(app, Arrival { agent, cluster, epoch }, hub);
        let (session, incoming) = start(end, Role::Agent, Options::default(), own);
        let root = keys.root.clone();
        let serving = async {
            let served = Arc::clone(core).serve(session.clone(), incoming, root, cluster.to_string(), own).await;
            // It goes on with what it carries, and ends the session then.
            if matches!(served, Ok(Ended::Move { .. })) {
                session.closed().await;
            }
            served
        };
        let mut serving = pin!(stop.run_until_cancelled(serving));
        let served = tokio::select! {
            served = &mut serving => served,
            () = stopping.cancelled() => {
                // It cannot move: whoever asks from now on waits for the next host.
                if let Some(held) = app.sessions.get(agent).filter(|held| held.epoch == epoch) {
                    held.leave();
                }
                own.stop();
                tokio::select! {
                    served = &mut serving => served,
                    () = core.at_rest() => {
                        at_rest.cancel();
                        serving.await
                    }
                }
            }
        };
        session.close("let go");
        tracing::info!("the session of the hosted agent {agent} ended: {served:?}");
        pause(app, stop).await;
    }
    Ok(())
}

async fn pause(app: &App, stop: &CancellationToken) {
    let stopping = app.tasks.stopping();
    tokio::select! {
        () = stopping.cancelled() => {}
        () = stop.cancelled() => {}
        () = tokio::time::sleep(AGAIN + app.ids.jitter(AGAIN)) => {}
    }
}
