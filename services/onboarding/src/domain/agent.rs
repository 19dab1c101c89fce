//! An agent of the registry.

use chrono::{DateTime, Utc};
use roadstead_contracts::identity::Principal;
use roadstead_contracts::ids::{AgentId, ReplicaId, UserId};
use roadstead_contracts::message::Agent;

/// How an agent comes to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum AgentKind {
    /// Enrolled with a key pair, dials the tunnel.
    Tunnel,
    /// Of the seeds: JSON texts, proved by an API key.
    Seed,
    /// Runs inside this process.
    Hosted,
}

impl AgentKind {
    /// The word in the database.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Tunnel => "tunnel",
            Self::Seed => "seed",
            Self::Hosted => "hosted",
        }
    }

    /// Reads the word.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        [Self::Tunnel, Self::Seed, Self::Hosted].into_iter().find(|kind| kind.as_str() == text)
    }
}

/// An agent with what only its own service needs.
#[derive(Debug, Clone)]
pub(crate) struct AgentRecord {
    /// As shown.
    pub agent: Agent,
    /// Its id.
    pub id: AgentId,
    /// How it comes.
    pub kind: AgentKind,
    /// Whose it is.
    pub owner_id: Option<UserId>,
    /// The replica that holds its session, when that replica is alive.
    pub replica: Option<ReplicaId>,
    /// Public key with which it proves itself.
    pub public_key: Option<String>,
}

impl AgentRecord {
    /// Whether it exists for the caller: with a cluster as that cluster does, without one for its owner.
    pub(crate) fn visible_to(&self, principal: &Principal, now: DateTime<Utc>) -> bool {
        match &self.agent.cluster {
            Some(cluster) => roadstead_policy::sees(principal, cluster, now),
            None if principal.is_cluster_bound() => false,
            None => {
                self.owner_id == Some(principal.user_id)
                    || matches!(principal.reach, roadstead_contracts::identity::Reach::All)
            }
        }
    }
}
