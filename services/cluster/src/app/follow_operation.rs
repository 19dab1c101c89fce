//! One reader of an operation's steps: what happened already, then what happens, to the end. Whoever reads is looked at
//! again on the way: a right that ends, ends the reading.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use roadstead_contracts::identity::{Action, Principal};
use roadstead_contracts::ids::OperationId;
use roadstead_contracts::message::{ListOperationSteps, Operation, OperationStep, OperationSteps};
use roadstead_contracts::{Code, Error, Result};
use roadstead_http_kit::{Caller, RequestContext};
use tokio::time::{Instant, timeout_at};

use super::App;
use super::live::Place;

/// Between two looks without a word from the bus: an event may be lost. Also how soon a right that ended is noticed.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Steps read at once. They carry diffs: a message takes 1 MiB.
const STEPS: u32 = 100;

/// What a follower is told.
#[derive(Debug)]
pub(crate) enum Told {
    /// A step, in order, each once.
    Step(Box<OperationStep>),
    /// The operation as it is after the steps so far.
    Operation(Box<Operation>),
    /// The same, and it never changes again. The last word.
    End(Box<Operation>),
}

/// A reader.
pub(crate) struct Follow {
    app: Arc<App>,
    caller: Caller,
    principal: Principal,
    context: RequestContext,
    place: Place,
    operation: OperationId,
    /// The last step that was handed out.
    after: i64,
    waiting: VecDeque<Told>,
    /// There is more than was read.
    behind: bool,
    ended: bool,
}

impl App {
    /// Follows an operation from after a step on. The first look is done here, so that what is not the caller's is
    /// answered as any other question is.
    pub(crate) async fn follow_operation(
        self: Arc<Self>,
        caller: Caller,
        operation: OperationId,
        after: i64,
        context: RequestContext,
    ) -> Result<Follow> {
        let place = self.live.follow(caller.principal.user_id, operation)?;
        let principal = caller.principal.as_ref().clone();
        let waiting = VecDeque::new();
        let mut follow = Follow {
            app: self,
            caller,
            principal,
            context,
            place,
            operation,
            after,
            waiting,
            behind: false,
            ended: false,
        };
        let read = follow.ask().await?;
        let now = read.operation.clone();
        follow.take(read);
        if follow.waiting.is_empty() {
            follow.waiting.push_back(Told::Operation(Box::new(now)));
        }
        Ok(follow)
    }

    /// Waits for the end of an operation, for so long; none when it takes longer.
    pub(crate) async fn wait_for_operation(
        self: Arc<Self>,
        caller: Caller,
        operation: OperationId,
        patience: Duration,
        context: RequestContext,
    ) -> Result<Option<(Box<Operation>, Vec<OperationStep>)>> {
        let until = Instant::now() + patience;
        let mut follow = self.follow_operation(caller, operation, 0, context).await?;
        let mut steps = Vec::new();
        loop {
            match timeout_at(until, follow.next()).await {
                Ok(Some(Told::Step(step))) => steps.push(*step),
                Ok(Some(Told::Operation(_))) => {}
                Ok(Some(Told::End(operation))) => return Ok(Some((operation, steps))),
                Ok(None) | Err(_) => return Ok(None),
            }
        }
    }
}

impl Follow {
    /// What comes next; nothing after the end, when the right to read ended, or when the process stops. May be
    /// cancelled: nothing is lost.
    pub(crate) async fn next(&mut self) -> Option<Told> {
        loop {
            if let Some(told) = self.waiting.pop_front() {
                return Some(told);
            }
            if self.ended {
                return None;
            }
            if !self.behind {
                let stopping = self.place.stopping();
                tokio::select! {
                    () = stopping.cancelled() => return None,
                    () = self.place.woken() => {}
                    () = tokio::time::sleep(LOOK_EVERY) => {}
                }
                // Should this be cancelled below, the next call looks again at once.
                self.behind = true;
            }
            if let Err(error) = self.look().await {
                if matches!(error.code, Code::NotFound | Code::Forbidden | Code::InvalidCredential) {
                    return None;
                }
                // Whoever answers is away for the moment; what happens meanwhile is read later.
                self.behind = false;
                tracing::debug!("steps of an operation are not read: {error}");
            }
        }
    }

    async fn look(&mut self) -> Result<()> {
        match self.app.authentication.standing(&self.caller.proof).await {
            Ok(now)
                if roadstead_policy::gate(&now, Action::OperationsRead, self.app.clock.now()).allowed
                    && now.check_source(self.context.client).is_ok() =>
            {
                self.principal = now;
            }
            Ok(_) => return Err(Error::of(Code::Forbidden)),
            // An outage of the user service is no revocation.
            Err(error) if error.code.status() >= 500 => {}
            Err(error) => return Err(error),
        }
        let steps = self.ask().await?;
        self.take(steps);
        Ok(())
    }

    async fn ask(&self) -> Result<OperationSteps> {
        let request = ListOperationSteps {
            principal: self.principal.clone(),
            id: self.operation,
            after: self.after,
            limit: STEPS,
        };
        self.app.look_up(&request, &self.context).await
    }

    fn take(&mut self, read: OperationSteps) {
        let OperationSteps { operation, steps } = read;
        let news = !steps.is_empty();
        for step in steps {
            if step.number > self.after {
                self.after = step.number;
                self.waiting.push_back(Told::Step(Box::new(step)));
            }
        }
        self.behind = news && self.after < operation.last_step;
        // Without news there is nothing more to come of one that has ended, whatever its last step is called.
        if operation.state.is_terminal() && (self.after >= operation.last_step || !news) {
            self.ended = true;
            self.waiting.push_back(Told::End(Box::new(operation)));
        } else if news {
            self.waiting.push_back(Told::Operation(Box::new(operation)));
        }
    }
}
