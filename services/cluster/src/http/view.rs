//! How things look on `/api/v1`.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use roadstead_contracts::agent::NamespaceInfo;
use roadstead_contracts::message::{Agent, Cluster, JoinToken};
use roadstead_runtime::Secret;
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use crate::app::{Joined, mode};
use crate::options::PublicUrls;

/// A cluster.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ClusterView {
    /// Id.
    #[schema(value_type = String, format = Uuid)]
    pub(crate) id: String,
    /// Integer number.
    pub(crate) seq: i64,
    /// Name, unique per hub.
    pub(crate) name: String,
    /// Free text.
    pub(crate) description: String,
    /// Address of the cluster's API; empty where an agent dials in.
    pub(crate) endpoint: String,
    /// Labels.
    pub(crate) labels: BTreeMap<String, String>,
    /// `agent`, `direct` or `hosted`.
    pub(crate) mode: &'static str,
    /// `pending`, `connected`, `disconnected` or `error`.
    pub(crate) status: &'static str,
    /// Account that owns it.
    pub(crate) owner_id: Option<String>,
    /// Active agent.
    pub(crate) agent_id: Option<String>,
    /// Version of the Kubernetes API.
    pub(crate) kubernetes_version: Option<String>,
    /// Version of the agent.
    pub(crate) agent_version: Option<String>,
    /// Platform of the API server.
    pub(crate) platform: Option<String>,
    /// Nodes.
    pub(crate) node_count: Option<u32>,
    /// Nodes that are ready.
    pub(crate) ready_nodes: Option<u32>,
    /// `healthy`, `degraded` or `unhealthy`.
    pub(crate) health: Option<String>,
    /// What is wrong with it.
    pub(crate) issues: Vec<String>,
    /// When its agent was last heard.
    pub(crate) last_seen_at: Option<DateTime<Utc>>,
    /// When it was made.
    pub(crate) created_at: DateTime<Utc>,
    /// When it was last changed.
    pub(crate) updated_at: DateTime<Utc>,
}

impl From<Cluster> for ClusterView {
    fn from(cluster: Cluster) -> Self {
        Self {
            id: cluster.id.to_string(),
            seq: cluster.seq,
            name: cluster.name.into(),
            description: cluster.description,
            endpoint: cluster.endpoint.unwrap_or_default(),
            labels: cluster.labels.0,
            mode: mode(cluster.mode),
            status: cluster.status.as_str(),
            owner_id: cluster.owner_id.map(|id| id.to_string()),
            agent_id: cluster.agent_id.map(|id| id.to_string()),
            kubernetes_version: cluster.facts.kubernetes_version,
            agent_version: cluster.facts.agent_version,
            platform: cluster.facts.platform,
            node_count: cluster.facts.node_count,
            ready_nodes: cluster.facts.ready_nodes,
            health: cluster.facts.health,
            issues: cluster.facts.issues,
            last_seen_at: cluster.last_seen_at,
            created_at: cluster.created_at,
            updated_at: cluster.updated_at,
        }
    }
}

/// A new cluster, and how its agent joins.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CreatedClusterView {
    /// The cluster.
    #[serde(flatten)]
    pub(crate) cluster: ClusterView,
    /// How to join; shown once.
    pub(crate) join: JoinView,
}

/// How an agent joins. Holds a secret that is shown once.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct JoinView {
    /// Join token.
    #[serde(serialize_with = "shown_once")]
    #[schema(value_type = String)]
    pub(crate) token: Secret,
    /// When it ends.
    pub(crate) expires_at: DateTime<Utc>,
    /// Line for a machine with a kubeconfig.
    #[serde(serialize_with = "shown_once")]
    #[schema(value_type = String)]
    pub(crate) command: Secret,
    /// Line that puts the agent into the cluster.
    #[serde(serialize_with = "shown_once")]
    #[schema(value_type = String)]
    pub(crate) kubectl: Secret,
    /// The manifest behind that line.
    #[serde(serialize_with = "shown_once")]
    #[schema(value_type = String)]
    pub(crate) import_url: Secret,
}

fn shown_once<S: Serializer>(secret: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose())
}

impl JoinView {
    pub(crate) fn of(joined: &Joined, urls: &PublicUrls) -> Self {
        let import_url = urls.import_url(&joined.secret);
        Self {
            token: joined.secret.clone(),
            expires_at: joined.token.expires_at,
            command: Secret::new(urls.join_command(&joined.secret, joined.token.cluster_name.as_ref())),
            kubectl: Secret::new(format!("kubectl apply -f {import_url}")),
            import_url: Secret::new(import_url),
        }
    }
}

/// A join token, without its secret.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct JoinTokenView {
    /// Id.
    pub(crate) id: String,
    /// Cluster it is bound to.
    pub(crate) cluster_id: Option<String>,
    /// Name of that cluster.
    pub(crate) cluster_name: Option<String>,
    /// Labels it gives.
    pub(crate) labels: BTreeMap<String, String>,
    /// `read_only`, `namespaced`, `operator` or `admin`.
    pub(crate) profile: &'static str,
    /// Namespaces of the profile `namespaced`.
    pub(crate) namespaces: Vec<String>,
    /// Uses left.
    pub(crate) uses_left: u32,
    /// When it ends.
    pub(crate) expires_at: DateTime<Utc>,
    /// When it was revoked.
    pub(crate) revoked_at: Option<DateTime<Utc>>,
    /// When it was made.
    pub(crate) created_at: DateTime<Utc>,
}

impl From<JoinToken> for JoinTokenView {
    fn from(token: JoinToken) -> Self {
        Self {
            id: token.id.to_string(),
            cluster_id: token.cluster_id.map(|id| id.to_string()),
            cluster_name: token.cluster_name.map(String::from),
            labels: token.labels.0,
            profile: token.profile.as_str(),
            namespaces: token.namespaces.into_iter().map(String::from).collect(),
            uses_left: token.uses_left,
            expires_at: token.expires_at,
            revoked_at: token.revoked_at,
            created_at: token.created_at,
        }
    }
}

/// A new join token, and how to use it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CreatedJoinTokenView {
    /// The token without its secret.
    #[serde(flatten)]
    pub(crate) about: JoinTokenView,
    /// The token; shown once.
    #[serde(serialize_with = "shown_once")]
    #[schema(value_type = String)]
    pub(crate) token: Secret,
    /// How to join; shown once.
    pub(crate) join: JoinView,
}

/// An agent.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AgentView {
    /// Id.
    pub(crate) agent_id: String,
    /// Its cluster.
    pub(crate) cluster_id: Option<String>,
    /// The cluster's name.
    pub(crate) cluster_name: Option<String>,
    /// Whether it is connected now.
    pub(crate) connected: bool,
    /// Whether it was cut off for good.
    pub(crate) revoked: bool,
    /// Its version.
    pub(crate) version: Option<String>,
    /// When it was last heard.
    pub(crate) last_seen_at: Option<DateTime<Utc>>,
    /// When it was enrolled.
    pub(crate) created_at: DateTime<Utc>,
}

impl From<Agent> for AgentView {
    fn from(agent: Agent) -> Self {
        Self {
            agent_id: agent.agent_id,
            cluster_id: agent.cluster_id.map(|id| id.to_string()),
            cluster_name: agent.cluster_name.map(String::from),
            connected: agent.connected,
            revoked: agent.revoked,
            version: agent.version,
            last_seen_at: agent.last_seen_at,
            created_at: agent.created_at,
        }
    }
}

/// Namespaces of a cluster.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct NamespacesView {
    /// The cluster.
    pub(crate) cluster_id: String,
    /// Its name.
    pub(crate) cluster_name: String,
    /// The agent that answered.
    pub(crate) agent_id: String,
    /// The namespaces.
    pub(crate) namespaces: Vec<NamespaceView>,
    /// How many.
    pub(crate) total_count: usize,
}

/// A namespace.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct NamespaceView {
    /// Name.
    pub(crate) name: String,
    /// `Active` or `Terminating`.
    pub(crate) status: String,
    /// When it was made.
    pub(crate) created_at: Option<String>,
    /// Labels.
    pub(crate) labels: BTreeMap<String, String>,
    /// Annotations, without those that Kubernetes keeps for itself.
    pub(crate) annotations: BTreeMap<String, String>,
}

impl From<NamespaceInfo> for NamespaceView {
    fn from(namespace: NamespaceInfo) -> Self {
        Self {
            name: namespace.name,
            status: namespace.status,
            created_at: namespace.created_at,
            labels: namespace.labels,
            annotations: namespace.annotations,
        }
    }
}
