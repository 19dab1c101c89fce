//! The first verb that goes all the way to an agent.

use serde::{Deserialize, Serialize};

use crate::agent::NamespaceList;
use crate::identity::Principal;
use crate::ids::{AgentId, ClusterId};

/// Which agent to ask: the seeds name the agent, `/api/v1` and the CLI name the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentTarget {
    /// This agent. A text, because agents of the seeds may carry any id.
    Agent(String),
    /// The active agent of this cluster: id, integer or name.
    Cluster(String),
}

/// Lists the namespaces of a cluster as the caller.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct GetNamespaces {
    /// Who asks.
    pub principal: Principal,
    /// The identity signed by the user service for this cluster, for the agent to impersonate. Without one the agent
    /// refuses: the asker finds the cluster first ([`super::ResolveAgent`]) and has an identity signed for it.
    pub assertion: Option<String>,
    /// Which agent.
    pub target: AgentTarget,
}

/// The namespaces, and where they came from.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Namespaces {
    /// The agent that answered.
    pub agent_id: AgentId,
    /// Its cluster.
    pub cluster_id: ClusterId,
    /// The cluster's integer number.
    pub cluster_seq: i64,
    /// What the agent said.
    pub list: NamespaceList,
}

super::requests! {
    crate::queue::CLUSTER_NAMESPACE: {
        GetNamespaces = "get_namespaces.v1" -> Namespaces;
    }
}
