//! Events: facts that happened, fanned out on the topic exchange. Every subscriber has its own queue.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::ids::{ApiKeyId, ClusterId, MessageId, OperationId, SessionId, UserId};
use crate::operation::OperationState;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Id: the same for every delivery.
    pub id: MessageId,
    /// When it happened.
    pub at: DateTime<Utc>,
    /// What.
    #[serde(flatten)]
    pub fact: Fact,
}

/// What happened. The tag is the routing key on the exchange.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data")]
pub enum Fact {
    /// An account was made.
    #[serde(rename = "user.created")]
    UserCreated {
        /// The account.
        user_id: UserId,
    },
    /// An account's roles, state or grants changed: cached decisions about it are stale.
    #[serde(rename = "user.changed")]
    UserChanged {
        /// The account.
        user_id: UserId,
    },
    /// An account was removed.
    #[serde(rename = "user.deleted")]
    UserDeleted {
        /// The account.
        user_id: UserId,
    },
    /// The rules of the policy changed: cached decisions about anybody are stale.
    #[serde(rename = "policy.changed")]
    PolicyChanged {},
    /// A session was ended.
    #[serde(rename = "user.session_revoked")]
    SessionRevoked {
        /// The account.
        user_id: UserId,
        /// The session.
        session_id: SessionId,
    },
    /// An API key was revoked, regenerated or changed.
    #[serde(rename = "user.api_key_revoked")]
    ApiKeyRevoked {
        /// The account.
        user_id: UserId,
        /// The key.
        api_key_id: ApiKeyId,
    },
    /// A cluster was made.
    #[serde(rename = "cluster.created")]
    ClusterCreated {
        /// The cluster.
        cluster_id: ClusterId,
    },
    /// A cluster was changed.
    #[serde(rename = "cluster.updated")]
    ClusterUpdated {
        /// The cluster.
        cluster_id: ClusterId,
    },
    /// A cluster was removed.
    #[serde(rename = "cluster.deleted")]
    ClusterDeleted {
        /// The cluster.
        cluster_id: ClusterId,
    },
    /// What has drifted in a cluster changed.
    #[serde(rename = "cluster.drift_changed")]
    DriftChanged {
        /// The cluster.
        cluster_id: ClusterId,
        /// Objects that have drifted now.
        drifted: u32,
    },
    /// An agent connected.
    #[serde(rename = "agent.connected")]
    AgentConnected {
        /// The cluster.
        cluster_id: ClusterId,
        /// The agent.
        agent_id: String,
    },
    /// An agent went away.
    #[serde(rename = "agent.disconnected")]
    AgentDisconnected {
        /// The cluster.
        cluster_id: ClusterId,
        /// The agent.
        agent_id: String,
    },
    /// An operation went a step on: its readers ask for the steps after the last they saw.
    #[serde(rename = "operation.updated")]
    OperationUpdated {
        /// The operation.
        operation_id: OperationId,
        /// Its cluster.
        cluster_id: ClusterId,
        /// Its state now.
        state: OperationState,
        /// Its last step.
        step: i64,
    },
    /// An agent was cut off for good: every replica closes its session.
    #[serde(rename = "agent.revoked")]
    AgentRevoked {
        /// The agent.
        agent_id: String,
    },
}

impl Fact {
    /// Routing key on the exchange: the same word as the tag.
    pub fn routing_key(&self) -> &'static str {
        match self {
            Fact::UserCreated { .. } => "user.created",
            Fact::UserChanged { .. } => "user.changed",
            Fact::UserDeleted { .. } => "user.deleted",
            Fact::PolicyChanged {} => "policy.changed",
            Fact::SessionRevoked { .. } => "user.session_revoked",
            Fact::ApiKeyRevoked { .. } => "user.api_key_revoked",
            Fact::ClusterCreated { .. } => "cluster.created",
            Fact::ClusterUpdated { .. } => "cluster.updated",
            Fact::ClusterDeleted { .. } => "cluster.deleted",
            Fact::DriftChanged { .. } => "cluster.drift_changed",
            Fact::AgentConnected { .. } => "agent.connected",
            Fact::AgentDisconnected { .. } => "agent.disconnected",
            Fact::OperationUpdated { .. } => "operation.updated",
            Fact::AgentRevoked { .. } => "agent.revoked",
        }
    }
}
