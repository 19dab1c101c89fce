//! A live session: a machine, a transport, and one task that drives both.
//!
//! The task reads, hands frames to the machine and never waits for a stream. Who writes to a stream writes through to the
//! transport in the same call when the transport is idle and was for a moment; else the task takes over, after everybody
//! else who is ready has had a turn, so that many streams share one system call. Everything sits behind one lock that is
//! held for one message or one batch at a time.

mod driver;
mod incoming;
mod state;
mod stream;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use bytes::Bytes;
use roadstead_runtime::{Ids, Tasks};
use tokio::sync::Notify;
use tokio::time::Instant;

pub use driver::Driver;
pub use incoming::{Event, Incoming};
pub use stream::{Stream, StreamReset, Writer};

pub use crate::machine::Role;

use crate::error::{CloseReason, Error, Result};
use crate::frame::{Class, Code};
use crate::machine::Counters;
use crate::machine::limits::STREAMS_MAX;
use crate::transport::Transport;
use state::State;

/// The hub asks "are you there?" after this much quiet, give or take [`PING_JITTER`]: a lost ping still leaves time for
/// a second one before [`SILENCE_LIMIT`].
pub const PING_EVERY: Duration = Duration::from_secs(8);
/// Each session draws its own interval, so that 10,000 of them do not ping together.
pub const PING_JITTER: Duration = Duration::from_millis(1_500);
/// Nothing heard for this long is death (reliability rows F11, W07).
pub const SILENCE_LIMIT: Duration = Duration::from_secs(20);
/// A peer that takes not one byte for this long is dead (reliability row W07).
pub const SEND_LIMIT: Duration = Duration::from_secs(10);
/// How long a good-bye may take.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

/// Settings of one session.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Quiet before a ping. Only the hub pings.
    pub ping_every: Duration,
    /// Silence that ends the session.
    pub silence_limit: Duration,
    /// Time without progress in sending that ends the session.
    pub send_limit: Duration,
    /// Streams that each side may have open.
    pub streams_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { ping_every: PING_EVERY, silence_limit: SILENCE_LIMIT, send_limit: SEND_LIMIT, streams_max: STREAMS_MAX }
    }
}

impl Options {
    /// The defaults with this session's own ping interval.
    pub fn jittered(ids: &Ids) -> Self {
        let early = PING_EVERY.saturating_sub(PING_JITTER);
        Self { ping_every: early + ids.jitter(PING_JITTER * 2), ..Self::default() }
    }
}

#[derive(Debug)]
pub(crate) struct Shared {
    state: Mutex<State>,
    /// Sessions and the [`Incoming`]; the last one that goes ends the session.
    handles: AtomicUsize,
    closed: Notify,
    began: Instant,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Does something with the state as one of its owners: writes through what came of it, then wakes who waits.
    fn act<T>(&self, work: impl FnOnce(&mut State, u64) -> T) -> T {
        let now_us = self.now_us();
        let mut state = self.lock();
        let result = work(&mut state, now_us);
        state.write_through(now_us);
        self.leave(state);
        result
    }

    /// The same for what more follows at once, or nobody waits for: it goes with the next write, at the latest with the
    /// driver's next turn.
    fn act_soon<T>(&self, work: impl FnOnce(&mut State, u64) -> T) -> T {
        let now_us = self.now_us();
        let mut state = self.lock();
        let result = work(&mut state, now_us);
        state.write_soon(now_us);
        self.leave(state);
        result
    }

    /// Unlocks, then wakes.
    fn leave(&self, mut state: MutexGuard<'_, State>) {
        let wakers = state.take_wakers();
        let ended = std::mem::take(&mut state.tell_end);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
        if ended {
            self.closed.notify_waiters();
        }
    }

    fn end(&self, reason: CloseReason) {
        self.act(|state, _| state.end(reason));
    }

    fn let_go(&self) {
        if self.handles.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.end(CloseReason::Dropped);
        }
    }
}

/// A session. Clones are the same session; it ends with [`Session::close`], with the peer, or with the last clone and the
/// [`Incoming`].
#[derive(Debug)]
pub struct Session {
    shared: Arc<Shared>,
}

impl Clone for Session {
    fn clone(&self) -> Self {
        self.shared.handles.fetch_add(1, Ordering::AcqRel);
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.shared.let_go();
    }
}

/// Starts a session over a transport, as one task.
pub fn start(transport: impl Transport, role: Role, options: Options, tasks: &Tasks) -> (Session, Incoming) {
    let (session, incoming, driver) = prepare(transport, role, options);
    tasks.spawn("tunnel", driver);
    (session, incoming)
}

/// A session whose task is not started: the caller polls the [`Driver`].
pub fn prepare(transport: impl Transport, role: Role, options: Options) -> (Session, Incoming, Driver) {
    let began = Instant::now();
    let shared = Arc::new(Shared {
        state: Mutex::new(State::new(Box::new(transport), role, options, began)),
        handles: AtomicUsize::new(2),
        closed: Notify::new(),
        began,
    });
    let session = Session { shared: Arc::clone(&shared) };
    let incoming = Incoming::new(Arc::clone(&shared));
    (session, incoming, Driver::new(shared, options))
}

impl Session {
    /// Opens a stream. The head goes out with what is written first, or by itself when that is not at once; the peer may
    /// refuse, which reading and writing then tell.
    pub fn open(&self, head: Bytes, class: Class) -> Result<Stream> {
        let id = self.shared.act_soon(|state, now_us| {
            state.check_open()?;
            state.machine.open(head, class, now_us)
        })?;
        Ok(Stream::new(Arc::clone(&self.shared), id, class))
    }

    /// The same for whoever writes to the stream or reads from it at once: the head goes out with that and not before, so
    /// nobody is woken for it.
    pub fn open_to_use(&self, head: Bytes, class: Class) -> Result<Stream> {
        let now_us = self.shared.now_us();
        let mut state = self.shared.lock();
        state.check_open()?;
        let id = state.machine.open(head, class, now_us)?;
        drop(state);
        Ok(Stream::new(Arc::clone(&self.shared), id, class))
    }

    /// Sends a control message, at most [`crate::frame::PAYLOAD_MAX`] bytes.
    pub fn notify(&self, bytes: Bytes) -> Result<()> {
        self.shared.act(|state, _| {
            state.check_open()?;
            state.machine.notify(bytes)
        })
    }

    /// Ends the session; the peer is told the reason.
    pub fn close(&self, reason: impl Into<String>) {
        self.shared.end(CloseReason::Local(reason.into()));
    }

    /// Ends the session because this process stops: the peer should dial again (WebSocket code 1012).
    pub fn restart(&self, reason: impl Into<String>) {
        self.shared.end(CloseReason::Moved(reason.into()));
    }

    /// Waits until the session has ended and says why.
    pub async fn closed(&self) -> CloseReason {
        loop {
            let notified = self.shared.closed.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            if let Some(reason) = self.close_reason() {
                return reason;
            }
            notified.await;
        }
    }

    /// Why the session has ended, if it has.
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.shared.lock().ending.clone()
    }

    /// When the peer was last heard: any byte counts.
    pub fn last_heard(&self) -> Instant {
        self.shared.lock().heard_at
    }

    /// Streams that are open.
    pub fn open_streams(&self) -> usize {
        self.shared.lock().machine.open_streams()
    }

    /// Bytes received that no reader has drained.
    pub fn buffered(&self) -> u32 {
        self.shared.lock().machine.buffered()
    }

    /// Last measured round trip.
    pub fn round_trip(&self) -> Option<Duration> {
        self.shared.lock().machine.round_trip_us().map(Duration::from_micros)
    }

    /// Counters for metrics.
    pub fn counters(&self) -> Counters {
        self.shared.lock().machine.counters()
    }
}

/// The code that tells the peer why.
fn code_of(reason: &CloseReason) -> Code {
    match reason {
        CloseReason::Violation(_) => Code::VIOLATION,
        CloseReason::Silent | CloseReason::SendTimeout => Code::TIMEOUT,
        CloseReason::Moved(_) => Code::MOVED,
        CloseReason::Local(_)
        | CloseReason::Dropped
        | CloseReason::Remote(_)
        | CloseReason::Lost(_)
        | CloseReason::Cut => Code::CLOSED,
    }
}

fn closed(reason: &CloseReason) -> Error {
    Error::Closed(reason.clone())
}
