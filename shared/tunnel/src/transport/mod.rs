//! What carries messages: [`Framed`] over any `AsyncRead + AsyncWrite`, [`pipe()`] in memory, and the WebSocket of
//! [`crate::ws`]. A transport keeps message borders and order; it holds no buffer while nothing moves.

mod framed;
mod pipe;
pub(crate) mod scratch;

use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};

use crate::error::CloseReason;
use crate::frame::Code;

pub use framed::Framed;
pub(crate) use framed::lost;
pub use pipe::{Pipe, pipe};

/// Most bytes that are thrown away after a good-bye: what a peer may have had on the way.
pub(crate) const DRAIN_MAX: u64 = 1024 * 1024;

/// Carries messages both ways.
pub trait Transport: Send + 'static {
    /// The next message; `Ready(None)` when the peer ended in order.
    fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, CloseReason>>>;

    /// Takes a message to send. Allowed only after [`Transport::poll_flush`] gave `Ready(Ok)`, a batch at a time.
    fn start_send(&mut self, message: Bytes) -> Result<(), CloseReason>;

    /// Takes a message that `fill` writes, of some `room` bytes: where it is to go, if the transport has such a place. Says how
    /// long it is; without a byte there is none.
    fn start_send_of(&mut self, room: usize, fill: &mut dyn FnMut(&mut BytesMut)) -> Result<usize, CloseReason> {
        let mut message = BytesMut::with_capacity(room);
        fill(&mut message);
        let length = message.len();
        if length > 0 {
            self.start_send(message.freeze())?;
        }
        Ok(length)
    }

    /// Writes what was taken. Registers the task only when it gives `Pending`.
    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<Result<(), CloseReason>>;

    /// Says good-bye in the transport's own way and ends the sending side.
    fn poll_close(&mut self, code: Code, context: &mut Context<'_>) -> Poll<()>;

    /// After the good-bye: reads and throws away until the peer hangs up too, or sent more than [`DRAIN_MAX`]. A socket that
    /// is closed with unread bytes in it is reset, and the peer may never see why.
    fn poll_drain(&mut self, _context: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }

    /// Bytes received so far, whether or not they made a message: any byte counts as life.
    fn received(&self) -> u64;

    /// Bytes written so far: shows whether a slow peer takes anything at all.
    fn sent(&self) -> u64;

    /// Nothing moves now: let go of buffers.
    fn rest(&mut self) {}
}

impl Transport for Box<dyn Transport> {
    fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, CloseReason>>> {
        (**self).poll_receive(context)
    }
    fn start_send(&mut self, message: Bytes) -> Result<(), CloseReason> {
        (**self).start_send(message)
    }
    fn start_send_of(&mut self, room: usize, fill: &mut dyn FnMut(&mut BytesMut)) -> Result<usize, CloseReason> {
        (**self).start_send_of(room, fill)
    }
    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<Result<(), CloseReason>> {
        (**self).poll_flush(context)
    }
    fn poll_close(&mut self, code: Code, context: &mut Context<'_>) -> Poll<()> {
        (**self).poll_close(code, context)
    }
    fn poll_drain(&mut self, context: &mut Context<'_>) -> Poll<()> {
        (**self).poll_drain(context)
    }
    fn received(&self) -> u64 {
        (**self).received()
    }
    fn sent(&self) -> u64 {
        (**self).sent()
    }
    fn rest(&mut self) {
        (**self).rest();
    }
}
