//! Seed 001: an id for an agent of the seeds, optionally for a cluster that exists.

use roadstead_contracts::identity::Action;
use roadstead_contracts::message::{Agent, GenerateAgentId, RightsProfile};
use roadstead_contracts::{Error, Result};

use super::{App, require_of};
use crate::domain::AgentKind;
use crate::store::{Change, NewAgent};

pub(crate) async fn generate_agent_id(app: &App, request: GenerateAgentId, change: Change) -> Result<Agent> {
    let principal = &request.principal;
    let cluster = match request.cluster_seq {
        Some(seq) => {
            let found = app.visible_cluster(principal, &seq.to_string()).await;
            let found = found.map_err(|fault| match fault.code {
                roadstead_contracts::Code::NotFound => {
                    Error::not_found(format!("Cluster with ID '{seq}' not found or does not belong to you"))
                }
                _ => fault,
            });
            Some(found?.cluster.policy_facts())
        }
        None => None,
    };
    require_of(app, principal, Action::ClustersManage, cluster.as_ref())?;
    let new = NewAgent {
        id: app.ids.next(),
        cluster_id: cluster.map(|cluster| cluster.id),
        owner_id: principal.user_id,
        kind: AgentKind::Seed,
        profile: RightsProfile::default(),
    };
    Ok(app.store.create_agent(&new, &change).await?.agent)
}
