//! The bytes of the tunnel, sub-protocol `roadstead.tunnel.v1`.
//!
//! A message (one binary WebSocket message) is one or more whole frames. A frame is 8 bytes of header, big endian, and its
//! payload:
//!
//! ```text
//! 0      1      2         4            8
//! | type | flag | length  | stream id  | payload … |
//! ```
//!
//! The flag byte carries the class of an `Open` and is zero everywhere else. Stream id 0 is the session itself. Nothing
//! here knows what may follow what: that is [`crate::machine`].

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Bytes before the payload.
pub const HEADER: usize = 8;
/// Longest payload: at 100 Mbit/s it delays the next frame by 2.6 ms, and it costs one copy, not many.
pub const PAYLOAD_MAX: usize = 32 * 1024;
/// Longest head of a stream: `contracts::agent::STREAM_HEAD_MAX`.
pub const HEAD_MAX: usize = roadstead_contracts::agent::STREAM_HEAD_MAX;
/// Longest reason in a `GoAway`: one sentence.
pub const REASON_MAX: usize = 256;
/// A writer puts frames into a message until it is this long: one full frame, or many small ones.
pub const MESSAGE_FILL: usize = HEADER + PAYLOAD_MAX;
/// Longest message a reader takes. Twice what this version writes, so that later ones may write more.
pub const MESSAGE_MAX: usize = 64 * 1024;

/// Number of a stream. The agent opens odd ones, the hub even ones; a number is never used twice in a session.
pub type StreamId = u32;

/// The session itself.
pub const SESSION: StreamId = 0;

/// Numbers of the frames. A number is never given a second meaning; removed ones stay here by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum FrameType {
    /// Opens a stream; payload is its head.
    Open = 1,
    /// Bytes of a stream; at least one.
    Data = 2,
    /// More credit; u32 of bytes. Stream 0: for the session.
    Credit = 3,
    /// The sender will send no more on this stream.
    End = 4,
    /// The sender neither sends nor reads any more on this stream; u32 [`Code`].
    Reset = 5,
    /// Are you there? u64 to send back.
    Ping = 6,
    /// The u64 of the ping.
    Pong = 7,
    /// The sender ends the session; u32 [`Code`] and a sentence.
    GoAway = 8,
    /// A control message of the layer above.
    Notice = 9,
}

impl FrameType {
    /// Every number, for tests that the list is complete.
    pub const ALL: [FrameType; 9] = [
        Self::Open,
        Self::Data,
        Self::Credit,
        Self::End,
        Self::Reset,
        Self::Ping,
        Self::Pong,
        Self::GoAway,
        Self::Notice,
    ];

    fn read(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// How urgent a stream is. Control frames go before both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum Class {
    /// Somebody waits: verbs, exec, small answers.
    #[default]
    Interactive = 0,
    /// Logs, lists, downloads.
    Bulk = 1,
}

/// Why a stream was reset or a session ended. Numbers are never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Code(pub u32);

impl Code {
    /// The answer to a reset: this side is done too.
    pub const CLOSED: Code = Code(0);
    /// The sender lost interest.
    pub const CANCELLED: Code = Code(1);
    /// The receiver takes no more streams now.
    pub const REFUSED: Code = Code(2);
    /// What the stream asked for failed.
    pub const INTERNAL: Code = Code(3);
    /// The deadline passed.
    pub const DEADLINE: Code = Code(4);
    /// The reader did not drain the stream while the session ran out of room.
    pub const SLOW_READER: Code = Code(5);
    /// The right to what the stream carries was taken away.
    pub const REVOKED: Code = Code(6);
    /// The peer broke the rules (session only).
    pub const VIOLATION: Code = Code(7);
    /// Nothing was heard, or nothing could be sent, in time (session only).
    pub const TIMEOUT: Code = Code(8);
    /// The process goes away; dial again (session only).
    pub const MOVED: Code = Code(9);
}

/// A frame that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// [`FrameType::Open`].
    Open {
        /// The new stream.
        id: StreamId,
        /// How urgent.
        class: Class,
        /// What it is for.
        head: Bytes,
    },
    /// [`FrameType::Data`].
    Data {
        /// Which stream.
        id: StreamId,
        /// At least one byte.
        bytes: Bytes,
    },
    /// [`FrameType::Credit`].
    Credit {
        /// Which stream.
        id: StreamId,
        /// Bytes more that may be sent.
        grant: u32,
    },
    /// [`FrameType::End`].
    End {
        /// Which stream.
        id: StreamId,
    },
    /// [`FrameType::Reset`].
    Reset {
        /// Which stream.
        id: StreamId,
        /// Why.
        code: Code,
    },
    /// [`FrameType::Ping`].
    Ping {
        /// To send back.
        value: u64,
    },
    /// [`FrameType::Pong`].
    Pong {
        /// From the ping.
        value: u64,
    },
    /// [`FrameType::GoAway`].
    GoAway {
        /// Why.
        code: Code,
        /// One sentence.
        reason: Bytes,
    },
    /// [`FrameType::Notice`].
    Notice {
        /// For the layer above.
        bytes: Bytes,
    },
}

/// A message that is not frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A frame number nobody gave out.
    #[error("unknown frame type")]
    Type,
    /// A flag that means nothing here.
    #[error("unknown flag")]
    Flag,
    /// A length that the type does not allow.
    #[error("wrong length")]
    Length,
    /// A stream id where there must be none, or none where there must be one.
    #[error("wrong stream id")]
    Stream,
    /// The message ends inside a frame.
    #[error("message ends inside a frame")]
    Truncated,
}

impl Frame {
    /// Takes the next frame off a message; `None` at its end. Payloads are slices of the message, not copies.
    pub fn decode(message: &mut Bytes) -> Option<Result<Frame, FrameError>> {
        if message.is_empty() {
            return None;
        }
        Some(decode(message))
    }

    /// Appends the frame. Payloads longer than their limit are the caller's fault and are cut in release builds; the
    /// machine checks them when they come in.
    pub fn encode(&self, out: &mut BytesMut) {
        match self {
            Frame::Open { id, class, head } => put(out, FrameType::Open, *class as u8, *id, head),
            Frame::Data { id, bytes } => put(out, FrameType::Data, 0, *id, bytes),
            Frame::Credit { id, grant } => put(out, FrameType::Credit, 0, *id, &grant.to_be_bytes()),
            Frame::End { id } => put(out, FrameType::End, 0, *id, &[]),
            Frame::Reset { id, code } => put(out, FrameType::Reset, 0, *id, &code.0.to_be_bytes()),
            Frame::Ping { value } => put(out, FrameType::Ping, 0, SESSION, &value.to_be_bytes()),
            Frame::Pong { value } => put(out, FrameType::Pong, 0, SESSION, &value.to_be_bytes()),
            Frame::GoAway { code, reason } => {
                let length = reason.len().min(REASON_MAX);
                header(out, FrameType::GoAway, 0, SESSION, 4 + length);
                out.put_u32(code.0);
                out.put_slice(reason.get(..length).unwrap_or_default());
            }
            Frame::Notice { bytes } => put(out, FrameType::Notice, 0, SESSION, bytes),
        }
    }

    /// Bytes that [`Frame::encode`] appends.
    pub fn encoded_len(&self) -> usize {
        HEADER
            + match self {
                Frame::Open { head: payload, .. }
                | Frame::Data { bytes: payload, .. }
                | Frame::Notice { bytes: payload } => payload.len(),
                Frame::Credit { .. } | Frame::Reset { .. } => 4,
                Frame::End { .. } => 0,
                Frame::Ping { .. } | Frame::Pong { .. } => 8,
                Frame::GoAway { reason, .. } => 4 + reason.len().min(REASON_MAX),
            }
    }
}

/// Appends a data frame without making a [`Frame`] of it first.
pub fn encode_data(out: &mut BytesMut, id: StreamId, bytes: &[u8]) {
    put(out, FrameType::Data, 0, id, bytes);
}

fn put(out: &mut BytesMut, kind: FrameType, flag: u8, id: StreamId, payload: &[u8]) {
    let payload = payload.get(..PAYLOAD_MAX).unwrap_or(payload);
    header(out, kind, flag, id, payload.len());
    out.put_slice(payload);
}

fn header(out: &mut BytesMut, kind: FrameType, flag: u8, id: StreamId, length: usize) {
    out.put_u8(kind as u8);
    out.put_u8(flag);
    out.put_u16(u16::try_from(length).unwrap_or(0));
    out.put_u32(id);
}

fn decode(message: &mut Bytes) -> Result<Frame, FrameError> {
    if message.len() < HEADER {
        return Err(FrameError::Truncated);
    }
    let kind = FrameType::read(message.get_u8()).ok_or(FrameError::Type)?;
    let flag = message.get_u8();
    let length = usize::from(message.get_u16());
    let id = message.get_u32();
    check(kind, flag, length, id)?;
    if message.len() < length {
        return Err(FrameError::Truncated);
    }
    let mut payload = message.split_to(length);
    Ok(match kind {
        FrameType::Open => {
            let class = if flag == Class::Bulk as u8 { Class::Bulk } else { Class::Interactive };
            Frame::Open { id, class, head: payload }
        }
        FrameType::Data => Frame::Data { id, bytes: payload },
        FrameType::Credit => Frame::Credit { id, grant: payload.get_u32() },
        FrameType::End => Frame::End { id },
        FrameType::Reset => Frame::Reset { id, code: Code(payload.get_u32()) },
        FrameType::Ping => Frame::Ping { value: payload.get_u64() },
        FrameType::Pong => Frame::Pong { value: payload.get_u64() },
        FrameType::GoAway => Frame::GoAway { code: Code(payload.get_u32()), reason: payload },
        FrameType::Notice => Frame::Notice { bytes: payload },
    })
}

/// Everything about a header that can be wrong, before the payload is there.
fn check(kind: FrameType, flag: u8, length: usize, id: StreamId) -> Result<(), FrameError> {
    let flags = if kind == FrameType::Open { Class::Bulk as u8 } else { 0 };
    if flag > flags {
        return Err(FrameError::Flag);
    }
    let lengths = match kind {
        FrameType::Open => 0..=HEAD_MAX,
        FrameType::Data | FrameType::Notice => 1..=PAYLOAD_MAX,
        FrameType::Credit | FrameType::Reset => 4..=4,
        FrameType::End => 0..=0,
        FrameType::Ping | FrameType::Pong => 8..=8,
        FrameType::GoAway => 4..=4 + REASON_MAX,
    };
    if !lengths.contains(&length) {
        return Err(FrameError::Length);
    }
    let session_wide = match kind {
        FrameType::Ping | FrameType::Pong | FrameType::GoAway | FrameType::Notice => true,
        FrameType::Open | FrameType::Data | FrameType::Credit | FrameType::End | FrameType::Reset => false,
    };
    if session_wide == (id == SESSION) { Ok(()) } else { Err(FrameError::Stream) }
}

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
