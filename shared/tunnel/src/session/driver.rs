//! The one task of a session.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::time::{Instant, Sleep};

use super::{CLOSE_LIMIT, Options, Shared, code_of};
use crate::error::CloseReason;

/// Messages read in one go before the task lets others run.
const READS: usize = 32;

/// Reads, writes what could not be written through, and watches the clock. Ends with the session; dropping it cuts the
/// session off without a good-bye.
#[derive(Debug)]
pub struct Driver {
    shared: Arc<Shared>,
    options: Options,
    timer: Pin<Box<Sleep>>,
    good_bye: bool,
}

impl Driver {
    pub(super) fn new(shared: Arc<Shared>, options: Options) -> Self {
        let timer = Box::pin(tokio::time::sleep_until(shared.began + options.ping_every.min(options.silence_limit)));
        Self { shared, options, timer, good_bye: false }
    }

    /// Reads what there is. Gives `true` when it stopped although there may be more.
    fn read(&self, context: &mut Context<'_>) -> bool {
        for _ in 0..READS {
            let now_us = self.shared.now_us();
            let mut state = self.shared.lock();
            if state.ending.is_some() {
                return false;
            }
            let more = state.read_one(context, now_us);
            // One message, one lock: owners of streams get in between.
            self.shared.leave(state);
            if !more {
                return false;
            }
        }
        true
    }

    fn watch_clock(&mut self, context: &mut Context<'_>) {
        loop {
            let now = Instant::now();
            let mut state = self.shared.lock();
            let at = if self.timer.is_elapsed() || self.timer.deadline() <= now {
                let now_us = self.shared.now_us();
                // Some seconds went by: what a burst made grow can go.
                state.rest();
                state.tick(&self.options, now, now_us)
            } else {
                state.next_look(&self.options, now).min(self.timer.deadline())
            };
            self.shared.leave(state);
            if at != self.timer.deadline() {
                self.timer.as_mut().reset(at);
            }
            if self.timer.as_mut().poll(context).is_pending() {
                return;
            }
        }
    }

    /// Says good-bye, within [`CLOSE_LIMIT`].
    fn close(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.shared.lock();
        let Some(reason) = state.ending.clone() else { return Poll::Ready(()) };
        let code = code_of(&reason);
        if !std::mem::replace(&mut self.good_bye, true) {
            let told = matches!(reason, CloseReason::Remote(_) | CloseReason::Lost(_));
            if !told {
                let text = match &reason {
                    CloseReason::Local(text) | CloseReason::Moved(text) => text.clone(),
                    other => other.to_string(),
                };
                state.machine.go_away(code, &text);
            }
            self.timer.as_mut().reset(Instant::now() + CLOSE_LIMIT);
        }
        if state.machine.wants_to_transmit() || state.blocked.is_some() {
            state.pump(context, self.shared.now_us());
        }
        let unsaid = state.machine.wants_to_transmit() && state.blocked.is_some();
        // A peer that is gone, or that does not take what it is sent, is not waited for.
        let gone = matches!(reason, CloseReason::Lost(_) | CloseReason::Silent | CloseReason::SendTimeout);
        let closing = match state.transport.as_deref_mut() {
            Some(transport) if !unsaid => match transport.poll_close(code, context) {
                Poll::Ready(()) if !gone => transport.poll_drain(context),
                other => other,
            },
            Some(_) => Poll::Pending,
            None => Poll::Ready(()),
        };
        let over = closing.is_ready() || self.timer.as_mut().poll(context).is_ready();
        if over {
            state.transport = None;
        } else if state.blocked.is_none() && state.machine.wants_to_transmit() {
            context.waker().wake_by_ref();
        }
        self.shared.leave(state);
        if over { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        {
            let mut state = self.shared.lock();
            state.driver = Some(context.waker().clone());
        }
        let mut more = self.read(context);
        let mut state = self.shared.lock();
        if state.ending.is_none() {
            if state.lets_others_go() {
                more = true;
            } else {
                state.pump(context, self.shared.now_us());
            }
            state.dispatch();
        }
        self.shared.leave(state);
        self.watch_clock(context);

        let mut state = self.shared.lock();
        if state.ending.is_some() {
            drop(state);
            return self.close(context);
        }
        if state.machine.wants_to_transmit() && state.blocked.is_none() && !more {
            // The clock asked for a ping.
            state.pump(context, self.shared.now_us());
            state.dispatch();
        }
        self.shared.leave(state);
        if more {
            context.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.end(CloseReason::Cut);
        state.transport = None;
        self.shared.leave(state);
    }
}
