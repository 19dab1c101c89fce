//! From what a caller names to an agent.

use roadstead_contracts::identity::Principal;
use roadstead_contracts::ids::{AgentId, TypedId as _, parse_hyphenated};
use roadstead_contracts::message::AgentTarget;
use roadstead_contracts::{Error, Result};

use super::{App, short};
use crate::domain::AgentRecord;

/// "Not found", for an agent that is not there or not the caller's.
pub(super) fn no_agent() -> Error {
    Error::not_found("Agent not found")
}

/// An agent by its id, whoever asks. Ids are ours, also those of the seeds' agents.
pub(crate) async fn agent_by_id(app: &App, text: &str) -> Result<AgentRecord> {
    let id = short(text).and_then(|text| parse_hyphenated(text).ok()).ok_or_else(no_agent)?;
    app.store.find_agent(AgentId::from_uuid(id), app.presence.cutoff()).await?.ok_or_else(no_agent)
}

/// The agent behind a target, if it exists for the caller.
pub(crate) async fn agent_of(app: &App, principal: &Principal, target: &AgentTarget) -> Result<AgentRecord> {
    match target {
        AgentTarget::Agent(text) => {
            let record = agent_by_id(app, text).await?;
            if record.visible_to(principal, app.clock.now()) { Ok(record) } else { Err(no_agent()) }
        }
        AgentTarget::Cluster(text) => {
            let cluster = app.visible_cluster(principal, text).await?.cluster;
            let found = app.store.active_agent(cluster.id, app.presence.cutoff()).await?;
            found.ok_or_else(|| Error::of(roadstead_contracts::Code::AgentOffline))
        }
    }
}
