//! The audit trail as it is kept and asked for.

use chrono::{DateTime, Utc};
use roadstead_contracts::audit::{AuditRow, AuditStart};
use roadstead_contracts::{Code, Error, Result};
use serde_json::value::RawValue;

/// Most rows of a page of a search.
pub const PAGE_MAX: u32 = 1_000;
/// Most rows of a page of an export: with the longest records some ten megabytes, with usual ones three.
pub const EXPORT_MAX: u32 = 5_000;

/// Which rows are asked for. Everything that is set must match.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Action, or its beginning with a `*` at the end: `cluster.*`.
    pub action: Option<String>,
    /// Name or id of the actor.
    pub actor: Option<String>,
    /// Kind of the resource.
    pub resource_kind: Option<String>,
    /// Name or id of the resource.
    pub resource: Option<String>,
    /// Id of the cluster.
    pub cluster_id: Option<String>,
    /// Namespace.
    pub namespace: Option<String>,
    /// `intent` or `outcome`.
    pub phase: Option<String>,
    /// `succeeded`, `refused` or `failed`.
    pub outcome: Option<String>,
    /// Address of the client.
    pub source: Option<String>,
    /// The request's id.
    pub request_id: Option<String>,
    /// At this time or later.
    pub since: Option<DateTime<Utc>>,
    /// Before this time.
    pub until: Option<DateTime<Utc>>,
}

/// One row as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainRow {
    /// Number.
    pub seq: i64,
    /// Hash of the row before.
    pub prev: String,
    /// Its hash.
    pub hash: String,
    /// The record's text.
    pub record: String,
}

impl ChainRow {
    /// The row as it is shown.
    pub fn shown(self) -> Result<AuditRow> {
        let record = RawValue::from_string(self.record).map_err(|fault| {
            tracing::error!("audit row {} is no JSON any more: {fault}", self.seq);
            Error::of(Code::IntegrityError)
        })?;
        Ok(AuditRow { seq: self.seq, prev: self.prev, hash: self.hash, record })
    }
}

/// Where the chain ends and begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Number of the last row; 0 when there never was one.
    pub seq: i64,
    /// Its hash.
    pub hash: String,
    /// After which row it begins.
    pub start: AuditStart,
}
