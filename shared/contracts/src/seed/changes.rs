//! Changes on the queues that peers of the seeds may use: `cluster_manifest_*` and `cluster_cancellation_*`. The seeds name
//! these queues by the rule of their others, so their bodies follow the same pattern: `request_id`
//! correlates, `result` or `error` answers, and words are seed 000's.

use serde::{Deserialize, Serialize};

/// Body on `cluster_manifest_requests`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ManifestRequest {
    /// Correlates request and result; the same one again within a day is the same operation.
    pub request_id: String,
    /// The cluster: id, or the id of its agent.
    #[serde(default)]
    pub cluster_id: Option<String>,
    /// The agent, as on the seeds' other queues.
    #[serde(default)]
    pub agent_id: Option<String>,
    /// `apply-manifests`, or left out.
    #[serde(default)]
    pub command: Option<String>,
    /// YAML or JSON documents.
    pub manifests: String,
    /// For objects that name none.
    #[serde(default)]
    pub namespace: Option<String>,
    /// Only ask.
    #[serde(default)]
    pub dry_run: bool,
    /// The sender's monotonic clock; meaningless here.
    #[serde(default)]
    pub timestamp: f64,
}

/// Body on `cluster_manifest_results`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ManifestResult {
    /// From the request.
    pub request_id: String,
    /// The operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation_id: Option<String>,
    /// `queued`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// Seed 000's sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Why not, or null.
    pub error: Option<String>,
}

/// Body on `cluster_cancellation_requests`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CancellationRequest {
    /// Correlates request and result.
    pub request_id: String,
    /// The operation.
    pub operation_id: String,
    /// Why.
    #[serde(default)]
    pub reason: String,
    /// The sender's monotonic clock; meaningless here.
    #[serde(default)]
    pub timestamp: f64,
}

/// Body on `cluster_cancellation_results`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CancellationResult {
    /// From the request.
    pub request_id: String,
    /// The operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation_id: Option<String>,
    /// `cancelled` or `cancelling`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// Seed 000's sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Why not, or null.
    pub error: Option<String>,
}
