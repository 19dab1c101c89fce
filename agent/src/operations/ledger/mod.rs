//! What the agent remembers of operations, on disk: one file per operation and attempt, lines of JSON that are only added.
//!
//! An object's earlier state is written before the object is touched, its result before anybody hears of it. A process that is
//! killed loses nothing of it; of a machine that loses its power at most the earlier state of the one object at hand (results
//! are on the disk before they are told, earlier states only in the kernel's hands). A last line that was cut off is dropped;
//! a file that holds something else is set aside under another name.
//!
//! Earlier states may hold what is in Secrets: the folder and its files are for the agent's user only.
//!
//! Here is what a line says; [`folder`] has the files, [`file`](mod@file) writes one, [`read`](mod@read) reads it back.

mod file;
mod folder;
mod read;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;

use roadstead_contracts::ids::OperationId;
use roadstead_contracts::operation::{ObjectKey, ObjectOutcome, OperationKind, RunEnding, RunEvent};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub(super) use file::{Keep, Ledger};
pub(super) use folder::{Folder, Found};
pub(super) use read::read;

/// Bytes of one file; above it earlier states are left out, and the operation cannot be undone whole.
const FILE_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// First line of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    pub(super) operation_id: OperationId,
    pub(super) epoch: i64,
    pub(super) kind: OperationKind,
    /// Over the work and its body: the same attempt with another content is another person's mistake.
    pub(super) digest: String,
    /// Who it is done as.
    pub(super) user: String,
    /// Objects in all.
    pub(super) objects: u32,
}

/// A line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "record")]
pub(super) enum Record {
    Head(Head),
    /// An object as it is before it is touched; none = it is not there.
    Before {
        position: u32,
        object: Option<Value>,
        /// Which object, where the order does not say it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<ObjectKey>,
    },
    /// Told to the hub, in this order.
    Event {
        told: RunEvent,
    },
    Ended {
        ending: RunEnding,
    },
}

/// What a file says, without the objects themselves.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Story {
    pub(super) head: Option<Head>,
    /// Outcomes of the finished objects.
    pub(super) finished: BTreeMap<u32, ObjectOutcome>,
    /// Objects that were found on the way, and not in the order.
    pub(super) touched: BTreeMap<u32, ObjectKey>,
    /// Where the earlier states of objects stand.
    before: BTreeMap<u32, u64>,
    pub(super) ending: Option<RunEnding>,
    /// Bytes of whole lines.
    pub(super) length: u64,
}

/// The file is not a ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Damaged;

fn line(record: &Record) -> io::Result<Vec<u8>> {
    let mut text = serde_json::to_vec(record).map_err(io::Error::other)?;
    text.push(b'\n');
    Ok(text)
}
