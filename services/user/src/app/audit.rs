//! The audit trail: records come in and are chained, are searched and exported; checkpoints are signed, old rows removed.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use roadstead_contracts::audit::{
    Actor, AuditCheckpoint, AuditCheckpoints, AuditRecord, AuditRow, BATCH_MAX, Origin, Outcome, Resource,
};
use roadstead_contracts::identity::{Action, Principal};
use roadstead_contracts::message::{AuditRecorded, RecordAudit};
use roadstead_contracts::{Code, Error, Result};
use roadstead_runtime::{OnFailure, Tasks, kill};

use super::App;
use crate::domain::audit::{AuditFilter, EXPORT_MAX, Head, PAGE_MAX};

/// How often it is looked whether a checkpoint is due.
const CHECKPOINT_LOOK: Duration = Duration::from_secs(1);
/// How often it is looked for rows that are too old.
const PRUNE_EVERY: Duration = Duration::from_hours(1);
/// Most checkpoints of a page.
const CHECKPOINTS_MAX: u32 = 5_000;

impl App {
    /// Chains records. Those that are chained already are left out.
    pub async fn record_audit(&self, request: &RecordAudit) -> Result<AuditRecorded> {
        if u32::try_from(request.records.len()).map_or(true, |count| count > BATCH_MAX) {
            return Err(Error::of(Code::PayloadTooLarge));
        }
        if request.records.iter().any(|record| record.too_long().is_some()) {
            return Err(Error::of(Code::PayloadTooLarge));
        }
        let fresh = self.store.append_audit(&request.records).await?;
        kill::point("user.records_chained");
        Ok(AuditRecorded { fresh })
    }

    /// A page of the trail, newest first, and where the next one begins.
    pub async fn search_audit(
        &self,
        by: &Principal,
        filter: &AuditFilter,
        before: Option<i64>,
        limit: u32,
    ) -> Result<(Vec<AuditRow>, Option<i64>)> {
        self.require(by, Action::AuditRead)?;
        let limit = limit.clamp(1, PAGE_MAX);
        let rows = self.store.search_audit(filter, before.unwrap_or(i64::MAX), i64::from(limit)).await?;
        let whole = rows.len() == usize::try_from(limit).unwrap_or(usize::MAX);
        let next = rows.last().filter(|_| whole).map(|row| row.seq);
        Ok((rows.into_iter().map(crate::domain::audit::ChainRow::shown).collect::<Result<_>>()?, next))
    }

    /// Rows after a number, oldest first.
    pub async fn export_audit(&self, by: &Principal, after: i64, limit: u32) -> Result<(Head, Vec<AuditRow>)> {
        self.require(by, Action::AuditRead)?;
        let head = self.store.audit_head().await?;
        let rows = self.store.audit_after(after, i64::from(limit.clamp(1, EXPORT_MAX))).await?;
        Ok((head, rows.into_iter().map(crate::domain::audit::ChainRow::shown).collect::<Result<_>>()?))
    }

    /// Signed checkpoints after a number, oldest first.
    pub async fn audit_checkpoints(&self, by: &Principal, after: i64) -> Result<AuditCheckpoints> {
        self.require(by, Action::AuditRead)?;
        let head = self.store.audit_head().await?;
        let checkpoints = self.store.checkpoints_after(after, i64::from(CHECKPOINTS_MAX)).await?;
        Ok(AuditCheckpoints { checkpoints, key: self.checkpoint_key.public_base64url(), start: head.start })
    }

    /// Public half of the key that signs checkpoints.
    pub fn audit_key(&self) -> String {
        self.checkpoint_key.public_base64url()
    }

    /// Signs a checkpoint when one is due.
    pub async fn sign_checkpoint(&self) -> Result<Option<AuditCheckpoint>> {
        let head = self.store.audit_head().await?;
        let last = self.store.last_checkpoint().await?;
        let sealed_to = last.as_ref().map_or(0, |checkpoint| checkpoint.seq);
        if head.seq <= sealed_to {
            return Ok(None);
        }
        let now = self.clock.now();
        let many = head.seq - sealed_to >= i64::from(self.options.audit.checkpoint_rows);
        let every = TimeDelta::from_std(self.options.audit.checkpoint_every).unwrap_or(TimeDelta::minutes(1));
        let late = last.is_none_or(|checkpoint| now - checkpoint.at >= every);
        if !many && !late {
            return Ok(None);
        }
        let checkpoint = self.checkpoint_key.sign(head.seq, &head.hash, now).map_err(super::key_fault)?;
        // Another replica may have been first.
        if !self.store.insert_checkpoint(&checkpoint).await? {
            return Ok(None);
        }
        tracing::info!(
            seq = checkpoint.seq,
            hash = checkpoint.hash,
            signed = checkpoint.signed,
            "audit checkpoint of row {}",
            checkpoint.seq
        );
        if let Some(path) = self.options.audit.checkpoint_file.clone() {
            let shipped = checkpoint.clone();
            let written = tokio::task::spawn_blocking(move || ship(&path, &shipped)).await;
            if !matches!(written, Ok(Ok(()))) {
                tracing::error!("the checkpoint of row {} is not written to the file", checkpoint.seq);
            }
        }
        Ok(Some(checkpoint))
    }

    /// Removes rows that are too old, up to a checkpoint; answers how many.
    pub async fn prune_audit(&self) -> Result<u64> {
        let Some(keep) = self.options.audit.retention.and_then(|keep| TimeDelta::from_std(keep).ok()) else {
            return Ok(0);
        };
        let now = self.clock.now();
        let from = self.store.audit_head().await?.start.seq;
        let mut to = from;
        // What a receiver outside does not have yet stays, however old it is.
        let up_to = self.exported_everywhere().await?;
        while let Some(start) = self.store.prune_audit(now - keep, up_to).await? {
            to = start.seq;
        }
        let removed = u64::try_from(to - from).unwrap_or(0);
        if removed > 0 {
            tracing::info!("{removed} rows of the audit trail were removed, it begins after row {to}");
            let record = AuditRecord::outcome(
                self.ids.next(),
                now,
                Origin::request(""),
                Actor::system("retention"),
                "audit.prune",
                Resource::kind("audit"),
                Outcome::succeeded(),
            );
            let record = record.with("removed", &removed.to_string()).with("removed_to", &to.to_string());
            self.store.append_audit(&[record]).await?;
        }
        Ok(removed)
    }

    /// Signs and prunes until the process stops.
    pub fn keep_audit(self: &Arc<Self>, tasks: &Tasks) {
        let (app, stopping) = (Arc::clone(self), tasks.stopping());
        tasks.run("audit-checkpoints", OnFailure::Restart, move || {
            let (app, stopping) = (Arc::clone(&app), stopping.clone());
            async move {
                loop {
                    tokio::select! {
                        () = stopping.cancelled() => return Ok(()),
                        () = tokio::time::sleep(CHECKPOINT_LOOK) => {}
                    }
                    app.sign_checkpoint().await?;
                }
            }
        });
        if self.options.audit.retention.is_none() {
            return;
        }
        let (app, stopping) = (Arc::clone(self), tasks.stopping());
        tasks.run("audit-retention", OnFailure::Restart, move || {
            let (app, stopping) = (Arc::clone(&app), stopping.clone());
            async move {
                loop {
                    app.prune_audit().await?;
                    tokio::select! {
                        () = stopping.cancelled() => return Ok(()),
                        () = tokio::time::sleep(PRUNE_EVERY) => {}
                    }
                }
            }
        });
    }
}

/// Appends a line to the file that is shipped out.
fn ship(path: &Path, checkpoint: &AuditCheckpoint) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(checkpoint)?;
    line.push(b'\n');
    let mut file = OpenOptions::new().create(true).append(true).mode(0o640).open(path)?;
    file.write_all(&line)?;
    file.sync_data()
}
