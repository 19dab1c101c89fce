//! Drift: reported by onboarding for a session of an agent, read by callers. What is not the caller's is answered as not found.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::drift::{DriftCounts, DriftReport, DriftedObject};
use crate::identity::Principal;
use crate::ids::{AgentId, ClusterId};
use crate::names::ClusterName;

/// What an agent says has drifted. Of two reports of one agent the one of the later session counts, within a session the one
/// with the greater revision; an older one is answered and changes nothing.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ReportDrift {
    /// The cluster.
    pub cluster_id: ClusterId,
    /// Its agent.
    pub agent_id: AgentId,
    /// The agent's session.
    pub epoch: i64,
    /// What it says.
    pub report: DriftReport,
}

/// What has drifted in a cluster.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct GetDrift {
    /// Who asks.
    pub principal: Principal,
    /// Id, integer or name of the cluster.
    pub cluster: String,
}

/// A drifted object, since when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drifted {
    /// What the agent says.
    #[serde(flatten)]
    pub object: DriftedObject,
    /// When the hub first heard of it.
    pub since: DateTime<Utc>,
}

/// What has drifted in a cluster, as far as the caller may read of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterDrift {
    /// The cluster.
    pub cluster_id: ClusterId,
    /// Its name.
    pub cluster_name: ClusterName,
    /// When the agent said so; none: it never said anything.
    #[serde(default)]
    pub reported_at: Option<DateTime<Utc>>,
    /// Figures of the whole cluster; of a caller who may not read all of it, of what is shown.
    pub counts: DriftCounts,
    /// Objects, by key.
    pub objects: Vec<Drifted>,
}

super::requests! {
    crate::queue::OPERATION: {
        GetDrift = "get_drift.v1" -> ClusterDrift;
    }
    crate::queue::OPERATION_CHANGE: {
        ReportDrift = "report_drift.v1" -> ();
    }
}
