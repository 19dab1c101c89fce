//! Shapes of KubeSage (seeds 001 and 004): queue bodies, `/api/v3.0/cluster/*` and the agents' JSON envelope.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Body on `cluster_auth_requests`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AuthRequest {
    /// Correlates request and result.
    pub request_id: String,
    /// The key itself: peers of the seeds send it in the clear. Never logged.
    pub api_key: String,
    /// `cluster_service`.
    #[serde(default)]
    pub service: String,
    /// The sender's monotonic clock; meaningless here.
    #[serde(default)]
    pub timestamp: f64,
}

/// Body on `cluster_auth_results`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AuthResult {
    /// From the request.
    pub request_id: String,
    /// Whether the key is good.
    pub valid: bool,
    /// Whose it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_data: Option<UserData>,
    /// `Authentication successful`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Account in an [`AuthResult`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserData {
    /// Integer number of the account.
    pub id: i64,
    /// User name.
    pub username: String,
    /// E-mail.
    pub email: String,
    /// Role names joined by commas, or null.
    pub roles: Option<String>,
    /// Whether the account is active.
    pub is_active: bool,
}

/// Body on `cluster_namespace_requests`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NamespaceRequest {
    /// Correlates request and result.
    pub request_id: String,
    /// Which agent.
    pub agent_id: String,
    /// `get-namespaces`; anything else is refused.
    pub command: String,
    /// Sent by the seeds, never used: it could override the command.
    #[serde(default)]
    pub cluster_config: Value,
    /// The sender's monotonic clock.
    #[serde(default)]
    pub timestamp: f64,
}

/// Body on `cluster_namespace_results`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NamespaceResult {
    /// From the request.
    pub request_id: String,
    /// Which agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<String>,
    /// JSON text of an [`AgentNamespaces`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
    /// `Failed to communicate with agent: …`, or null.
    pub error: Option<String>,
    /// Seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<f64>,
}

/// What an agent of the seeds answers to `get-namespaces`, as JSON text in [`AgentReply::result`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentNamespaces {
    /// The namespaces; the seeds' services accept bare strings as names too.
    pub namespaces: Vec<AgentNamespace>,
    /// How many.
    pub total_count: usize,
    /// About the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_info: Option<Value>,
    /// Seconds since 1970, as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<String>,
    /// Set when it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<bool>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// A namespace as an agent of the seeds says it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum AgentNamespace {
    /// The full form.
    Full {
        /// Name.
        name: String,
        /// Phase.
        #[serde(default)]
        status: Option<String>,
        /// `2006-01-02T15:04:05Z`.
        #[serde(default, rename = "createdAt")]
        created_at: Option<String>,
        /// Labels.
        #[serde(default)]
        labels: Option<BTreeMap<String, String>>,
        /// Annotations.
        #[serde(default)]
        annotations: Option<BTreeMap<String, String>>,
    },
    /// Only a name.
    Name(String),
}

/// Request inside the seeds' agent envelope, as one text message.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AgentRequest {
    /// Correlates request and reply.
    pub request_id: String,
    /// Who asks.
    pub user: AgentUser,
    /// `{"message": "<command>", …}`.
    pub request: serde_json::Map<String, Value>,
}

/// Who asks, in an [`AgentRequest`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AgentUser {
    /// Integer number of the account.
    pub id: i64,
    /// User name.
    pub username: String,
    /// E-mail.
    pub email: String,
}

/// Reply inside the seeds' agent envelope.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AgentReply {
    /// From the request.
    pub request_id: String,
    /// Usually JSON text; an object is accepted.
    #[serde(default)]
    pub result: Value,
    /// Why it failed.
    #[serde(default)]
    pub error: Option<String>,
}

/// `GET /api/v3.0/cluster/health`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// `healthy` or `unhealthy`.
    pub status: String,
    /// `cluster_service`.
    pub service: String,
    /// RFC 3339, milliseconds, `Z`.
    pub timestamp: String,
    /// Version.
    pub version: String,
}

/// `GET /api/v3.0/cluster/namespaces`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamespacesAnswer {
    /// Always true: failures have an error body.
    pub success: bool,
    /// Which agent.
    pub agent_id: String,
    /// Integer number of the cluster.
    pub cluster_id: Option<i64>,
    /// The namespaces.
    pub namespaces: Vec<Namespace>,
    /// How many.
    pub total_count: usize,
    /// `Successfully retrieved namespaces from cluster`.
    pub message: String,
    /// RFC 3339, milliseconds, `Z`.
    pub timestamp: String,
}

/// A namespace in a [`NamespacesAnswer`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespace {
    /// Name.
    pub name: String,
    /// Phase.
    pub status: String,
    /// RFC 3339.
    pub created_at: Option<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
}

/// `GET /api/v3.0/cluster/agents/connected`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectedAgents {
    /// Always true.
    pub success: bool,
    /// Ids.
    pub connected_agents: Vec<String>,
    /// How many.
    pub total_count: usize,
    /// RFC 3339, milliseconds, `Z`.
    pub timestamp: String,
}
