//! The cluster and the active agent behind a target.

use roadstead_contracts::Result;
use roadstead_contracts::identity::Action;
use roadstead_contracts::message::{Agent, ResolveAgent};

use super::target::agent_of;
use super::{App, require, require_entry};

pub(crate) async fn resolve_agent(app: &App, request: ResolveAgent) -> Result<Agent> {
    let record = agent_of(app, &request.principal, &request.target).await?;
    match &record.agent.cluster {
        Some(cluster) => require_entry(app, &request.principal, cluster)?,
        None => require(app, &request.principal, Action::ClustersRead)?,
    }
    Ok(record.agent)
}
