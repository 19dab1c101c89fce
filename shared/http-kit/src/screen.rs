//! A screen between the socket and the HTTP/1 parser, for what happens before there is a request: the parser answers a
//! broken, too large or too slow head with an empty 400, 408 or 431; the screen puts our error body there. It also
//! ends a head that comes too slowly on a connection that was used before, which the parser does for the first only;
//! it ends a connection on which nothing was ever asked without a word; and it spoils line ends without a carriage return,
//! which the parser takes and a proxy before us may read otherwise.
//!
//! Requests that parse pass through untouched.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix_web::http::StatusCode;
use bytes::{Buf as _, BytesMut};
use roadstead_contracts::{Code, Error};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use crate::frame::UNMATCHED;
use crate::{Front, failure};

/// The parser's empty refusals are some 120 bytes; anything longer is an answer of ours.
const BARE_MAX: usize = 256;
/// How long an unread body is drained after a refusal, so that the client gets to read it.
pub(crate) const LINGER: Duration = Duration::from_secs(2);
/// Header line of an answer after which the connection ends.
const CLOSE: &[u8] = b"\r\nconnection: close\r\n";

/// Where the reader is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// HTTP/2, which has its own framing: nothing is looked at.
    Blind,
    /// In the request line, or before it.
    Line,
    /// In the headers; the number of line ends just seen in a row.
    Headers(u8),
    /// Behind the head: a body, or a request that waits for its answer.
    Behind,
}

/// What the parser got when it last asked the socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Got {
    /// Something. It has not asked for more since: it holds as much of a body as it takes.
    Something,
    /// Nothing yet: it is told when there is more.
    Nothing,
}

pub(crate) struct Screen<S> {
    inner: S,
    front: Arc<Front>,
    head_time: Duration,
    place: Place,
    line_length: usize,
    /// The byte before the next one.
    last: u8,
    answered: bool,
    got: Got,
    used: bool,
    closing: bool,
    timer: Option<Pin<Box<Sleep>>>,
    pending: BytesMut,
}

/// Whether these bytes begin with a refusal after which the connection ends.
fn is_last_refusal(bytes: &[u8]) -> bool {
    if ![&b"HTTP/1.1 4"[..], b"HTTP/1.1 5"].iter().any(|start| bytes.starts_with(start)) {
        return false;
    }
    let head = bytes.windows(4).position(|window| window == b"\r\n\r\n").map_or(bytes, |end| &bytes[..end + 2]);
    head.windows(CLOSE.len()).any(|window| window.eq_ignore_ascii_case(CLOSE))
}

impl<S> Screen<S> {
    pub(crate) fn new(inner: S, front: Arc<Front>, head_time: Duration, blind: bool) -> Self {
        Self {
            inner,
            front,
            head_time,
            place: if blind { Place::Blind } else { Place::Line },
            line_length: 0,
            last: 0,
            answered: false,
            got: Got::Nothing,
            used: false,
            closing: false,
            timer: None,
            pending: BytesMut::new(),
        }
    }

    fn saw(&mut self, bytes: &mut [u8]) {
        if self.answered {
            (self.place, self.line_length, self.answered) = (Place::Line, 0, false);
        }
        for byte in bytes {
            if *byte == b'\n' && self.last != b'\r' && !matches!(self.place, Place::Behind | Place::Blind) {
                // No head may hold this byte: the parser refuses it (row R19).
                *byte = 0;
            }
            self.last = *byte;
            self.place = match (self.place, &*byte) {
                (Place::Behind | Place::Blind, _) => break,
                (Place::Line, b'\n') => Place::Headers(1),
                (Place::Line, _) => {
                    self.line_length += 1;
                    Place::Line
                }
                (Place::Headers(ends), b'\n') if ends >= 1 => Place::Behind,
                (Place::Headers(_), b'\n') => Place::Headers(1),
                (Place::Headers(ends), b'\r') => Place::Headers(ends),
                (Place::Headers(_), _) => Place::Headers(0),
            };
        }
        if self.place == Place::Behind {
            self.timer = None;
            self.used = true;
        } else if self.used && self.timer.is_none() {
            self.timer = Some(Box::pin(tokio::time::sleep(self.head_time)));
        }
    }

    /// The bytes to send instead, when these end with an empty refusal of the parser.
    fn translate(&self, bytes: &[u8]) -> Option<BytesMut> {
        if self.place == Place::Blind || self.answered {
            return None;
        }
        let from = bytes.len().saturating_sub(BARE_MAX);
        let start = from + bytes[from..].windows(10).rposition(|window| window == b"HTTP/1.1 4")?;
        let bare = std::str::from_utf8(&bytes[start..]).ok()?;
        let empty = bare.contains("\r\ncontent-length: 0\r\n") && bare.ends_with("\r\n\r\n");
        if !empty || bare.contains("x-request-id") {
            return None;
        }
        let code = match bare.get(9..12)? {
            "400" | "431" if self.line_length > self.front.limits.uri => Code::UriTooLong,
            "400" => Code::BadRequest,
            "408" => Code::RequestTimeout,
            "431" => Code::HeadersTooLarge,
            _ => return None,
        };
        let mut whole = BytesMut::from(&bytes[..start]);
        whole.extend_from_slice(&refusal(code, &self.front));
        Some(whole)
    }
}

fn refusal(code: Code, front: &Front) -> Vec<u8> {
    let request_id = front.ids.uuid().to_string();
    let (status, body) = failure::render(&Error::of(code), false, &request_id);
    front.metrics.route("OTHER", UNMATCHED).done(status.as_u16(), Duration::ZERO);
    tracing::debug!(request_id, status = status.as_u16(), "a request that could not be read was refused: {code}");
    let reason = StatusCode::canonical_reason(&status).unwrap_or_default();
    let mut text = format!(
        "HTTP/1.1 {} {reason}\r\ncontent-length: {}\r\nconnection: close\r\ncontent-type: application/problem+json\r\n\
         x-request-id: {request_id}\r\nx-content-type-options: nosniff\r\ncache-control: no-store\r\n\r\n",
        status.as_u16(),
        body.len(),
    )
    .into_bytes();
    text.extend_from_slice(&body);
    text
}

impl<S: AsyncRead + Unpin> AsyncRead for Screen<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let polled = Pin::new(&mut this.inner).poll_read(context, buffer);
        this.got = if polled.is_pending() { Got::Nothing } else { Got::Something };
        if this.place != Place::Blind
            && !this.closing
            && matches!(polled, Poll::Ready(Ok(())))
            && buffer.filled().len() > before
        {
            this.saw(&mut buffer.filled_mut()[before..]);
        }
        if (polled.is_pending() || this.closing)
            && let Some(timer) = this.timer.as_mut()
            && timer.as_mut().poll(context).is_ready()
        {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> Screen<S> {
    fn poll_pending(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.pending.is_empty() {
            let written = ready!(Pin::new(&mut self.inner).poll_write(context, &self.pending))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.pending.advance(written);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Screen<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_pending(context))?;
        if this.place == Place::Line && this.last == 0 && bytes.starts_with(b"HTTP/1.1 408 ") {
            // Nothing was asked: an answer would be taken for the next request's, by browsers and clients that connect ahead.
            this.answered = true;
            return Poll::Ready(Ok(bytes.len()));
        }
        let translated = this.translate(bytes);
        if this.place != Place::Blind && is_last_refusal(bytes) {
            // The parser would read on for as long as an endless body comes (row R05).
            this.closing = true;
            this.timer = Some(Box::pin(tokio::time::sleep(LINGER)));
        }
        if !bytes.starts_with(b"HTTP/1.1 100") {
            if !this.answered && this.got == Got::Something && this.place != Place::Blind {
                // Nobody takes the body any more, and nobody would tell the parser to go on with it: the connection stayed.
                context.waker().wake_by_ref();
            }
            this.answered = true;
        }
        let Some(other) = translated else { return Pin::new(&mut this.inner).poll_write(context, bytes) };
        this.pending = other;
        // Taken whole; what the socket does not take now goes with the flush.
        match this.poll_pending(context) {
            Poll::Ready(Err(fault)) => Poll::Ready(Err(fault)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(bytes.len())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_pending(context))?;
        Pin::new(&mut this.inner).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_pending(context))?;
        Pin::new(&mut this.inner).poll_shutdown(context)
    }
}
