//! Carries one operation: has it signed, opens the stream, sends it, follows what comes back (`follow.rs`), re-opens what
//! breaks. The steps are in the order in which a crash between any two of them does no harm: the attempt is stored before it is
//! sent, every event before anything is done because of it, the ending before the agent may forget it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use roadstead_auth::identity::operation_digest;
use roadstead_bus::CallContext;
use roadstead_contracts::ids::OperationId;
use roadstead_contracts::message::{SignOperation, SignedOperation, StepKind};
use roadstead_contracts::operation::{OperationState, RunOperation};
use roadstead_contracts::{Code, Error, Result};
use roadstead_relay::digest;
use roadstead_runtime::retry::Backoff;
use roadstead_telemetry::metrics::labels::Outcome;
use tokio::time::sleep;

use super::agent;
use super::faults::Killed;
use super::find::wake;
use super::running::Handle;
use super::settle;
use crate::app::{App, conclude, load_body};
use crate::domain::Record;
use crate::domain::life_cycle::{AWAY, Input, Next};
use crate::limits::{ASK, AWAY_RETRY, LOOK_LIMIT, ORDER_SECONDS, REOPEN_BASE, REOPEN_CAP, REOPEN_TRIES, SOON_RETRY};
use crate::store::Effects;

/// How a carrier leaves an operation.
enum Exit {
    /// It has ended.
    Ended,
    /// It is somebody else's, or ended elsewhere.
    Lost,
    /// It is laid aside.
    Rest(Duration),
}

/// How one attempt at the stream went.
pub(super) enum Attempt {
    /// The operation has ended.
    Ended,
    /// It is somebody else's.
    Lost,
    /// It could not be begun; nothing was sent.
    NotBegun(Error),
    /// The stream broke after it was begun; whether something came on it.
    Broken(&'static str, bool),
    /// The agent has no place for it now, or what it was begun with may no longer be so.
    Later,
    /// It will never go.
    Refused(Error),
    /// The process stops.
    Stopping,
}

/// One operation in the hands of this process.
pub(super) struct Carrier<'a> {
    pub(super) app: &'a Arc<App>,
    pub(super) record: Record,
    pub(super) handle: Handle,
}

/// Carries an operation that this process has just leased.
pub(super) async fn carry(app: &Arc<App>, record: Record) {
    let (id, token, cluster) = (record.doc.shown.id, record.lease.token, record.doc.shown.cluster_id);
    let Some(handle) = app.running.begin(id, token, cluster) else {
        // Its carrier here was told to stop; the lease must not stand for it until it runs out.
        return lay_aside(app, id, token, SOON_RETRY).await;
    };
    let mut carrier = Carrier { app, record, handle };
    let exit = carrier.run().await;
    app.running.leave(id, token);
    match exit {
        Err(Killed) | Ok(Exit::Lost) => {}
        Ok(Exit::Rest(pause)) => {
            lay_aside(app, id, token, pause).await;
            // Its return fell between the last look for it and here, where nothing was laid aside yet that it could wake.
            if carrier.handle.has_returned()
                && let Err(fault) = wake(app, cluster).await
            {
                tracing::warn!(cluster_id = %cluster, "a queue was not woken: {fault}");
            }
        }
        Ok(Exit::Ended) => {
            if let Err(error) = settle(app, &carrier.record).await {
                tracing::debug!(operation_id = %id, cluster_id = %cluster, "an ending was not settled yet: {error}");
            }
            // Where a test lets the process die there is nothing left to do.
            let _ = app.faults.pass("settled");
        }
    }
    app.running.end(id, token);
}

/// Gives a lease back. When this fails it runs out.
async fn lay_aside(app: &App, id: OperationId, token: i64, pause: Duration) {
    if let Err(fault) = app.store.rest(id, token, app.clock.now(), pause).await {
        tracing::warn!(operation_id = %id, "an operation was not laid aside: {fault}");
    }
}

impl Carrier<'_> {
    async fn run(&mut self) -> std::result::Result<Exit, Killed> {
        self.app.faults.pass("claimed")?;
        let backoff = Backoff { base: REOPEN_BASE, cap: REOPEN_CAP };
        let mut tries = 0;
        loop {
            let attempt = self.attempt().await?;
            let outcome = match &attempt {
                Attempt::Ended => "ended",
                Attempt::Lost => "lost",
                Attempt::NotBegun(_) => "not_begun",
                Attempt::Broken(..) => "broken",
                Attempt::Later => "later",
                Attempt::Refused(_) => "refused",
                Attempt::Stopping => "stopping",
            };
            self.app.metrics.operation_dispatches.get_or_create(&Outcome { outcome }).inc();
            match attempt {
                Attempt::Ended => return Ok(Exit::Ended),
                Attempt::Lost => return Ok(Exit::Lost),
                Attempt::Stopping => return Ok(Exit::Rest(Duration::ZERO)),
                Attempt::Later => return Ok(Exit::Rest(SOON_RETRY)),
                Attempt::Refused(error) => return Ok(self.refuse(error).await),
                Attempt::NotBegun(error) => return Ok(self.not_begun(&error).await),
                Attempt::Broken(why, progressed) => {
                    tracing::debug!(operation_id = %self.record.doc.shown.id, "the run's stream broke: {why}");
                    tries = if progressed { 0 } else { tries + 1 };
                    if tries >= REOPEN_TRIES {
                        return Ok(Exit::Rest(AWAY_RETRY));
                    }
                    tokio::select! {
                        () = self.handle.stop.cancelled() => return Ok(Exit::Lost),
                        () = self.handle.returned.notified() => {}
                        () = sleep(backoff.delay(tries, &self.app.ids)) => {}
                    }
                }
            }
        }
    }

    /// Tries to have it done to its end.
    async fn attempt(&mut self) -> std::result::Result<Attempt, Killed> {
        let app = self.app;
        let looked = app.clock.now();
        if self.handle.stop.is_cancelled() {
            return Ok(Attempt::Lost);
        }
        if app.tasks.stopping().is_cancelled() {
            return Ok(Attempt::Stopping);
        }
        if self.record.state() == OperationState::CancelRequested {
            let answer = self.tell().await;
            match self.told(answer).await {
                Ok(None) => {}
                Ok(Some(attempt)) => return Ok(attempt),
                Err(_) => return Ok(Attempt::Broken("the agent could not be told of the cancellation", false)),
            }
        }
        let queued = self.record.state() == OperationState::Queued;
        let away = |error: Error| {
            if queued { Attempt::NotBegun(error) } else { Attempt::Broken("the agent is not reached", false) }
        };
        let (run, body, assertion) = match self.order().await {
            Ok(order) => order,
            Err(error) if is_passing(&error) => return Ok(away(error)),
            Err(error) => return Ok(Attempt::Refused(error)),
        };
        app.faults.pass("order_signed")?;
        if app.clock.now() - looked > LOOK_LIMIT {
            return Ok(Attempt::Later);
        }
        let shown = &self.record.doc.shown;
        let limit = Duration::from_secs(u64::from(run.deadline_seconds)) + Duration::from_secs(60);
        let mut stream =
            match agent::open_run(app, shown.cluster_id, limit, &self.record.doc.request_id, assertion).await {
                Ok(stream) => stream,
                Err(error) if is_passing(&error) => return Ok(away(error)),
                Err(error) => return Ok(Attempt::Refused(error)),
            };
        app.faults.pass("stream_open")?;
        if queued {
            match self.dispatched(run.epoch).await {
                Ok(true) => {}
                Ok(false) => return Ok(Attempt::Lost),
                Err(error) => return Ok(Attempt::NotBegun(error)),
            }
            app.faults.pass("dispatched_stored")?;
        }
        if agent::send(&mut stream, &run, &body).await.is_err() {
            return Ok(Attempt::Broken("the order was not sent", false));
        }
        app.faults.pass("order_sent")?;
        self.listen(stream).await
    }

    /// The order, signed for this attempt, and its body.
    async fn order(&self) -> Result<(RunOperation, Bytes, String)> {
        let (app, record) = (self.app, &self.record);
        let shown = &record.doc.shown;
        let epoch = if record.state() == OperationState::Queued { shown.epoch + 1 } else { shown.epoch };
        let left = (shown.deadline - app.clock.now()).num_seconds();
        let Some(left) = u32::try_from(left).ok().filter(|left| *left > 0) else {
            // Ends it as timed out before long.
            return Err(Error::of(Code::Timeout));
        };
        let body = load_body(app, record.doc.body.as_ref()).await?;
        let body_sha256 = record.doc.body.as_ref().map_or_else(|| digest(b""), |body| body.sha256.clone());
        let claim = operation_digest(&shown.work, &body_sha256).map_err(|_| Error::of(Code::Internal))?;
        let request = SignOperation {
            user_id: shown.created_by,
            operation_id: shown.id,
            epoch,
            cluster_id: shown.cluster_id,
            owner: record.doc.cluster_owner == Some(shown.created_by),
            scope: record.doc.scope.clone(),
            digest: claim,
            lifetime_seconds: left.min(ORDER_SECONDS),
            cluster: Some(record.facts()),
            changes: record.doc.changes.clone(),
        };
        let context = CallContext::new(ASK, &record.doc.request_id);
        let SignedOperation { order, assertion } = app.bus.call(&request, &context).await?;
        let run = RunOperation {
            operation_id: shown.id,
            cluster_id: shown.cluster_id,
            epoch,
            work: shown.work.clone(),
            body_length: body.len() as u64,
            body_sha256,
            deadline_seconds: left,
            only: record.doc.only.clone(),
            order,
            stored: record.doc.stored,
            begun: record.doc.accepted,
            sent: record.state() != OperationState::Queued,
        };
        Ok((run, body, assertion))
    }

    /// Stores the attempt before anything of it is sent; `false` when it is not ours to send any more.
    async fn dispatched(&mut self, epoch: i64) -> Result<bool> {
        let app = self.app;
        let change = app.own_change();
        let token = self.record.lease.token;
        let mut ours = false;
        let changed = app
            .store
            .change(self.record.doc.shown.id, &[], &change, &mut |record, _| {
                let mut effects = Effects::default();
                if record.lease.token != token || record.doc.shown.epoch + 1 != epoch {
                    return effects;
                }
                let (next, step) = record.take(Input::Dispatched, None, change.at);
                if matches!(next, Next::To(..)) {
                    ours = true;
                    effects.touched = true;
                    effects.steps.extend(step);
                    record.doc.intent = Some(app.ids.next());
                    effects.audit.push(app.run_intent(record, &change));
                }
                effects
            })
            .await?;
        if let Some(record) = changed.filter(|_| ours) {
            app.committed();
            self.record = record;
        }
        Ok(ours)
    }

    /// It cannot be done, now or ever.
    async fn refuse(&mut self, error: Error) -> Exit {
        let app = self.app;
        let change = app.own_change();
        let token = self.record.lease.token;
        let mut ended = false;
        let changed = app
            .store
            .change(self.record.doc.shown.id, &[], &change, &mut |record, _| {
                let mut effects = Effects::default();
                if record.lease.token != token {
                    return effects;
                }
                let (next, step) = record.take(Input::Refused, Some(&error.detail), change.at);
                if matches!(next, Next::To(..)) {
                    ended = true;
                    effects.touched = true;
                    effects.steps.extend(step);
                    record.doc.shown.error = Some(error.clone());
                    conclude(app, record, &mut effects, &change);
                }
                effects
            })
            .await;
        match changed {
            Ok(Some(record)) if ended => {
                app.committed();
                app.ended(&record);
                self.record = record;
                // An agent that has it is told to stop first; what never reached one has nobody to tell.
                if self.record.settle_at.is_some() { Exit::Ended } else { Exit::Lost }
            }
            Ok(_) => Exit::Lost,
            Err(fault) => {
                tracing::warn!(operation_id = %self.record.doc.shown.id, "a refusal was not stored: {fault}");
                Exit::Rest(SOON_RETRY)
            }
        }
    }

    /// Nothing was sent: it waits in the queue, and its cluster's others with it when the agent is away.
    async fn not_begun(&mut self, error: &Error) -> Exit {
        let app = self.app;
        let away = error.code == Code::AgentOffline;
        let pause = if away { AWAY_RETRY } else { SOON_RETRY };
        let change = app.own_change();
        let token = self.record.lease.token;
        let shown = &self.record.doc.shown;
        let (id, cluster) = (shown.id, shown.cluster_id);
        let stored = app
            .store
            .change(id, &[], &change, &mut |record, _| {
                let mut effects = Effects::default();
                if record.lease.token != token {
                    return effects;
                }
                if record.state() == OperationState::Queued && away && record.doc.shown.reason != AWAY {
                    // Told once, not at every look.
                    AWAY.clone_into(&mut record.doc.shown.reason);
                    let state = OperationState::Queued;
                    effects.steps.push(StepKind::State { state, reason: AWAY.to_owned() });
                    effects.touched = true;
                }
                effects
            })
            .await;
        if let Err(fault) = stored {
            tracing::warn!(operation_id = %id, "a reason was not stored: {fault}");
        }
        app.committed();
        if away && let Err(fault) = app.store.park(cluster, change.at, pause).await {
            tracing::warn!(cluster_id = %cluster, "a queue was not laid aside: {fault}");
        }
        Exit::Rest(pause)
    }
}

/// Errors that go by themselves.
pub(super) fn is_passing(error: &Error) -> bool {
    matches!(
        error.code,
        Code::AgentOffline
            | Code::AgentBusy
            | Code::Unavailable
            | Code::StorageUnavailable
            | Code::AuditUnavailable
            | Code::Timeout
            | Code::Expired
            | Code::RateLimited
    )
}
