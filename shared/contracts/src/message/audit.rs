//! The audit trail's message: to the user service, which chains the records.

use serde::{Deserialize, Serialize};

use crate::audit::AuditRecord;

/// Chains records. Again is the same as once: records have ids. At most [`crate::audit::BATCH_MAX`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordAudit {
    /// In the order in which they were written.
    pub records: Vec<AuditRecord>,
}

/// The records are in the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRecorded {
    /// Those that were not in it before.
    pub fresh: u32,
}

super::requests! {
    crate::queue::AUDIT_RECORD: {
        RecordAudit = "record_audit.v1" -> AuditRecorded;
    }
}
