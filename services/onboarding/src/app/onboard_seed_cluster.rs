//! Seed 001: an agent of the seeds registers its cluster. Asked again after a restart, it gets the same cluster: the
//! predecessors answered 400 and their agents gave up.

use roadstead_contracts::identity::Action;
use roadstead_contracts::message::{ClusterMode, OnboardSeedCluster, SeedCluster};
use roadstead_contracts::names::Labels;
use roadstead_contracts::{Code, Error, Result};

use super::target::agent_by_id;
use super::{App, require_of, require_unbound};
use crate::store::{Change, NewCluster};

pub(crate) async fn onboard_seed_cluster(
    app: &App,
    request: OnboardSeedCluster,
    change: Change,
) -> Result<SeedCluster> {
    let principal = &request.principal;
    let agent_id = request.agent_id;
    let missing = || Error::not_found(format!("Agent with ID '{agent_id}' not found or does not belong to you"));
    let found = agent_by_id(app, &agent_id).await;
    let agent = found.map_err(|fault| if fault.code == Code::NotFound { missing() } else { fault })?;
    if agent.owner_id != Some(principal.user_id) || agent.agent.revoked {
        return Err(missing());
    }
    require_of(app, principal, Action::ClustersWrite, agent.agent.cluster.as_ref())?;
    // The cluster comes from the agent, whatever name it says now (reliability row W08).
    if let Some(cluster) = agent.agent.cluster_id {
        let described = app.store.describe(cluster, &request.details, app.presence.cutoff(), &change).await?;
        app.relay.nudge();
        return described.map(SeedCluster::from).ok_or_else(missing);
    }
    require_unbound(principal)?;
    let new = NewCluster {
        id: app.ids.next(),
        name: request.name,
        description: String::new(),
        labels: Labels::default(),
        mode: ClusterMode::Agent,
        owner_id: principal.user_id,
        owner_seq: principal.user_seq,
        details: Some(request.details),
    };
    let made = app.store.onboard(agent.id, &new, &change).await.map_err(|fault| {
        if fault.is_conflict("clusters_name_key") {
            Error::new(Code::Conflict, format!("Cluster '{}' already exists for this user", new.name))
        } else {
            fault.into()
        }
    })?;
    // Its session, if it has one, does not know the cluster yet: it comes back and does.
    if let Some(held) = app.sessions.get(agent.id) {
        held.close("the agent has a cluster now");
    }
    app.relay.nudge();
    Ok(made.into())
}
