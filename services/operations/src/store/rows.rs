//! Rows, and what they mean.

use chrono::{DateTime, Utc};
use roadstead_contracts::ids::{ReplicaId, TypedId as _};
use roadstead_contracts::message::{OperationStep, StepKind};
use roadstead_contracts::operation::{ObjectKey, ObjectOutcome};
use roadstead_store::sqlx::FromRow;
use roadstead_store::sqlx::types::Json;
use roadstead_store::{Error, Result};
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::{NewObject, StoredObject};
use crate::domain::{Doc, Lease, Record, scrub};

/// Columns of [`Row`].
macro_rules! select_operations {
    () => {
        "SELECT o.seq, o.doc, o.lease_holder, o.lease_token, o.lease_until, o.next_try_at, o.settle_at, o.sealed_webhook FROM operations o "
    };
}
pub(super) use select_operations;

#[derive(Debug, FromRow)]
pub(super) struct Row {
    seq: i64,
    doc: Json<Doc>,
    lease_holder: Option<Uuid>,
    lease_token: i64,
    lease_until: Option<DateTime<Utc>>,
    next_try_at: DateTime<Utc>,
    settle_at: Option<DateTime<Utc>>,
    sealed_webhook: Option<String>,
}

impl From<Row> for Record {
    fn from(row: Row) -> Self {
        let mut doc = row.doc.0;
        doc.shown.seq = row.seq;
        Self {
            doc,
            lease: Lease {
                holder: row.lease_holder.map(ReplicaId::from_uuid),
                token: row.lease_token,
                until: row.lease_until,
            },
            next_try_at: row.next_try_at,
            sealed_webhook: row.sealed_webhook,
            settle_at: row.settle_at,
        }
    }
}

#[derive(Debug, FromRow)]
pub(super) struct StepRow {
    number: i64,
    at: DateTime<Utc>,
    what: Json<StepKind>,
}

impl From<StepRow> for OperationStep {
    fn from(row: StepRow) -> Self {
        Self { number: row.number, at: row.at, what: row.what.0 }
    }
}

#[derive(Debug, FromRow)]
pub(super) struct ObjectRow {
    position: i64,
    key: Json<ObjectKey>,
    outcome: String,
    undoable: bool,
    existed: bool,
    left_version: Option<String>,
}

impl TryFrom<ObjectRow> for StoredObject {
    type Error = Error;

    fn try_from(row: ObjectRow) -> Result<Self> {
        let outcome: ObjectOutcome = serde_json::from_value(Value::String(row.outcome.clone()))
            .map_err(|_| Error::Corrupt(format!("outcome {:?}", row.outcome)))?;
        Ok(Self {
            position: u32::try_from(row.position).map_err(|_| Error::Corrupt("a negative position".to_owned()))?,
            key: row.key.0,
            outcome,
            undoable: row.undoable,
            existed: row.existed,
            left_version: row.left_version,
        })
    }
}

/// A row of `objects` inside a JSON parameter.
#[derive(Serialize)]
struct ObjectJson<'a> {
    position: u32,
    key: &'a ObjectKey,
    outcome: ObjectOutcome,
    undoable: u8,
    existed: u8,
    left_version: &'a Option<String>,
}

/// A row of `object_parts` inside a JSON parameter.
#[derive(Serialize)]
struct PartJson<'a> {
    position: u32,
    part: usize,
    sealed: &'a str,
}

/// A value as it is stored.
pub(super) fn json(value: &impl Serialize) -> Result<Json<Value>> {
    let mut value = serde_json::to_value(value).map_err(|fault| Error::Corrupt(fault.to_string()))?;
    scrub(&mut value);
    Ok(Json(value))
}

pub(super) fn objects_json(objects: &[NewObject]) -> Result<(Json<Value>, Json<Value>)> {
    let rows: Vec<_> = objects
        .iter()
        .map(|object| ObjectJson {
            position: object.position,
            key: &object.key,
            outcome: object.outcome,
            undoable: u8::from(object.undoable),
            existed: u8::from(object.existed),
            left_version: &object.left_version,
        })
        .collect();
    let parts: Vec<_> = objects
        .iter()
        .flat_map(|object| {
            let position = object.position;
            object.sealed_before.iter().enumerate().map(move |(part, sealed)| PartJson { position, part, sealed })
        })
        .collect();
    Ok((json(&rows)?, json(&parts)?))
}

pub(super) fn total(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}

pub(super) fn hex(id: Uuid) -> String {
    id.simple().to_string()
}
