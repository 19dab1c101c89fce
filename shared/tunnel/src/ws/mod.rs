//! WebSocket (RFC 6455): [`accept()`] and [`client()`] shake hands, [`WebSocket`] carries messages of the tunnel,
//! [`TextSocket`] the texts of simple agents and [`MessageSocket`] what browsers say.
//!
//! The tunnel's messages are read and written by [`frames`], which copies each byte once; for the other two `tungstenite` keeps
//! the rules ([`library`]).

mod accept;
mod adapter;
mod client;
mod frames;
mod library;
mod message;
mod text;

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::protocol::Role as Side;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

pub use accept::{Accepted, Refusal, accept};
pub use client::{DialError, Dialled, client};
pub use message::{Message as SocketMessage, MessageSocket, Next};
pub use text::TextSocket;

use crate::bucket::Bucket;
use crate::error::{CloseReason, Violation};
use crate::frame::{Code, MESSAGE_MAX};
use crate::transport::{DRAIN_MAX, Transport, lost, scratch};
use frames::{Fault, Reader, Said, Speaker};
use library::Library;

/// WebSocket pings: a burst of 16 and one a second (reliability row W05).
const PINGS: Bucket = Bucket::new(16, 1_000_000);
/// Messages of one read that wait to be taken; what comes behind them waits as bytes.
const READY_MAX: usize = 64;

/// A WebSocket after its handshake.
pub struct WebSocket<IO> {
    io: IO,
    side: Side,
    reader: Reader,
    speaker: Speaker,
    /// Read and not yet looked at.
    early: Bytes,
    /// Read, behind what was taken last.
    ready: VecDeque<Result<Said, Fault>>,
    outgoing: BytesMut,
    flushed: bool,
    closing: bool,
    fault: Option<CloseCode>,
    pings: Bucket,
    began: Instant,
    received: u64,
    sent: u64,
    left_to_drain: u64,
}

impl<IO> std::fmt::Debug for WebSocket<IO> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebSocket").field("side", &self.side).finish_non_exhaustive()
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> WebSocket<IO> {
    /// The accepting side of a connection whose handshake is done. `early` is what was read behind the request.
    pub fn server(io: IO, early: impl AsRef<[u8]>) -> Self {
        Self::new(io, early.as_ref(), Side::Server)
    }

    /// The dialling side.
    pub fn dialled(io: IO, early: impl AsRef<[u8]>) -> Self {
        Self::new(io, early.as_ref(), Side::Client)
    }

    fn new(io: IO, early: &[u8], side: Side) -> Self {
        Self {
            io,
            side,
            reader: Reader::new(side == Side::Server, MESSAGE_MAX),
            speaker: Speaker::new(side == Side::Client),
            // A copy, even of nothing: a slice would keep the whole buffer of the handshake alive.
            early: Bytes::copy_from_slice(early),
            ready: VecDeque::new(),
            outgoing: BytesMut::new(),
            flushed: true,
            closing: false,
            fault: None,
            pings: PINGS,
            began: Instant::now(),
            received: 0,
            sent: 0,
            left_to_drain: DRAIN_MAX,
        }
    }

    /// For texts instead of the tunnel's messages, before the first one.
    pub fn into_text(self, message_max: usize) -> TextSocket<IO> {
        TextSocket::new(Library::new(self.io, &self.early, self.side, message_max))
    }

    /// For messages of both kinds instead of the tunnel's, before the first one.
    pub fn into_messages(self, message_max: usize) -> MessageSocket<IO>
    where
        IO: Send + 'static,
    {
        MessageSocket::new(Library::new(self.io, &self.early, self.side, message_max))
    }

    /// The next thing that was said.
    fn poll_said(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Said, CloseReason>>> {
        loop {
            if let Some(said) = self.ready.pop_front() {
                return Poll::Ready(Some(said.map_err(|fault| self.broken(fault))));
            }
            if !self.early.is_empty() {
                let early = std::mem::take(&mut self.early);
                if let Some(said) = self.look_at(&early) {
                    return Poll::Ready(Some(said.map_err(|fault| self.broken(fault))));
                }
                continue;
            }
            let (mut said, mut taken) = (None, false);
            let Self { io, reader, ready, early, .. } = self;
            let read = scratch::poll_read(io, context, |bytes| {
                taken = !bytes.is_empty();
                said = look(reader, ready, early, bytes);
            });
            match ready!(read) {
                Ok(length) => self.received += length as u64,
                Err(error) => return Poll::Ready(Some(Err(lost(&error)))),
            }
            if let Some(said) = said {
                return Poll::Ready(Some(said.map_err(|fault| self.broken(fault))));
            }
            if !taken {
                return Poll::Ready(Some(Err(CloseReason::Lost("ended without a good-bye".to_owned()))));
            }
        }
    }

    fn look_at(&mut self, bytes: &[u8]) -> Option<Result<Said, Fault>> {
        look(&mut self.reader, &mut self.ready, &mut self.early, bytes)
    }

    /// What a broken rule means, and the close code that RFC 6455 §7.4 has for it.
    fn broken(&mut self, fault: Fault) -> CloseReason {
        let (violation, code) = match fault {
            Fault::Protocol => (Violation::WebSocket, CloseCode::Protocol),
            Fault::TooLong => (Violation::MessageTooLong, CloseCode::Size),
            Fault::Text => (Violation::WebSocket, CloseCode::Unsupported),
            Fault::Utf8 => (Violation::Utf8, CloseCode::Invalid),
        };
        self.fault = Some(code);
        CloseReason::Violation(violation)
    }
}

/// Reads bytes. Gives what they said first; what they said besides waits in `ready`.
fn look(
    reader: &mut Reader,
    ready: &mut VecDeque<Result<Said, Fault>>,
    early: &mut Bytes,
    mut bytes: &[u8],
) -> Option<Result<Said, Fault>> {
    let first = match reader.take(&mut bytes) {
        Ok(None) => return None,
        Ok(Some(said)) => Ok(said),
        Err(fault) => return Some(Err(fault)),
    };
    while !bytes.is_empty() {
        if ready.len() >= READY_MAX {
            *early = Bytes::copy_from_slice(bytes);
            break;
        }
        match reader.take(&mut bytes) {
            Ok(None) => break,
            Ok(Some(said)) => ready.push_back(Ok(said)),
            Err(fault) => {
                ready.push_back(Err(fault));
                break;
            }
        }
    }
    Some(first)
}

impl<IO: AsyncRead + AsyncWrite + Unpin + Send + 'static> Transport for WebSocket<IO> {
    fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, CloseReason>>> {
        loop {
            let Some(said) = ready!(self.poll_said(context)) else { return Poll::Ready(None) };
            match said {
                Ok(Said::Message(bytes)) => return Poll::Ready(Some(Ok(bytes))),
                Ok(Said::Pong) => {}
                Ok(Said::Ping(payload)) => {
                    let now_us = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
                    if !self.pings.take(now_us) {
                        self.fault = Some(CloseCode::Policy);
                        return Poll::Ready(Some(Err(CloseReason::Violation(Violation::Flood))));
                    }
                    self.speaker.pong(&mut self.outgoing, &payload);
                    self.flushed = false;
                }
                Ok(Said::Close(code, text)) => {
                    self.fault = Some(code);
                    return Poll::Ready(Some(Err(CloseReason::Remote(text))));
                }
                Err(reason) => return Poll::Ready(Some(Err(reason))),
            }
        }
    }

    fn start_send(&mut self, message: Bytes) -> Result<(), CloseReason> {
        self.flushed = false;
        self.speaker.message(&mut self.outgoing, &message);
        Ok(())
    }

    fn start_send_of(&mut self, room: usize, fill: &mut dyn FnMut(&mut BytesMut)) -> Result<usize, CloseReason> {
        self.flushed = false;
        let length = self.speaker.message_of(&mut self.outgoing, room, fill);
        length.ok_or(CloseReason::Violation(Violation::MessageTooLong))
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<Result<(), CloseReason>> {
        if self.flushed {
            return Poll::Ready(Ok(()));
        }
        while !self.outgoing.is_empty() {
            match ready!(Pin::new(&mut self.io).poll_write(context, &self.outgoing)) {
                Ok(0) => return Poll::Ready(Err(lost(&std::io::ErrorKind::WriteZero.into()))),
                Ok(length) => {
                    self.outgoing.advance(length);
                    self.sent += length as u64;
                }
                Err(error) => return Poll::Ready(Err(lost(&error))),
            }
        }
        match ready!(Pin::new(&mut self.io).poll_flush(context)) {
            Ok(()) => {
                self.flushed = true;
                Poll::Ready(Ok(()))
            }
            Err(error) => Poll::Ready(Err(lost(&error))),
        }
    }

    fn poll_close(&mut self, code: Code, context: &mut Context<'_>) -> Poll<()> {
        if !std::mem::replace(&mut self.closing, true) {
            let code = self.fault.unwrap_or(match code {
                Code::VIOLATION => CloseCode::Policy,
                Code::TIMEOUT => CloseCode::Away,
                Code::MOVED => CloseCode::Restart,
                _ => CloseCode::Normal,
            });
            self.speaker.close(&mut self.outgoing, code);
            self.flushed = false;
        }
        // A connection that fails now needs no good-bye.
        if ready!(self.poll_flush(context)).is_err() {
            self.outgoing = BytesMut::new();
            self.flushed = true;
        }
        Pin::new(&mut self.io).poll_shutdown(context).map(|_| ())
    }

    fn poll_drain(&mut self, context: &mut Context<'_>) -> Poll<()> {
        scratch::poll_drain(&mut self.io, context, &mut self.left_to_drain)
    }

    fn received(&self) -> u64 {
        self.received
    }

    fn sent(&self) -> u64 {
        self.sent
    }

    fn rest(&mut self) {
        if self.outgoing.is_empty() {
            self.outgoing = BytesMut::new();
        }
        if self.ready.is_empty() {
            self.ready = VecDeque::new();
        }
    }
}

/// See [`crate::fuzz`].
#[cfg(feature = "fuzz")]
pub(crate) fn fuzz_frames(masked: bool, step: usize, bytes: &[u8]) -> Option<Vec<usize>> {
    let (mut reader, mut lengths) = (Reader::new(masked, MESSAGE_MAX), Vec::new());
    for mut piece in bytes.chunks(step.max(1)) {
        while !piece.is_empty() {
            match reader.take(&mut piece).ok()? {
                Some(Said::Message(message)) => lengths.push(message.len()),
                Some(_) => {}
                None => break,
            }
        }
    }
    Some(lengths)
}

#[cfg(test)]
mod tests;

/// How long a handshake may take, on either side.
pub const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
