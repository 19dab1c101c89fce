//! One stream of a session.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use super::limits::{BULK_FLIGHT, SESSION_WINDOW, STREAM_WINDOW, STREAM_WINDOW_MAX};
use crate::frame::{Class, Code};

/// Our direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sending {
    /// Takes bytes.
    Open,
    /// Ends when the bytes it has are written.
    Ending,
    /// The last frame is written or waits among the control frames.
    Done,
}

/// The peer's direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Receiving {
    /// More may come.
    Open,
    /// The peer sent `End`.
    Ended,
    /// The peer sent `Reset`.
    Cut,
}

#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "facts that hold independently of each other")]
pub(super) struct StreamState {
    pub(super) class: Class,
    /// A handle exists. Without one, what comes is thrown away.
    pub(super) owned: bool,
    pub(super) sending: Sending,
    pub(super) receiving: Receiving,
    pub(super) reset: Option<Code>,
    pub(super) reset_sent: bool,
    pub(super) reset_after_end: bool,
    /// The writer was told to wait.
    pub(super) wants_room: bool,
    /// Stands in a ready queue.
    pub(super) queued: bool,
    /// The owner was told that there is something to read and has not read to the end of it.
    pub(super) announced: bool,
    pub(super) outgoing: BytesMut,
    pub(super) send_credit: u32,
    /// Sent and not granted again: what the peer has not drained, as far as it said.
    outstanding: u32,
    /// The widest window the peer gave.
    widest: u32,
    /// The peer drained something once.
    moves: bool,
    /// Has had its share of the session for now; stands in no ready queue.
    pub(super) parked: bool,
    incoming: VecDeque<Bytes>,
    /// Small pieces are copied together here, so that a byte never keeps a message alive.
    tail: BytesMut,
    incoming_bytes: u32,
    /// What the peer may still send.
    pub(super) allowance: u32,
    window: u32,
    /// Drained and not yet granted again.
    grant: u32,
    grant_queued: bool,
    pub(super) drained_at_us: u64,
    /// When the current window began to be drained, and how much of it was.
    round_began_us: u64,
    round_drained: u32,
}

impl StreamState {
    pub(super) fn new(class: Class, now_us: u64) -> Self {
        Self {
            class,
            owned: true,
            sending: Sending::Open,
            receiving: Receiving::Open,
            reset: None,
            reset_sent: false,
            reset_after_end: false,
            wants_room: false,
            queued: false,
            announced: false,
            outgoing: BytesMut::new(),
            send_credit: STREAM_WINDOW,
            outstanding: 0,
            widest: STREAM_WINDOW,
            moves: false,
            parked: false,
            incoming: VecDeque::new(),
            tail: BytesMut::new(),
            incoming_bytes: 0,
            allowance: STREAM_WINDOW,
            window: STREAM_WINDOW,
            grant: 0,
            grant_queued: false,
            drained_at_us: now_us,
            round_began_us: now_us,
            round_drained: 0,
        }
    }

    pub(super) fn has_data(&self) -> bool {
        self.incoming_bytes > 0
    }

    /// Takes received bytes in. `message` is the length of the message they are a slice of.
    pub(super) fn push(&mut self, bytes: Bytes, message: usize) {
        self.incoming_bytes += u32::try_from(bytes.len()).unwrap_or(0);
        if bytes.len() * 2 < message {
            self.tail.extend_from_slice(&bytes);
        } else {
            if !self.tail.is_empty() {
                self.incoming.push_back(self.tail.split().freeze());
            }
            self.incoming.push_back(bytes);
        }
    }

    /// Takes at most `most` bytes out.
    pub(super) fn take(&mut self, most: usize) -> Option<Bytes> {
        if most == 0 || self.incoming_bytes == 0 {
            return None;
        }
        let bytes = match self.incoming.front_mut() {
            Some(front) if front.len() > most => front.split_to(most),
            Some(_) => self.incoming.pop_front()?,
            None if self.tail.len() > most => self.tail.split_to(most).freeze(),
            None => std::mem::take(&mut self.tail).freeze(),
        };
        self.incoming_bytes = self.incoming_bytes.saturating_sub(u32::try_from(bytes.len()).unwrap_or(0));
        Some(bytes)
    }

    /// Notes that bytes were drained. Says whether a grant should be queued.
    pub(super) fn drained(&mut self, bytes: u32, now_us: u64, round_trip_us: Option<u64>) -> bool {
        self.drained_at_us = now_us;
        if self.receiving != Receiving::Open || self.reset_sent {
            return false;
        }
        self.grant += bytes;
        self.round_drained = self.round_drained.saturating_add(bytes);
        if self.round_drained >= self.window {
            // A whole window within two round trips: the window is what limits the stream.
            let fast = round_trip_us.is_some_and(|trip| now_us.saturating_sub(self.round_began_us) <= 2 * trip);
            if fast && self.window < STREAM_WINDOW_MAX {
                self.grant += self.window;
                self.window *= 2;
            }
            self.round_began_us = now_us;
            self.round_drained = 0;
        }
        self.is_due()
    }

    /// Notes that bytes were thrown away, for nobody reads them any more. They are granted again all the same: the peer's last
    /// bytes and its end come behind them, and when both sides wait for credit to send theirs, somebody must give it.
    /// Says whether a grant is due.
    pub(super) fn thrown(&mut self, bytes: u32) -> bool {
        if bytes == 0 || self.receiving != Receiving::Open || self.reset_sent {
            return false;
        }
        self.grant += bytes;
        self.is_due()
    }

    fn is_due(&mut self) -> bool {
        let due = self.grant >= self.window / 4 && !self.grant_queued;
        self.grant_queued |= due;
        due
    }

    /// Takes the queued grant; it becomes the peer's.
    pub(super) fn take_grant(&mut self) -> u32 {
        self.grant_queued = false;
        if self.receiving != Receiving::Open {
            return 0;
        }
        let grant = std::mem::take(&mut self.grant);
        self.allowance = self.allowance.saturating_add(grant);
        grant
    }

    /// Throws received bytes away; says how many.
    pub(super) fn clear_incoming(&mut self) -> u32 {
        self.incoming = VecDeque::new();
        self.tail = BytesMut::new();
        std::mem::take(&mut self.incoming_bytes)
    }

    /// How much more a bulk stream may send now, of what the session has free for bulk. A stream that was never drained has no
    /// more than it takes to hear of it; one that moves may take as much again as it leaves. So readers that stop hold little,
    /// and the next one always finds room.
    pub(super) fn bulk_room(&self, free: u32) -> u32 {
        // While hardly anything else is under way, one that somebody waits for has its whole window.
        let alone = self.class == Class::Interactive && free >= SESSION_WINDOW / 4 * 3;
        let share = if self.moves || alone { self.least().max(free) } else { self.least() };
        share.saturating_sub(self.outstanding)
    }

    /// What every stream may have under way. The peer grants again at the latest when a quarter of the window is drained: with
    /// less than that, and a frame under way, both would wait for each other.
    fn least(&self) -> u32 {
        self.widest / 4 + BULK_FLIGHT
    }

    /// Where it stands in line. Whoever takes an interactive stream's bytes as they come has few of them under way; one that has
    /// this many is a download, or its reader stopped, and it goes on as bulk until they are drained.
    pub(super) fn rank(&self) -> Class {
        if self.interactive_room() == 0 { Class::Bulk } else { self.class }
    }

    /// How much more it may send before it counts as bulk.
    pub(super) fn interactive_room(&self) -> u32 {
        self.least().saturating_sub(self.outstanding)
    }

    /// Notes that bytes were sent.
    pub(super) fn spend(&mut self, bytes: u32) {
        self.send_credit = self.send_credit.saturating_sub(bytes);
        self.outstanding = self.outstanding.saturating_add(bytes);
    }

    /// Takes a grant of the peer. `false`: it grants more than there can be.
    pub(super) fn granted(&mut self, grant: u32) -> bool {
        let Some(credit) = self.send_credit.checked_add(grant) else { return false };
        self.send_credit = credit;
        // A grant that widens the window is more than what was drained.
        self.outstanding = self.outstanding.saturating_sub(grant);
        self.widest = self.widest.max(credit);
        self.moves = true;
        true
    }

    /// Nothing more is sent.
    pub(super) fn stop_sending(&mut self) {
        self.outgoing = BytesMut::new();
        self.sending = Sending::Done;
    }
}

#[cfg(test)]
impl StreamState {
    pub(super) fn incoming_bytes(&self) -> u32 {
        self.incoming_bytes
    }
}
