//! The registry of clusters, agents and join tokens: asked of onboarding. Every message carries the caller, and what is
//! not the caller's is answered as not found.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{AgentTarget, NewJoinToken};
use crate::identity::Principal;
use crate::ids::{AgentId, ClusterId, ReplicaId, UserId};
use crate::names::{ClusterName, Labels};

/// How a cluster's agent reaches it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClusterMode {
    /// An agent in the cluster dials in.
    Agent,
    /// Onboarding hosts the agent (kubeconfig given to `roadstead up`).
    Hosted,
    /// Onboarding hosts the agent with credentials that were given over the API.
    Direct,
}

/// State of a cluster, in MCKMT's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClusterStatus {
    /// No agent has ever connected.
    Pending,
    /// An agent is connected.
    Connected,
    /// The agent is away.
    Disconnected,
    /// The agent is connected and says that the cluster is not well.
    Error,
}

impl ClusterStatus {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Connected => "connected",
            Self::Disconnected => "disconnected",
            Self::Error => "error",
        }
    }
}

/// What the agent said about its cluster with its last heartbeat.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterFacts {
    /// Version of the Kubernetes API server, `v1.36.3`.
    pub kubernetes_version: Option<String>,
    /// Version of the agent.
    pub agent_version: Option<String>,
    /// `linux/amd64`.
    pub platform: Option<String>,
    /// Nodes.
    pub node_count: Option<u32>,
    /// Nodes that are ready.
    pub ready_nodes: Option<u32>,
    /// `healthy`, `degraded` or `unhealthy` (seed 000's words).
    pub health: Option<String>,
    /// What is wrong, for people; at most [`crate::agent::ISSUES_MAX`].
    #[serde(default)]
    pub issues: Vec<String>,
}

/// A cluster of the registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// Id.
    pub id: ClusterId,
    /// Integer number, for the seeds that show integers.
    pub seq: i64,
    /// Name, unique per hub.
    pub name: ClusterName,
    /// Free text.
    pub description: String,
    /// Labels.
    pub labels: Labels,
    /// How it is reached.
    pub mode: ClusterMode,
    /// Address of its API, where credentials were given over the API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// State now.
    pub status: ClusterStatus,
    /// Owner.
    pub owner_id: Option<UserId>,
    /// The active agent.
    pub agent_id: Option<AgentId>,
    /// What the agent said.
    pub facts: ClusterFacts,
    /// When the agent was last heard.
    pub last_seen_at: Option<DateTime<Utc>>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
}

impl Cluster {
    /// What rules look at.
    pub fn policy_facts(&self) -> crate::policy::ClusterFacts {
        crate::policy::ClusterFacts {
            id: self.id,
            name: Some(self.name.to_string()),
            labels: Some(self.labels.clone()),
            owner: self.owner_id,
        }
    }
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page<T> {
    /// The rows.
    pub items: Vec<T>,
    /// How many there are in all.
    pub total: u64,
    /// Where the next page begins.
    pub next_cursor: Option<String>,
}

/// What part of a list to give.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageRequest {
    /// Rows, 1 to 1,000.
    pub limit: u32,
    /// Rows to skip (the seeds' way).
    pub offset: u64,
    /// Opaque place from an earlier page.
    pub cursor: Option<String>,
}

/// Lists the clusters that the caller can see, newest first.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ListClusters {
    /// Who asks.
    pub principal: Principal,
    /// Which page.
    pub page: PageRequest,
    /// `key=value` pairs that must all match.
    #[serde(default)]
    pub labels: Labels,
}

/// Gives one cluster.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct GetCluster {
    /// Who asks.
    pub principal: Principal,
    /// Id, integer or name.
    pub cluster: String,
}

/// Finds the cluster and the active agent behind a target, so that an identity can be signed for that cluster.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ResolveAgent {
    /// Who asks.
    pub principal: Principal,
    /// Agent or cluster.
    pub target: AgentTarget,
}

/// An agent, its cluster, and whether it is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agent {
    /// Id as text (agents of the seeds may carry any).
    pub agent_id: String,
    /// Its cluster, when it has one.
    pub cluster_id: Option<ClusterId>,
    /// The cluster's integer.
    pub cluster_seq: Option<i64>,
    /// The cluster's name.
    pub cluster_name: Option<ClusterName>,
    /// Whether it is connected now.
    pub connected: bool,
    /// Revoked agents cannot come back.
    pub revoked: bool,
    /// Agent's version.
    pub version: Option<String>,
    /// When it was last heard.
    pub last_seen_at: Option<DateTime<Utc>>,
    /// When it was enrolled.
    pub created_at: DateTime<Utc>,
    /// An agent of the seeds: it takes commands and carries no streams.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub commands_only: bool,
    /// What rules look at of its cluster, for whoever decides about requests to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<crate::policy::ClusterFacts>,
}

impl Agent {
    /// What rules look at of its cluster. What an older member did not tell is not known.
    pub fn facts_of_cluster(&self) -> Option<crate::policy::ClusterFacts> {
        let unknown = |id| crate::policy::ClusterFacts {
            id,
            name: self.cluster_name.as_ref().map(ToString::to_string),
            labels: None,
            owner: None,
        };
        self.cluster.clone().or_else(|| self.cluster_id.map(unknown))
    }
}

/// Finds the replica that holds the session of a cluster's active agent, for streams to it. Asked by members of the mesh
/// only, after the caller's right was checked; a member that may come back in a moment is `agent_offline` with
/// `retry_after`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LocateAgent {
    /// The cluster.
    pub cluster_id: ClusterId,
}

/// Where the session of an agent is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentLocation {
    /// The replica.
    pub replica_id: ReplicaId,
    /// Host and port at which members of the mesh reach it.
    pub address: String,
    /// The agent.
    pub agent_id: AgentId,
    /// Which of its sessions.
    pub epoch: i64,
}

/// Finds any replica of onboarding, for a [`super::Handover`]: whichever answers names itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FindReplica {}

/// A replica of onboarding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaLocation {
    /// The replica.
    pub replica_id: ReplicaId,
    /// Host and port at which members of the mesh reach it.
    pub address: String,
}

/// Creates a cluster that an agent will join: the cluster and a join token for it in one step.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CreateCluster {
    /// Who asks; becomes the owner.
    pub principal: Principal,
    /// Name.
    pub name: ClusterName,
    /// Free text.
    #[serde(default)]
    pub description: String,
    /// Labels.
    #[serde(default)]
    pub labels: Labels,
    /// A join token to make with it (its secret was made by the door and is not in the message).
    pub join_token: Option<NewJoinToken>,
}

/// Changes a cluster. Fields left out keep their values.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct UpdateCluster {
    /// Who asks.
    pub principal: Principal,
    /// Id, integer or name.
    pub cluster: String,
    /// New name.
    #[serde(default)]
    pub name: Option<ClusterName>,
    /// New text.
    #[serde(default)]
    pub description: Option<String>,
    /// New labels, all of them.
    #[serde(default)]
    pub labels: Option<Labels>,
}

/// Removes a cluster, its agents and its join tokens; a connected agent is cut off.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeleteCluster {
    /// Who asks.
    pub principal: Principal,
    /// Id, integer or name.
    pub cluster: String,
}

/// Lists agents that the caller can see.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ListAgents {
    /// Who asks.
    pub principal: Principal,
    /// Which page.
    pub page: PageRequest,
    /// Only those connected now.
    #[serde(default)]
    pub connected_only: bool,
}

/// Cuts one agent off, for good.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RevokeAgent {
    /// Who asks.
    pub principal: Principal,
    /// Which.
    pub agent_id: String,
}

/// Seed 001: makes an agent id for an agent of the seeds, optionally for a cluster that exists.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct GenerateAgentId {
    /// Who asks.
    pub principal: Principal,
    /// The cluster's integer.
    #[serde(default)]
    pub cluster_seq: Option<i64>,
}

/// Seed 001: an agent of the seeds registers its cluster.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OnboardSeedCluster {
    /// Who asks.
    pub principal: Principal,
    /// The id that [`GenerateAgentId`] gave.
    pub agent_id: String,
    /// Cluster name.
    pub name: ClusterName,
    /// What the seed's body said beside the name (context, provider, tags, metadata).
    pub details: SeedClusterDetails,
}

/// Fields that only the seeds' clients send and get back.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SeedClusterDetails {
    /// kubeconfig context.
    #[serde(default)]
    pub context_name: Option<String>,
    /// Provider, `kubernetes` when left out.
    #[serde(default)]
    pub provider_name: Option<String>,
    /// Tags.
    #[serde(default)]
    pub tags: Vec<String>,
    /// As sent.
    #[serde(default)]
    pub use_secure_tls: bool,
    /// As sent; bounded by the door.
    #[serde(default)]
    pub metadata: serde_json::Map<String, serde_json::Value>,
}

/// A cluster with the seeds' extra fields.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SeedCluster {
    /// The cluster.
    pub cluster: Cluster,
    /// Number of the owner.
    pub owner_seq: i64,
    /// The extra fields.
    pub details: SeedClusterDetails,
}

/// Lists the caller's clusters with the seeds' extra fields, newest first.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ListSeedClusters {
    /// Who asks.
    pub principal: Principal,
}

/// Gives one cluster with the seeds' extra fields.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct GetSeedCluster {
    /// Who asks.
    pub principal: Principal,
    /// Id, integer or name.
    pub cluster: String,
}

/// Counts for metrics: clusters by mode and status, agents by version. No names.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CountClusters {}

/// One count of [`CountClusters`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterCount {
    /// How they are reached.
    pub mode: ClusterMode,
    /// State.
    pub status: ClusterStatus,
    /// How many.
    pub count: u64,
}

super::requests! {
    crate::queue::CLUSTER_REGISTRY: {
        ListClusters = "list_clusters.v1" -> Page<Cluster>;
        GetCluster = "get_cluster.v1" -> Cluster;
        ResolveAgent = "resolve_agent.v1" -> Agent;
        LocateAgent = "locate_agent.v1" -> AgentLocation;
        FindReplica = "find_replica.v1" -> ReplicaLocation;
        ListAgents = "list_agents.v1" -> Page<Agent>;
        ListSeedClusters = "list_seed_clusters.v1" -> Vec<SeedCluster>;
        GetSeedCluster = "get_seed_cluster.v1" -> SeedCluster;
        CountClusters = "count_clusters.v1" -> Vec<ClusterCount>;
    }
    crate::queue::CLUSTER_REGISTRY_CHANGE: {
        CreateCluster = "create_cluster.v1" -> Cluster;
        UpdateCluster = "update_cluster.v1" -> Cluster;
        DeleteCluster = "delete_cluster.v1" -> Cluster;
        RevokeAgent = "revoke_agent.v1" -> Agent;
        GenerateAgentId = "generate_agent_id.v1" -> Agent;
        OnboardSeedCluster = "onboard_seed_cluster.v1" -> SeedCluster;
    }
}
