//! The handle of one stream.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Shared, closed};
use crate::frame::{Class, Code, StreamId};
use crate::machine::{Read, Write};

/// A stream: `AsyncRead + AsyncWrite`. Shutting down ends our side only; dropping it without that cuts it.
#[derive(Debug)]
pub struct Stream {
    shared: Arc<Shared>,
    id: StreamId,
    class: Class,
}

/// The error inside an [`io::Error`] of a stream that was cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("stream was reset with code {}", .0.0)]
pub struct StreamReset(pub Code);

impl Stream {
    pub(super) fn new(shared: Arc<Shared>, id: StreamId, class: Class) -> Self {
        Self { shared, id, class }
    }

    /// Its number.
    pub fn id(&self) -> StreamId {
        self.id
    }

    /// How urgent it is.
    pub fn class(&self) -> Class {
        self.class
    }

    /// Cuts it in both directions and tells the peer why.
    pub fn reset(self, code: Code) {
        self.shared.act(|state, _| state.machine.reset(self.id, code));
    }

    /// Ends our side after what was written.
    pub fn finish(&mut self) {
        self.shared.act_soon(|state, _| state.machine.finish(self.id));
    }

    /// Writes the last bytes of our side; when all of them are taken, it ends with them.
    pub fn poll_write_last(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        put(&self.shared, self.id, context, bytes, true)
    }

    /// A second handle to write with. It holds nothing: once the stream is gone, writing fails.
    pub fn writer(&self) -> Writer {
        Writer { shared: Arc::clone(&self.shared), id: self.id }
    }

    /// The next bytes without copying them; `None` at the end.
    pub async fn chunk(&mut self) -> io::Result<Option<Bytes>> {
        poll_fn(|context| self.poll_chunk(context, usize::MAX)).await
    }

    /// The next bytes, at most `most`; `None` at the end.
    pub fn poll_chunk(&mut self, context: &mut Context<'_>, most: usize) -> Poll<io::Result<Option<Bytes>>> {
        let id = self.id;
        self.shared.act(|state, now_us| match state.machine.read(id, most, now_us) {
            Read::Bytes(bytes) => Poll::Ready(Ok(Some(bytes))),
            Read::End => Poll::Ready(Ok(None)),
            Read::Reset(code) => Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionReset, StreamReset(code)))),
            Read::Pending => {
                if let Some(reason) = &state.ending {
                    return Poll::Ready(Err(closed(reason).into()));
                }
                state.wakers.entry(id).or_default().read = Some(context.waker().clone());
                Poll::Pending
            }
        })
    }

    /// The code with which a stream was cut, if that is what the error is.
    pub fn reset_code(error: &io::Error) -> Option<Code> {
        error.get_ref()?.downcast_ref::<StreamReset>().map(|reset| reset.0)
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if out.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let most = out.remaining();
        self.poll_chunk(context, most).map_ok(|chunk| {
            if let Some(bytes) = chunk {
                out.put_slice(&bytes);
            }
        })
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        put(&self.shared, self.id, context, bytes, false)
    }

    /// What was written is on its way already, as far as credit goes; there is nothing to wait for.
    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.finish();
        Poll::Ready(Ok(()))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let id = self.id;
        self.shared.act_soon(|state, _| {
            state.machine.release(id);
            state.wakers.remove(&id);
        });
    }
}

/// Writes to a stream that somebody else holds and reads.
#[derive(Debug)]
pub struct Writer {
    shared: Arc<Shared>,
    id: StreamId,
}

impl Writer {
    /// Writes some of the bytes.
    pub fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        put(&self.shared, self.id, context, bytes, false)
    }

    /// Writes all of the bytes.
    pub async fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let count = poll_fn(|context| self.poll_write(context, bytes)).await?;
            bytes = bytes.get(count..).unwrap_or_default();
        }
        Ok(())
    }

    /// Cuts the stream in both directions, for its holder too.
    pub fn reset(&self, code: Code) {
        let id = self.id;
        self.shared.act(|state, _| {
            state.machine.reset(id, code);
            let wakers = state.wakers.remove(&id).unwrap_or_default();
            state.wake([wakers.read, wakers.write].into_iter().flatten());
        });
    }
}

/// Gives bytes to a stream, as many as there is room for; `last`: it ends with them when all are taken.
fn put(shared: &Shared, id: StreamId, context: &Context<'_>, bytes: &[u8], last: bool) -> Poll<io::Result<usize>> {
    shared.act(|state, _| {
        if let Some(reason) = &state.ending {
            return Poll::Ready(Err(closed(reason).into()));
        }
        match state.machine.write(id, bytes) {
            Write::Taken(count) => {
                if last && count == bytes.len() {
                    state.machine.finish(id);
                }
                Poll::Ready(Ok(count))
            }
            Write::Closed(code) => Poll::Ready(Err(io::Error::new(io::ErrorKind::BrokenPipe, StreamReset(code)))),
            Write::Full => {
                state.wakers.entry(id).or_default().write = Some(context.waker().clone());
                Poll::Pending
            }
        }
    })
}
