//! Sends the audit trail to receivers outside: in the order of the chain, at least once, from a cursor in the database. A
//! receiver that is away holds up nothing but itself, and retention removes nothing that a receiver lacks.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use roadstead_contracts::Result;
use roadstead_runtime::retry::Backoff;
use roadstead_runtime::{OnFailure, Tasks};
use roadstead_telemetry::metrics::labels::AuditSink;
use uuid::Uuid;

use super::App;
use crate::export::{Row, Sink};

/// Rows sent together: some 200 KiB as they usually are.
const BATCH: i64 = 200;
/// Bytes sent together, one row at least: collectors take a few megabytes.
const BATCH_BYTES: usize = 1024 * 1024;
/// How often it is looked for new rows.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Waits between tries while a receiver is away.
const RETRY: Backoff = Backoff { base: Duration::from_secs(1), cap: Duration::from_secs(30) };
/// How long a replica holds a receiver: longer than a batch may take, and what a replica's death delays the next by.
const HOLD: TimeDelta = TimeDelta::seconds(60);

/// What one look came to.
#[derive(Debug, PartialEq, Eq)]
enum Sent {
    /// Another replica sends to this receiver.
    Elsewhere,
    /// The receiver has everything.
    All,
    /// There is more.
    More,
}

impl App {
    /// Sends to every receiver that the settings name, until the process stops.
    pub fn keep_exporting(self: &Arc<Self>, tasks: &Tasks) {
        for sink in &self.sinks {
            let (app, sink, stopping) = (Arc::clone(self), Arc::clone(sink), tasks.stopping());
            let holder = self.ids.uuid();
            tasks.run("audit-export", OnFailure::Restart, move || {
                let (app, sink, stopping) = (Arc::clone(&app), Arc::clone(&sink), stopping.clone());
                async move {
                    let work = app.export_to(sink.as_ref(), holder);
                    if stopping.run_until_cancelled(work).await.is_none() {
                        // What was on its way is sent again by whoever is next.
                        app.store.release_export(sink.name(), holder).await?;
                    }
                    Ok(())
                }
            });
        }
    }

    async fn export_to(&self, sink: &dyn Sink, holder: Uuid) {
        let label = AuditSink { sink: sink.name() };
        let (mut failures, mut since) = (0, Instant::now());
        loop {
            let wait = match self.export_batch(sink, holder).await {
                Ok(Sent::More) => {
                    failures = 0;
                    continue;
                }
                Ok(Sent::All | Sent::Elsewhere) => {
                    failures = 0;
                    LOOK_EVERY
                }
                Err(why) => {
                    self.metrics.audit_export_failures.get_or_create(&label).inc();
                    if failures == 0 {
                        since = Instant::now();
                        tracing::warn!("the audit trail waits for its receiver {}: {why}", sink.name());
                    }
                    failures += 1;
                    RETRY.delay_after(failures, since.elapsed(), &self.ids).max(LOOK_EVERY)
                }
            };
            tokio::time::sleep(wait).await;
        }
    }

    async fn export_batch(&self, sink: &dyn Sink, holder: Uuid) -> std::result::Result<Sent, String> {
        let label = AuditSink { sink: sink.name() };
        let away = |fault: roadstead_store::Error| fault.to_string();
        let now = self.clock.now();
        let held = self.store.hold_export(sink.name(), holder, now, now + HOLD).await.map_err(away)?;
        let Some(after) = held else { return Ok(Sent::Elsewhere) };
        let head = self.store.audit_head().await.map_err(away)?;
        let behind = (head.seq - after.max(head.start.seq)).max(0);
        self.metrics.audit_export_behind.get_or_create(&label).set(behind);
        if behind == 0 {
            return Ok(Sent::All);
        }
        let stored = self.store.audit_after(after, BATCH).await.map_err(away)?;
        let (mut rows, mut bytes, mut reached) = (Vec::new(), 0, after);
        for row in stored {
            bytes += row.record.len();
            if bytes > BATCH_BYTES && reached > after {
                break;
            }
            reached = row.seq;
            if let Some(row) = Row::of(row) {
                rows.push(row);
            } else {
                // `audit verify` names it; here it must not hold up what follows.
                tracing::error!("audit row {reached} is no record any more and is not sent");
            }
        }
        if reached == after {
            return Ok(Sent::All);
        }
        if !rows.is_empty() {
            let delivered = sink.deliver(&rows).await?;
            if delivered.rejected > 0 {
                let (first, last) = (rows.first().map_or(0, |row| row.seq), reached);
                tracing::error!(
                    "{} did not want {} of the audit rows {first} to {last}",
                    sink.name(),
                    delivered.rejected
                );
            }
        }
        let moved = self.store.export_reached(sink.name(), holder, reached, self.clock.now()).await.map_err(away)?;
        if !moved {
            return Ok(Sent::Elsewhere);
        }
        self.metrics.audit_exported.get_or_create(&label).inc_by(rows.len() as u64);
        self.metrics.audit_export_behind.get_or_create(&label).set((head.seq - reached).max(0));
        Ok(if reached < head.seq { Sent::More } else { Sent::All })
    }

    /// The last row that every receiver has; retention removes nothing after it.
    pub(super) async fn exported_everywhere(&self) -> Result<i64> {
        let mut least = i64::MAX;
        for sink in &self.sinks {
            least = least.min(self.store.export_cursor(sink.name()).await?);
        }
        Ok(least)
    }
}
