//! The audit trail's way to receivers outside: syslog and OTLP. What is sent, and how a receiver says that it has it; which
//! rows are sent when stands in `app/export_audit.rs`.

mod otlp;
mod syslog;

use async_trait::async_trait;
use roadstead_contracts::audit::{AuditRecord, Ended};
use roadstead_runtime::config::Audit;
use serde_json::value::RawValue;

pub(crate) use otlp::Otlp;
pub(crate) use syslog::Syslog;

use crate::domain::audit::ChainRow;

/// Why rows did not arrive, for the log. No address, no credential.
pub(crate) type Result<T, E = String> = std::result::Result<T, E>;

/// What became of a batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Delivered {
    /// Rows that the receiver did not want, by its own word; it is not asked again.
    pub(crate) rejected: u64,
}

/// A receiver.
#[async_trait]
pub(crate) trait Sink: Send + Sync {
    /// Its name in the database and in metrics.
    fn name(&self) -> &'static str;
    /// Sends rows, oldest first. Answers once the receiver has them; whatever else happens, they are sent again.
    async fn deliver(&self, rows: &[Row]) -> Result<Delivered>;
}

/// A row as it is sent: the very line of an export, so that what a receiver keeps can be verified.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) seq: i64,
    pub(crate) record: AuditRecord,
    pub(crate) line: String,
}

impl Row {
    /// Reads a stored row. One that is no record any more goes out as it is stored: the receiver shall see it.
    pub(crate) fn of(row: ChainRow) -> Option<Self> {
        let record = serde_json::from_str(&row.record).ok()?;
        let shown = roadstead_contracts::audit::AuditRow {
            seq: row.seq,
            prev: row.prev,
            hash: row.hash,
            record: RawValue::from_string(row.record).ok()?,
        };
        let line = serde_json::to_string(&shown).ok()?;
        Some(Self { seq: row.seq, record, line })
    }

    /// How bad it is, in syslog's numbers: an error, a refusal, everything else.
    fn severity(&self) -> u8 {
        match self.record.outcome.map(|outcome| outcome.result) {
            Some(Ended::Failed) => 3,
            Some(Ended::Refused) => 4,
            Some(Ended::Succeeded | Ended::Cancelled) | None => 5,
        }
    }
}

/// Every receiver that the settings name.
pub(crate) fn sinks(audit: &Audit) -> anyhow::Result<Vec<Box<dyn Sink>>> {
    let mut sinks: Vec<Box<dyn Sink>> = Vec::new();
    if let Some(url) = &audit.syslog_url {
        sinks.push(Box::new(Syslog::new(url, audit)?));
    }
    if let Some(endpoint) = &audit.otlp_endpoint {
        sinks.push(Box::new(Otlp::new(endpoint, audit)?));
    }
    Ok(sinks)
}
