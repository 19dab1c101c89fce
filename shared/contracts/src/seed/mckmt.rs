//! Shapes of MCKMT (seed 000), base path `/api/v1`.

use serde::{Deserialize, Serialize};

/// `GET /api/v1/health`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Health {
    /// `healthy`, or `unhealthy` when the hub cannot do its main job.
    pub status: String,
    /// RFC 3339.
    pub timestamp: String,
    /// Version of the hub.
    pub version: String,
}
