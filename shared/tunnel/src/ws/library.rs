//! A WebSocket by `tungstenite`, which keeps the protocol's rules, for texts and for messages of both kinds. Between it and the
//! connection sits an adapter that reads through the thread's buffer, because the library's own default of 128 KiB per
//! connection is more than an idle one may cost.

use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role as Side, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message};

use super::PINGS;
use super::adapter::{self, Adapter};
use crate::bucket::Bucket;
use crate::error::{CloseReason, Violation};
use crate::frame::MESSAGE_MAX;

/// The library's read buffer. It is kept while idle; long messages get their own room for as long as they live.
const READ_BUFFER: usize = 1024;
/// Messages of a batch gather here before they are written; grows on demand.
const WRITE_BUFFER: usize = 128 * 1024;
/// Most that waits to be written: a batch and the message that ended it.
const WRITE_BUFFER_MAX: usize = WRITE_BUFFER + 2 * MESSAGE_MAX;

/// A WebSocket whose messages are of both kinds, and as long as its owner takes them.
pub(super) struct Library<IO> {
    // An option only so that the value can be taken apart in place.
    inner: Option<tungstenite::WebSocket<Adapter<IO>>>,
    side: Side,
    message_max: usize,
    /// Bytes that whole messages account for: equal to what the adapter handed out when no partial frame is inside.
    accounted: u64,
    /// A message has made the library's buffers grow.
    grown: bool,
    pub(super) flushed: bool,
    closing: bool,
    pub(super) fault: Option<CloseCode>,
    pings: Bucket,
    began: Instant,
}

impl<IO> std::fmt::Debug for Library<IO> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Library").field("side", &self.side).finish_non_exhaustive()
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Library<IO> {
    /// Bytes received so far: any byte counts as life.
    pub(super) fn received(&self) -> u64 {
        self.inner.as_ref().map_or(0, |inner| inner.get_ref().received)
    }

    pub(super) fn new(io: IO, early: &[u8], side: Side, message_max: usize) -> Self {
        let adapter = Adapter::new(io, early, message_max as u64 * 2);
        Self {
            inner: Some(tungstenite::WebSocket::from_raw_socket(adapter, side, Some(config(message_max)))),
            side,
            message_max,
            accounted: 0,
            grown: false,
            flushed: true,
            closing: false,
            fault: None,
            pings: PINGS,
            began: Instant::now(),
        }
    }

    /// The next data message, of either kind.
    pub(super) fn poll_message(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Message, CloseReason>>> {
        let Some(inner) = self.inner.as_mut() else { return Poll::Ready(None) };
        inner.get_mut().wait_as(context);
        loop {
            let message = match inner.read() {
                Ok(message) => message,
                Err(tungstenite::Error::Io(error)) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    return Poll::Pending;
                }
                Err(tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed) => {
                    return Poll::Ready(None);
                }
                Err(error) => {
                    let (reason, code) = judge(&error);
                    self.fault = code;
                    return Poll::Ready(Some(Err(reason)));
                }
            };
            let length = message.len();
            inner.get_mut().since_message = 0;
            self.accounted += frame_length(length, self.side == Side::Server);
            self.grown |= length > READ_BUFFER / 2;
            match message {
                Message::Binary(_) | Message::Text(_) => return Poll::Ready(Some(Ok(message))),
                Message::Ping(_) => {
                    self.flushed = false;
                    let now_us = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
                    if !self.pings.take(now_us) {
                        self.fault = Some(CloseCode::Policy);
                        return Poll::Ready(Some(Err(CloseReason::Violation(Violation::Flood))));
                    }
                }
                Message::Pong(_) | Message::Frame(_) => {}
                Message::Close(frame) => {
                    let text = frame.map_or_else(String::new, |frame| {
                        let reason: String = frame.reason.chars().filter(|c| !c.is_control()).collect();
                        format!("{} {reason}", u16::from(frame.code))
                    });
                    return Poll::Ready(Some(Err(CloseReason::Remote(text.trim_end().to_owned()))));
                }
            }
        }
    }

    pub(super) fn send_message(&mut self, message: Message) -> Result<(), CloseReason> {
        let Some(inner) = self.inner.as_mut() else { return Err(CloseReason::Cut) };
        self.flushed = false;
        self.grown |= message.len() > READ_BUFFER / 2;
        match inner.write(message) {
            Ok(()) => Ok(()),
            // Taken and kept: the next flush goes on.
            Err(tungstenite::Error::Io(error)) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(judge(&error).0),
        }
    }

    pub(super) fn poll_flushed(&mut self, context: &mut Context<'_>) -> Poll<Result<(), CloseReason>> {
        let Some(inner) = self.inner.as_mut() else { return Poll::Ready(Err(CloseReason::Cut)) };
        if self.flushed {
            return Poll::Ready(Ok(()));
        }
        inner.get_mut().wait_to_write_as(context);
        match inner.flush() {
            Ok(()) => {
                self.flushed = true;
                Poll::Ready(Ok(()))
            }
            Err(tungstenite::Error::Io(error)) if error.kind() == std::io::ErrorKind::WouldBlock => Poll::Pending,
            Err(error) => Poll::Ready(Err(judge(&error).0)),
        }
    }

    pub(super) fn poll_good_bye(&mut self, code: CloseCode, context: &mut Context<'_>) -> Poll<()> {
        if !std::mem::replace(&mut self.closing, true) {
            let Some(inner) = self.inner.as_mut() else { return Poll::Ready(()) };
            inner.get_mut().wait_to_write_as(context);
            let frame = CloseFrame { code, reason: "".into() };
            // Whether it was the last to say so shows in the flush below.
            let _ = inner.close(Some(frame));
            self.flushed = false;
        }
        match self.poll_flushed(context) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(_) => self.flushed = true,
        }
        let Some(inner) = self.inner.as_mut() else { return Poll::Ready(()) };
        inner.get_mut().poll_shutdown(context).map(|_| ())
    }

    /// Gives back buffers that a long message made grow, if nothing is in them.
    pub(super) fn shrink(&mut self) {
        if !self.grown || !self.flushed || self.closing {
            return;
        }
        let Some(inner) = self.inner.take_if(|inner| inner.get_ref().handed == self.accounted) else { return };
        // The library never shrinks its buffers. Between two messages it has no other state that matters.
        let adapter = inner.into_inner();
        self.inner = Some(tungstenite::WebSocket::from_raw_socket(adapter, self.side, Some(config(self.message_max))));
        self.grown = false;
    }
}

fn config(message_max: usize) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_BUFFER)
        .max_write_buffer_size(WRITE_BUFFER_MAX.max(message_max + WRITE_BUFFER))
        .max_message_size(Some(message_max))
        .max_frame_size(Some(message_max))
        .accept_unmasked_frames(false)
}

/// Bytes of a message in one frame with the shortest header. A peer that sends more than that makes the sums differ for
/// good, which only means that its buffers are not given back.
fn frame_length(payload: usize, masked: bool) -> u64 {
    let extended = match payload {
        0..=125 => 0,
        126..=65_535 => 2,
        _ => 8,
    };
    (2 + extended + if masked { 4 } else { 0 } + payload) as u64
}

/// What an error of the library means, and the close code that RFC 6455 §7.4 has for it.
fn judge(error: &tungstenite::Error) -> (CloseReason, Option<CloseCode>) {
    use tungstenite::Error;
    use tungstenite::error::ProtocolError;
    match error {
        Error::Io(error) if adapter::is_too_long(error) => {
            (CloseReason::Violation(Violation::MessageTooLong), Some(CloseCode::Size))
        }
        Error::Io(error) => (CloseReason::Lost(error.kind().to_string()), None),
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
            (CloseReason::Lost("ended without a good-bye".to_owned()), None)
        }
        Error::Capacity(_) | Error::WriteBufferFull(_) => {
            (CloseReason::Violation(Violation::MessageTooLong), Some(CloseCode::Size))
        }
        Error::Utf8(_) => (CloseReason::Violation(Violation::Utf8), Some(CloseCode::Invalid)),
        Error::ConnectionClosed | Error::AlreadyClosed => (CloseReason::Lost("already closed".to_owned()), None),
        _ => (CloseReason::Violation(Violation::WebSocket), Some(CloseCode::Protocol)),
    }
}

#[cfg(test)]
#[path = "library_tests.rs"]
mod tests;
