//! Follows a run on its stream: stores what the agent says in batches, tells it of a cancellation, notices silence.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::future::BoxFuture;
use roadstead_contracts::Result;
use roadstead_contracts::operation::{CancelRun, CancelledRun, Ending, OperationState, RunEvent};
use roadstead_telemetry::metrics::labels::Outcome;
use roadstead_tunnel::Stream;
use tokio::time::{Instant, sleep, sleep_until};

use super::agent::{self, Lines, Said};
use super::carry::{Attempt, Carrier, is_passing};
use super::faults::Killed;
use super::record::{self, Stored};
use crate::app::conclude;
use crate::domain::life_cycle::{Input, Next};
use crate::limits::{BATCH_BYTES, BATCH_EVENTS, BATCH_WAIT, CANCEL_RETRY, DEADLINE_GRACE, SILENCE, STORE_RETRY};
use crate::store::Effects;

impl Carrier<'_> {
    /// Reads the run to its end.
    pub(super) async fn listen(&mut self, stream: Stream) -> std::result::Result<Attempt, Killed> {
        let app = self.app;
        let stopping = app.tasks.stopping();
        let sent_at = Instant::now();
        let mut lines = Lines::new(stream);
        let (mut batch, mut bytes): (Vec<RunEvent>, usize) = (Vec::new(), 0);
        let (mut flush_at, mut tell_at): (Option<Instant>, Option<Instant>) = (None, None);
        let mut telling: Option<BoxFuture<'static, Result<CancelledRun>>> = None;
        let (mut heard_at, mut progressed) = (Instant::now(), false);
        let over = sent_at + until(app.clock.now(), self.record.doc.shown.deadline + DEADLINE_GRACE);
        let (cancel, stop) = (Arc::clone(&self.handle.cancel), self.handle.stop.clone());
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(Attempt::Lost),
                said = lines.next() => match said {
                    Said::Event(event, length) => {
                        app.faults.pass("event_read")?;
                        heard_at = Instant::now();
                        let done = matches!(event, RunEvent::Done(_));
                        if let RunEvent::Accepted { .. } = event {
                            self.begun_after(sent_at);
                        }
                        if !matches!(event, RunEvent::Alive {}) {
                            progressed = true;
                            bytes += length;
                            batch.push(event);
                            flush_at.get_or_insert(heard_at + BATCH_WAIT);
                        }
                        if done {
                            app.faults.pass("ending_read")?;
                        }
                        if done || batch.len() >= BATCH_EVENTS || bytes >= BATCH_BYTES {
                            (flush_at, bytes) = (None, 0);
                            if let Some(attempt) = self.flush(&mut batch).await? {
                                return Ok(attempt);
                            }
                        }
                    }
                    Said::Refused(error) => {
                        // The same attempt is sent again: an earlier stream of it may still reach the agent.
                        return Ok(if is_passing(&error) { Attempt::Later } else { Attempt::Refused(error) });
                    }
                    Said::Broken(why) => {
                        return Ok(match self.flush(&mut batch).await? {
                            Some(attempt) => attempt,
                            None => Attempt::Broken(why, progressed),
                        });
                    }
                },
                () = at(flush_at) => {
                    (flush_at, bytes) = (None, 0);
                    if let Some(attempt) = self.flush(&mut batch).await? {
                        return Ok(attempt);
                    }
                }
                () = cancel.notified() => tell_at = Some(Instant::now()),
                () = at(tell_at) => {
                    tell_at = None;
                    if self.is_asked_to_stop().await {
                        telling = Some(self.telling());
                    }
                }
                answer = maybe(&mut telling) => {
                    telling = None;
                    match self.told(answer).await {
                        Ok(None) => {}
                        Ok(Some(attempt)) => return Ok(attempt),
                        Err(_) => tell_at = Some(Instant::now() + CANCEL_RETRY),
                    }
                }
                () = sleep_until(heard_at + SILENCE) => return Ok(Attempt::Broken("the agent is silent", progressed)),
                () = sleep_until(over) => return Ok(Attempt::Lost),
                () = stopping.cancelled() => {
                    return Ok(match self.flush(&mut batch).await? {
                        Some(attempt) => attempt,
                        None => Attempt::Stopping,
                    });
                }
            }
        }
    }

    fn begun_after(&self, sent_at: Instant) {
        if !self.record.doc.accepted {
            let label = Outcome { outcome: self.record.doc.shown.kind.as_str() };
            let waited = (self.app.clock.now() - self.record.doc.shown.created_at).to_std().unwrap_or_default();
            self.app.metrics.operation_start.get_or_create(&label).observe(waited.max(sent_at.elapsed()).as_secs_f64());
        }
    }

    /// Stores a batch. While the database is away it is tried again: what the agent said must not be lost.
    async fn flush(&mut self, batch: &mut Vec<RunEvent>) -> std::result::Result<Option<Attempt>, Killed> {
        if batch.is_empty() {
            return Ok(None);
        }
        let events = std::mem::take(batch);
        loop {
            match record::store(self.app, &self.record, &events).await {
                Ok(Stored::Late) => return Ok(Some(Attempt::Lost)),
                Ok(Stored::Now(record)) => {
                    self.record = *record;
                    self.app.faults.pass("events_stored")?;
                    if self.record.state().is_terminal() {
                        self.app.faults.pass("ending_stored")?;
                        return Ok(Some(Attempt::Ended));
                    }
                    return Ok(None);
                }
                Err(error) => {
                    tracing::warn!(operation_id = %self.record.doc.shown.id, "events were not stored: {error}");
                    tokio::select! {
                        () = self.handle.stop.cancelled() => return Ok(Some(Attempt::Lost)),
                        () = sleep(STORE_RETRY) => {}
                    }
                }
            }
        }
    }

    /// Whether the stored state still says that the agent is to be told.
    async fn is_asked_to_stop(&mut self) -> bool {
        match self.app.store.find_operation(self.record.doc.shown.id).await {
            Ok(Some(record)) => record.state() == OperationState::CancelRequested,
            Ok(None) => false,
            // It was asked for, or nobody would have woken this carrier.
            Err(_) => true,
        }
    }

    fn telling(&self) -> BoxFuture<'static, Result<CancelledRun>> {
        let app = Arc::clone(self.app);
        let shown = &self.record.doc.shown;
        let (cluster, request_id) = (shown.cluster_id, self.record.doc.request_id.clone());
        let run = CancelRun { operation_id: shown.id, epoch: shown.epoch };
        Box::pin(async move { agent::cancel(&app, cluster, &run, &request_id).await })
    }

    pub(super) async fn tell(&self) -> Result<CancelledRun> {
        self.telling().await
    }

    /// What the agent's word about a cancellation comes to.
    pub(super) async fn told(&mut self, answer: Result<CancelledRun>) -> Result<Option<Attempt>> {
        match answer? {
            CancelledRun::Stopping => self.input(Input::CancelTold, None).await,
            // Its ending comes with the run.
            CancelledRun::Ended => Ok(None),
            CancelledRun::Unknown if self.record.doc.accepted => {
                let why = "the agent does not know the operation any more";
                self.input(Input::Ended(Ending::Interrupted), Some(why)).await
            }
            CancelledRun::Unknown => self.input(Input::NeverBegun, None).await,
        }
    }

    /// Takes an input under the lease; answers the attempt's end when there is one.
    async fn input(&mut self, input: Input, why: Option<&str>) -> Result<Option<Attempt>> {
        let app = self.app;
        let change = app.own_change();
        let token = self.record.lease.token;
        let (mut lost, mut ended) = (false, false);
        let changed = app
            .store
            .change(self.record.doc.shown.id, &[], &change, &mut |record, _| {
                let mut effects = Effects::default();
                if record.lease.token != token || record.state().is_terminal() {
                    lost = true;
                    return effects;
                }
                let (next, step) = record.take(input, why, change.at);
                if matches!(next, Next::To(..)) {
                    effects.touched = true;
                    effects.steps.extend(step);
                    if record.state().is_terminal() {
                        ended = true;
                        record.doc.ended_by_agent = true;
                        conclude(app, record, &mut effects, &change);
                    }
                }
                effects
            })
            .await?;
        let Some(record) = changed.filter(|_| !lost) else { return Ok(Some(Attempt::Lost)) };
        app.committed();
        self.record = record;
        if ended {
            app.ended(&self.record);
        }
        Ok(ended.then_some(Attempt::Ended))
    }
}

fn until(now: DateTime<Utc>, then: DateTime<Utc>) -> Duration {
    (then - now).to_std().unwrap_or_default()
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => pending().await,
    }
}

async fn maybe<T>(future: &mut Option<BoxFuture<'static, T>>) -> T {
    match future {
        Some(future) => future.await,
        None => pending().await,
    }
}
