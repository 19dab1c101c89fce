//! Where an agent's session is.

use chrono::{DateTime, TimeDelta, Utc};
use roadstead_contracts::ids::{AgentId, ReplicaId};

/// Where the session of a cluster's agent is, or was.
#[derive(Debug, Clone)]
pub(crate) struct Whereabouts {
    pub agent: AgentId,
    pub epoch: i64,
    pub last_seen_at: Option<DateTime<Utc>>,
    /// The replica that holds the session, when there is one.
    pub replica: Option<ReplicaId>,
    /// Where members of the mesh reach that replica.
    pub address: Option<String>,
}

/// An agent that was here this recently is probably on its way back: a rollout of the hub, a pod that moved.
const RECENT: TimeDelta = TimeDelta::seconds(30);

impl Whereabouts {
    /// Whether waiting for it makes sense.
    pub(crate) fn may_come_back(&self, now: DateTime<Utc>) -> bool {
        self.last_seen_at.is_some_and(|seen| now - seen < RECENT)
    }
}
