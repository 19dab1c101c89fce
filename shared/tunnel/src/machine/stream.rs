//! One stream of a session.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use super::limits::{
    BULK_FLIGHT, FIRST_FLIGHT, GRANT_STEP, GRANT_STEP_TIGHT, SESSION_WINDOW, SLIVER, STREAM_SHARE, STREAM_WINDOW,
};
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

/// What every stream may have under way in the end: its reader grants again when a step is drained, and with less than that and
/// a frame under way both would wait for each other.
const LEAST: u32 = GRANT_STEP + BULK_FLIGHT;

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
    /// Sent and not granted again: what the peer has not drained, as far as it said.
    outstanding: u32,
    /// The peer drained something once.
    moves: bool,
    /// Has had what it may for now; stands in no ready queue.
    pub(super) parked: bool,
    /// Stands among those that wait for the session's window.
    pub(super) listed: bool,
    incoming: VecDeque<Bytes>,
    /// Small pieces are copied together here, so that a byte never keeps a message alive.
    tail: BytesMut,
    incoming_bytes: u32,
    /// Received and not granted again: the peer's `outstanding`, but for what is on its way.
    unsettled: u32,
    /// Drained and not yet granted again.
    grant: u32,
    grant_queued: bool,
    pub(super) drained_at_us: u64,
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
            outstanding: 0,
            moves: false,
            parked: false,
            listed: false,
            incoming: VecDeque::new(),
            tail: BytesMut::new(),
            incoming_bytes: 0,
            unsettled: 0,
            grant: 0,
            grant_queued: false,
            drained_at_us: now_us,
        }
    }

    pub(super) fn has_data(&self) -> bool {
        self.incoming_bytes > 0
    }

    /// Notes that so many bytes came. `false`: they are more than was granted.
    pub(super) fn received(&mut self, bytes: u32) -> bool {
        self.unsettled = self.unsettled.saturating_add(bytes);
        self.unsettled <= STREAM_WINDOW
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

    /// Notes that bytes were drained. Says whether a grant should be queued. `tight`: the session's window is wanted.
    pub(super) fn drained(&mut self, bytes: u32, tight: bool, now_us: u64) -> bool {
        self.drained_at_us = now_us;
        self.thrown(bytes, tight)
    }

    /// Notes that bytes were thrown away, for nobody reads them any more. They are granted again all the same: the peer's last
    /// bytes and its end come behind them, and when both sides wait for credit to send theirs, somebody must give it.
    /// Says whether a grant should be queued.
    pub(super) fn thrown(&mut self, bytes: u32, tight: bool) -> bool {
        if self.settled() {
            return false;
        }
        self.grant += bytes;
        self.is_due(tight)
    }

    /// Whether what was drained should be granted now.
    pub(super) fn is_due(&mut self, tight: bool) -> bool {
        let step = if tight { GRANT_STEP_TIGHT } else { GRANT_STEP };
        let due = self.grant >= step && !self.grant_queued && !self.settled();
        self.grant_queued |= due;
        due
    }

    /// Whether the peer wants no grant any more: it counts nothing of this stream against the session.
    fn settled(&self) -> bool {
        match self.receiving {
            Receiving::Open => self.reset_sent,
            Receiving::Ended => self.unsettled <= STREAM_SHARE,
            Receiving::Cut => true,
        }
    }

    /// Takes the queued grant; it becomes the peer's.
    pub(super) fn take_grant(&mut self) -> u32 {
        self.grant_queued = false;
        if self.settled() {
            return 0;
        }
        let grant = std::mem::take(&mut self.grant);
        self.unsettled = self.unsettled.saturating_sub(grant);
        grant
    }

    /// All that was received and not granted, if the peer sent its end and still counts it: nothing of it is held here any more.
    pub(super) fn settle(&mut self) -> u32 {
        if self.receiving == Receiving::Ended && !self.settled() { std::mem::take(&mut self.unsettled) } else { 0 }
    }

    /// What it holds of the session's window on the way in.
    pub(super) fn holds(&self) -> u32 {
        let thrown = match self.receiving {
            Receiving::Open => self.reset_sent,
            Receiving::Ended => false,
            Receiving::Cut => true,
        };
        if thrown { 0 } else { self.unsettled.saturating_sub(STREAM_SHARE) }
    }

    /// What it takes of the session's window on the way out.
    pub(super) fn takes(&self) -> u32 {
        self.outstanding.saturating_sub(STREAM_SHARE)
    }

    /// Throws received bytes away; says how many.
    pub(super) fn clear_incoming(&mut self) -> u32 {
        self.incoming = VecDeque::new();
        self.tail = BytesMut::new();
        std::mem::take(&mut self.incoming_bytes)
    }

    /// How much it may send now as one of its class, with so much of the session's window free for the class.
    pub(super) fn room(&self, class: Class, free: u32) -> u32 {
        let own = match class {
            Class::Interactive => self.interactive_room(),
            Class::Bulk => self.bulk_room(free),
        };
        let share = STREAM_SHARE.saturating_sub(self.outstanding);
        own.min(share.saturating_add(free)).min(STREAM_WINDOW.saturating_sub(self.outstanding))
    }

    /// Whether so much room is worth a turn: all that waits, or more than a sliver.
    pub(super) fn worth_a_turn(&self, room: u32) -> bool {
        room >= SLIVER || room as usize >= self.outgoing.len()
    }

    /// What a bulk stream may have under way besides. A stream that was never drained has no more than it takes to hear of it;
    /// one that moves may take as much again as it leaves. So readers that stop hold little, and the next one always finds room.
    fn bulk_room(&self, free: u32) -> u32 {
        // While hardly anything else is under way, one that somebody waits for need not wait for its reader.
        let alone = self.class == Class::Interactive && free >= SESSION_WINDOW / 4 * 3;
        let most = match (self.moves, alone) {
            (true, _) => LEAST.max(free),
            (false, true) => FIRST_FLIGHT,
            (false, false) => LEAST,
        };
        most.saturating_sub(self.outstanding)
    }

    /// Where it stands in line. Whoever takes an interactive stream's bytes as they come has few of them under way; one that has
    /// this many is a download, or its reader stopped, and it goes on as bulk until they are drained.
    pub(super) fn rank(&self) -> Class {
        if self.interactive_room() < SLIVER { Class::Bulk } else { self.class }
    }

    /// How much more it may send before it counts as bulk.
    fn interactive_room(&self) -> u32 {
        LEAST.saturating_sub(self.outstanding)
    }

    /// Notes that bytes were sent.
    pub(super) fn spend(&mut self, bytes: u32) {
        self.outstanding = self.outstanding.saturating_add(bytes);
    }

    /// Takes a grant of the peer. `false`: it grants more than it was sent.
    pub(super) fn granted(&mut self, grant: u32) -> bool {
        // What we cut ourselves is not counted any more; grants for it may be on their way.
        let known = self.reset_sent || grant <= self.outstanding;
        self.outstanding = self.outstanding.saturating_sub(grant);
        self.moves = true;
        known
    }

    /// The peer throws away what it was sent. Gives what it took of the session's window.
    pub(super) fn acquit(&mut self) -> u32 {
        let taken = self.takes();
        self.outstanding = 0;
        taken
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

    /// What it has under way as the sender and as the receiver see it.
    pub(super) fn under_way(&self) -> (u32, u32) {
        (self.outstanding, self.unsettled)
    }
}
