//! The file of one attempt, while its run writes it.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::PathBuf;

use roadstead_contracts::operation::RunEvent;
use serde_json::Value;

use super::read::line_at;
use super::{FILE_BYTES_MAX, Record, Story, line};

/// The file of one attempt, written by its run only.
#[derive(Debug)]
pub(in crate::operations) struct Ledger {
    pub(in crate::operations) path: PathBuf,
    pub(super) file: File,
    pub(in crate::operations) story: Story,
}

/// Whether a line must be on the disk before going on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::operations) enum Keep {
    /// The kernel has it: a killed process loses nothing.
    Written,
    /// The disk has it.
    Synced,
}

impl Ledger {
    /// Adds lines. An earlier state comes alone. What could not be written whole is taken back.
    pub(in crate::operations) async fn add(&mut self, records: Vec<Record>, keep: Keep) -> io::Result<()> {
        let end = self.story.length;
        let mut text = Vec::new();
        for record in &records {
            text.extend(line(record)?);
        }
        let length = text.len() as u64;
        // Into the kernel's memory: no reason to change threads.
        if let Err(error) = self.file.write_all(&text) {
            if let Err(kept) = self.file.set_len(end) {
                tracing::warn!("a torn line stays at the end of {}: {kept}", self.path.display());
            }
            // Why it could not be written, not why it could not be taken back.
            return Err(error);
        }
        if keep == Keep::Synced {
            let file = self.file.try_clone()?;
            tokio::task::spawn_blocking(move || file.sync_data()).await.map_err(io::Error::other)??;
        }
        for record in records {
            match record {
                Record::Before { position, key, .. } => {
                    self.story.before.insert(position, end);
                    self.story.touched.extend(key.map(|key| (position, key)));
                }
                Record::Event { told: RunEvent::Object(result) } => {
                    self.story.finished.insert(result.position, result.outcome);
                }
                Record::Ended { ending } => self.story.ending = Some(ending),
                Record::Head(_) | Record::Event { .. } => {}
            }
        }
        self.story.length = end + length;
        Ok(())
    }

    /// Adds a line from where blocking is fine.
    pub(in crate::operations) fn add_now(&mut self, record: &Record) -> io::Result<()> {
        let text = line(record)?;
        self.file.write_all(&text)?;
        self.file.sync_data()?;
        self.story.length += text.len() as u64;
        if let Record::Ended { ending } = record {
            self.story.ending = Some(ending.clone());
        }
        Ok(())
    }

    /// The file, for whoever syncs it.
    pub(in crate::operations) fn file(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Whether an earlier state may still be written down.
    pub(in crate::operations) fn has_room(&self) -> bool {
        self.story.length < FILE_BYTES_MAX
    }

    /// The object as it was before this operation touched it, if it did: `Some(None)` when it was not there.
    pub(in crate::operations) async fn before(&self, position: u32) -> io::Result<Option<Option<Value>>> {
        let Some(at) = self.story.before.get(&position).copied() else { return Ok(None) };
        let path = self.path.clone();
        let record = tokio::task::spawn_blocking(move || {
            let text = line_at(&mut File::open(path)?, at)?;
            serde_json::from_slice::<Record>(&text).map_err(io::Error::other)
        })
        .await
        .map_err(io::Error::other)??;
        match record {
            Record::Before { object, .. } => Ok(Some(object)),
            _ => Err(io::Error::other("the ledger's line is another one")),
        }
    }
}
