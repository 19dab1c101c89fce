//! `Read + Write` for the library on one side, the connection on the other.

use std::io::{self, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::transport::scratch;

pub(super) struct Adapter<IO> {
    io: IO,
    reader: Waker,
    writer: Waker,
    /// Read from the connection and not yet asked for.
    early: Bytes,
    /// Bytes read from the connection.
    pub(super) received: u64,
    /// Bytes given to the library.
    pub(super) handed: u64,
    /// Bytes given since the last whole message.
    pub(super) since_message: u64,
    /// Most bytes between two messages: a message of endless empty fragments ends here.
    pub(super) limit: u64,
}

#[derive(Debug, thiserror::Error)]
#[error("message too long")]
struct TooLong;

/// Whether this is the adapter's own error.
pub(super) fn is_too_long(error: &io::Error) -> bool {
    error.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<TooLong>)
}

impl<IO> Adapter<IO> {
    pub(super) fn new(io: IO, early: &[u8], limit: u64) -> Self {
        Self {
            io,
            reader: Waker::noop().clone(),
            writer: Waker::noop().clone(),
            // A copy, even of nothing: a slice would keep the whole buffer of the handshake alive.
            early: Bytes::copy_from_slice(early),
            received: 0,
            handed: 0,
            since_message: 0,
            limit,
        }
    }

    /// Both directions wake this task: reading may write (answers to pings).
    pub(super) fn wait_as(&mut self, context: &Context<'_>) {
        self.reader.clone_from(context.waker());
        self.writer.clone_from(context.waker());
    }

    pub(super) fn wait_to_write_as(&mut self, context: &Context<'_>) {
        self.writer.clone_from(context.waker());
    }
}

impl<IO: AsyncWrite + Unpin> Adapter<IO> {
    pub(super) fn poll_shutdown(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

impl<IO: AsyncRead + Unpin> Read for Adapter<IO> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.since_message > self.limit {
            return Err(io::Error::other(TooLong));
        }
        let mut count = 0;
        if self.early.is_empty() {
            let mut rest = Bytes::new();
            let read = scratch::poll_read(&mut self.io, &mut Context::from_waker(&self.reader), |bytes| {
                count = bytes.len().min(out.len());
                let (now, later) = bytes.split_at(count);
                out.get_mut(..count).unwrap_or_default().copy_from_slice(now);
                rest = Bytes::copy_from_slice(later);
            });
            match read {
                Poll::Ready(Ok(length)) => self.received += length as u64,
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => return Err(io::ErrorKind::WouldBlock.into()),
            }
            self.early = rest;
        } else {
            count = self.early.len().min(out.len());
            self.early.copy_to_slice(out.get_mut(..count).unwrap_or_default());
            if self.early.is_empty() {
                self.early = Bytes::new();
            }
        }
        self.handed += count as u64;
        self.since_message += count as u64;
        Ok(count)
    }
}

impl<IO: AsyncWrite + Unpin> Write for Adapter<IO> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match Pin::new(&mut self.io).poll_write(&mut Context::from_waker(&self.writer), bytes) {
            Poll::Ready(written) => written,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match Pin::new(&mut self.io).poll_flush(&mut Context::from_waker(&self.writer)) {
            Poll::Ready(flushed) => flushed,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}
