//! Cuts one agent off, for good: here at once, on other replicas by the event.

use roadstead_contracts::Result;
use roadstead_contracts::identity::Action;
use roadstead_contracts::message::{Agent, AgentTarget, RevokeAgent};

use super::target::{agent_of, no_agent};
use super::{App, require_of};
use crate::store::Change;

pub(crate) async fn revoke_agent(app: &App, request: RevokeAgent, change: Change) -> Result<Agent> {
    let target = AgentTarget::Agent(request.agent_id);
    let record = agent_of(app, &request.principal, &target).await?;
    require_of(app, &request.principal, Action::ClustersManage, record.agent.cluster.as_ref())?;
    let record = app.store.revoke_agent(record.id, &change).await?.ok_or_else(no_agent)?;
    app.sessions.revoke(record.id);
    app.relay.nudge();
    tracing::info!(agent_id = %record.id, "agent {} was revoked", record.id);
    Ok(record.agent)
}
