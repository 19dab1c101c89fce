//! What the lock of a session guards.

use std::collections::{HashMap, VecDeque};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::Instant;

use super::{Options, Role, closed};
use crate::error::{CloseReason, Result, Violation};
use crate::frame::{Class, Code, StreamId};
use crate::machine::{self, Machine};
use crate::transport::Transport;

/// Frames in a batch before the transport is flushed.
const BATCH_FRAMES: usize = 64;
/// Bytes in a batch before the transport is flushed: what a ping may have to wait behind.
const BATCH_BYTES: usize = 128 * 1024;
/// Batches written in one go before others get the lock.
const BATCHES: usize = 4;
/// What is written sooner than this after the last write goes with the next batch. Ten thousand writes a second are where
/// system calls are what a small exchange costs; a single caller is never that fast and is written through.
const GATHER_WITHIN_US: u64 = 100;

/// Whether what waits is left to the driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gathering {
    /// It is not.
    No,
    /// The driver is woken and lets others go first.
    Asked,
    /// They have gone.
    Over,
}

/// Who waits for a stream.
#[derive(Debug, Default)]
pub(super) struct Wakers {
    pub(super) read: Option<Waker>,
    pub(super) write: Option<Waker>,
}

/// What the peer sent and nobody has taken up.
#[derive(Debug)]
pub(super) enum Arrived {
    Stream { id: StreamId, class: Class, head: Bytes },
    Notice(Bytes),
}

pub(super) struct State {
    pub(super) machine: Machine,
    pub(super) transport: Option<Box<dyn Transport>>,
    pub(super) role: Role,
    pub(super) wakers: HashMap<StreamId, Wakers>,
    pub(super) arrived: VecDeque<Arrived>,
    notices_waiting: usize,
    pub(super) incoming: Option<Waker>,
    /// An [`super::Incoming`] exists.
    pub(super) taking: bool,
    pub(super) driver: Option<Waker>,
    /// Set when the transport takes no more: since when, and how much it had sent then.
    pub(super) blocked: Option<(Instant, u64)>,
    /// Decided: the session is over. The driver says good-bye.
    pub(super) ending: Option<CloseReason>,
    /// The end was decided and those who wait for it are not told yet.
    pub(super) tell_end: bool,
    pub(super) heard_at: Instant,
    heard_bytes: u64,
    spoke_at: Instant,
    /// The same on the session's own clock.
    wrote_at_us: u64,
    pub(super) gathering: Gathering,
    pinged_at: Instant,
    to_wake: Vec<Waker>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("machine", &self.machine).field("ending", &self.ending).finish_non_exhaustive()
    }
}

impl State {
    pub(super) fn new(transport: Box<dyn Transport>, role: Role, options: Options, now: Instant) -> Self {
        Self {
            machine: Machine::new(role, options.streams_max),
            transport: Some(transport),
            role,
            wakers: HashMap::new(),
            arrived: VecDeque::new(),
            notices_waiting: 0,
            incoming: None,
            taking: true,
            driver: None,
            blocked: None,
            ending: None,
            tell_end: false,
            heard_at: now,
            heard_bytes: 0,
            spoke_at: now,
            wrote_at_us: 0,
            gathering: Gathering::No,
            pinged_at: now,
            to_wake: Vec::new(),
        }
    }

    pub(super) fn check_open(&self) -> Result<()> {
        self.ending.as_ref().map_or(Ok(()), |reason| Err(closed(reason)))
    }

    pub(super) fn take_wakers(&mut self) -> Vec<Waker> {
        std::mem::take(&mut self.to_wake)
    }

    /// Decides that the session is over. The first reason counts.
    pub(super) fn end(&mut self, reason: CloseReason) {
        if self.ending.is_some() {
            return;
        }
        self.ending = Some(reason);
        self.tell_end = true;
        let wakers = std::mem::take(&mut self.wakers);
        self.to_wake.extend(wakers.into_values().flat_map(|wakers| [wakers.read, wakers.write]).flatten());
        self.to_wake.extend(self.incoming.take());
        self.wake_driver();
    }

    pub(super) fn wake(&mut self, wakers: impl IntoIterator<Item = Waker>) {
        self.to_wake.extend(wakers);
    }

    pub(super) fn wake_driver(&mut self) {
        self.to_wake.extend(self.driver.take());
    }

    /// Writes from the task that has something to write, if the transport is idle and was for a moment. No waker is left
    /// behind: when the transport fills up, the driver is woken and waits for it.
    pub(super) fn write_through(&mut self, now_us: u64) {
        if self.may_write() {
            if self.is_busy(now_us) {
                self.gather();
            } else {
                self.pump(&mut Context::from_waker(Waker::noop()), now_us);
                if self.blocked.is_some() {
                    self.wake_driver();
                }
            }
        }
        self.dispatch();
    }

    /// Leaves what waits to the driver.
    pub(super) fn write_soon(&mut self, now_us: u64) {
        if self.may_write() {
            if self.is_busy(now_us) {
                self.gather();
            } else {
                self.wake_driver();
            }
        }
        self.dispatch();
    }

    fn may_write(&self) -> bool {
        self.ending.is_none() && self.blocked.is_none() && self.machine.wants_to_transmit()
    }

    fn is_busy(&self, now_us: u64) -> bool {
        self.gathering != Gathering::No || now_us.saturating_sub(self.wrote_at_us) < GATHER_WITHIN_US
    }

    fn gather(&mut self) {
        if self.gathering == Gathering::No {
            self.gathering = Gathering::Asked;
            self.wake_driver();
        }
    }

    /// Whether the driver should let others go first; it comes back at once.
    pub(super) fn lets_others_go(&mut self) -> bool {
        let first = self.gathering == Gathering::Asked && self.blocked.is_none();
        if first {
            self.gathering = Gathering::Over;
        }
        first
    }

    /// Writes until there is nothing more or the transport takes no more.
    pub(super) fn pump(&mut self, context: &mut Context<'_>, now_us: u64) {
        self.gathering = Gathering::No;
        for _ in 0..BATCHES {
            let Some(transport) = self.transport.as_deref_mut() else { return };
            match transport.poll_flush(context) {
                Poll::Ready(Ok(())) => self.blocked = None,
                Poll::Ready(Err(reason)) => return self.end(reason),
                Poll::Pending => {
                    let sent = transport.sent();
                    self.blocked.get_or_insert((Instant::now(), sent));
                    return;
                }
            }
            match self.write_batch() {
                Ok(0) => return,
                Ok(_) => {
                    self.spoke_at = Instant::now();
                    self.wrote_at_us = now_us;
                }
                Err(reason) => return self.end(reason),
            }
        }
        // More may wait, and what was taken may not be flushed: come back.
        self.wake_driver();
    }

    fn write_batch(&mut self) -> Result<usize, CloseReason> {
        let Some(transport) = self.transport.as_deref_mut() else { return Ok(0) };
        let (mut frames, mut bytes) = (0, 0);
        while frames < BATCH_FRAMES && bytes < BATCH_BYTES && self.machine.wants_to_transmit() {
            let (room, mut count) = (self.machine.next_length(), 0);
            let machine = &mut self.machine;
            let mut fill = |out: &mut BytesMut| count = machine.transmit(out, BATCH_FRAMES - frames);
            bytes += transport.start_send_of(room, &mut fill)?;
            if count == 0 {
                break;
            }
            frames += count;
        }
        Ok(frames)
    }

    /// Reads one message. `false` when there is none now.
    pub(super) fn read_one(&mut self, context: &mut Context<'_>, now_us: u64) -> bool {
        let Some(transport) = self.transport.as_deref_mut() else { return false };
        let read = transport.poll_receive(context);
        let received = transport.received();
        if received != self.heard_bytes {
            self.heard_bytes = received;
            self.heard_at = Instant::now();
        }
        match read {
            Poll::Ready(Some(Ok(message))) => {
                if let Err(violation) = self.machine.receive(message, now_us) {
                    self.end(CloseReason::Violation(violation));
                }
            }
            Poll::Ready(Some(Err(reason))) => self.end(reason),
            Poll::Ready(None) => self.end(CloseReason::Lost("the peer hung up".to_owned())),
            Poll::Pending => return false,
        }
        self.dispatch();
        true
    }

    /// Hands the machine's events to those who wait for them.
    pub(super) fn dispatch(&mut self) {
        while let Some(event) = self.machine.event() {
            match event {
                machine::Event::Readable(id) => {
                    self.to_wake.extend(self.wakers.get_mut(&id).and_then(|wakers| wakers.read.take()));
                }
                machine::Event::Writable(id) => {
                    self.to_wake.extend(self.wakers.get_mut(&id).and_then(|wakers| wakers.write.take()));
                }
                machine::Event::Opened { id, class, head } => {
                    if self.taking {
                        self.arrived.push_back(Arrived::Stream { id, class, head });
                        self.to_wake.extend(self.incoming.take());
                    } else {
                        self.machine.accepted();
                        self.machine.reset(id, Code::REFUSED);
                        self.machine.release(id);
                    }
                }
                machine::Event::Notice(_) if !self.taking => {}
                machine::Event::Notice(_) if Machine::notices_full(self.notices_waiting) => {
                    self.end(CloseReason::Violation(Violation::Flood));
                }
                machine::Event::Notice(bytes) => {
                    self.notices_waiting += 1;
                    self.arrived.push_back(Arrived::Notice(bytes));
                    self.to_wake.extend(self.incoming.take());
                }
                machine::Event::GoneAway { reason, .. } => {
                    let reason = String::from_utf8_lossy(&reason).chars().filter(|c| !c.is_control()).collect();
                    self.end(CloseReason::Remote(reason));
                }
            }
        }
    }

    /// What arrived first.
    pub(super) fn take_arrived(&mut self) -> Option<Arrived> {
        let arrived = self.arrived.pop_front();
        match &arrived {
            Some(Arrived::Stream { .. }) => self.machine.accepted(),
            Some(Arrived::Notice(_)) => self.notices_waiting = self.notices_waiting.saturating_sub(1),
            None => self.arrived = VecDeque::new(),
        }
        arrived
    }

    /// What time asks for: a ping, a stalled stream cut, the end. Says when to look again.
    pub(super) fn tick(&mut self, options: &Options, now: Instant, now_us: u64) -> Instant {
        if let Some((since, sent_then)) = self.blocked {
            let sent = self.transport.as_ref().map_or(0, Transport::sent);
            if sent > sent_then {
                self.blocked = Some((now, sent));
            } else if now.saturating_duration_since(since) >= options.send_limit {
                self.end(CloseReason::SendTimeout);
            }
        }
        if now.saturating_duration_since(self.heard_at) >= options.silence_limit {
            self.end(CloseReason::Silent);
        }
        self.machine.cut_stalled(now_us);
        if self.role == Role::Hub && now >= self.next_ping(options) {
            self.machine.ping(now_us);
            self.pinged_at = now;
        }
        self.next_look(options, now)
    }

    /// Both sides live on what they hear, so quiet in either direction asks for a ping.
    fn next_ping(&self, options: &Options) -> Instant {
        self.heard_at.min(self.spoke_at).max(self.pinged_at) + options.ping_every
    }

    /// When [`State::tick`] has something to do if nothing happens before.
    pub(super) fn next_look(&self, options: &Options, now: Instant) -> Instant {
        let mut at = self.heard_at + options.silence_limit;
        if self.role == Role::Hub {
            at = at.min(self.next_ping(options));
        }
        if let Some((since, _)) = self.blocked {
            at = at.min(since + options.send_limit);
        }
        if self.machine.buffered() > 0 {
            at = at.min(now + Duration::from_micros(machine::limits::STALL_LIMIT_US));
        }
        at.max(now + SHORTEST)
    }
}

/// Shortest time between two looks at the clock.
const SHORTEST: Duration = Duration::from_millis(50);

impl State {
    /// Nothing moves: lets buffers and tables go.
    pub(super) fn rest(&mut self) {
        if let Some(transport) = self.transport.as_deref_mut() {
            transport.rest();
        }
        if self.wakers.is_empty() && self.wakers.capacity() > 0 {
            self.wakers = HashMap::new();
        }
    }
}
