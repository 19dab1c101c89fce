//! The chain that the records are kept in, as it is exported. How rows are hashed and checkpoints signed is in
//! `auth::audit`.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Number of the export's form.
pub const EXPORT_FORM: u32 = 1;

/// One row. The record's text is kept exactly as it was hashed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AuditRow {
    /// Number in the chain, from 1.
    pub seq: i64,
    /// Hash of the row before, hex.
    pub prev: String,
    /// Hash of this row, hex.
    pub hash: String,
    /// The record.
    pub record: Box<RawValue>,
}

/// A signed statement that the chain had this hash at this row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditCheckpoint {
    /// Number of the row.
    pub seq: i64,
    /// Its hash, hex.
    pub hash: String,
    /// When it was signed.
    pub at: DateTime<Utc>,
    /// The statement: a JWS by the checkpoint key.
    pub signed: String,
}

/// Where a chain begins: after the last row that retention removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditStart {
    /// Number of that row; 0 when every row is there.
    pub seq: i64,
    /// Its hash, hex.
    pub hash: String,
}

/// Checkpoints, oldest first, with what is needed to check them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditCheckpoints {
    /// The checkpoints.
    pub checkpoints: Vec<AuditCheckpoint>,
    /// Public key that signs them, base64url of 32 bytes.
    pub key: String,
    /// Where the chain begins.
    pub start: AuditStart,
}

/// A line of an export: the first is the head, rows and checkpoints follow in the order of their numbers.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum ExportLine {
    /// A row.
    Row(AuditRow),
    /// A checkpoint of the row before it, or of an earlier one.
    Checkpoint(CheckpointLine),
    /// The first line.
    Head(ExportHead),
}

/// A checkpoint on a line of its own.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CheckpointLine {
    /// It.
    pub checkpoint: AuditCheckpoint,
}

/// The first line of an export.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ExportHead {
    /// [`EXPORT_FORM`].
    pub roadstead_audit: u32,
    /// When it was exported.
    pub exported_at: DateTime<Utc>,
    /// Public key of the checkpoints.
    pub key: String,
    /// The row that the first exported one follows.
    pub after: AuditStart,
}

impl ExportLine {
    /// Reads a line. Not by derive: serde copies what it tries several shapes on, and a row's text must stay as it is.
    pub fn parse(line: &str) -> serde_json::Result<Self> {
        let row = match serde_json::from_str(line) {
            Ok(row) => return Ok(Self::Row(row)),
            Err(fault) => fault,
        };
        if let Ok(checkpoint) = serde_json::from_str(line) {
            return Ok(Self::Checkpoint(checkpoint));
        }
        serde_json::from_str(line).map(Self::Head).map_err(|_| row)
    }
}
