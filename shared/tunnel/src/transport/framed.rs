//! Messages over a byte stream: a u32 of length, big endian, before each.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{DRAIN_MAX, Transport, scratch};
use crate::error::{CloseReason, Violation};
use crate::frame::{Code, MESSAGE_MAX};

/// Bytes of the length.
const PREFIX: usize = 4;

/// Messages over anything that reads and writes.
#[derive(Debug)]
pub struct Framed<IO> {
    io: IO,
    /// Received bytes that are not yet a whole message.
    incoming: BytesMut,
    outgoing: BytesMut,
    received: u64,
    sent: u64,
    left_to_drain: u64,
}

impl<IO> Framed<IO> {
    /// Wraps a connection.
    pub fn new(io: IO) -> Self {
        Self {
            io,
            incoming: BytesMut::new(),
            outgoing: BytesMut::new(),
            received: 0,
            sent: 0,
            left_to_drain: DRAIN_MAX,
        }
    }

    fn next_message(&mut self) -> Result<Option<Bytes>, CloseReason> {
        let Some(prefix) = self.incoming.first_chunk::<PREFIX>() else { return Ok(None) };
        let length = usize::try_from(u32::from_be_bytes(*prefix)).unwrap_or(usize::MAX);
        if length > MESSAGE_MAX {
            return Err(CloseReason::Violation(Violation::MessageTooLong));
        }
        if self.incoming.len() < PREFIX + length {
            return Ok(None);
        }
        self.incoming.advance(PREFIX);
        Ok(Some(self.incoming.split_to(length).freeze()))
    }
}

pub(crate) fn lost(error: &io::Error) -> CloseReason {
    CloseReason::Lost(error.kind().to_string())
}

impl<IO: AsyncRead + AsyncWrite + Unpin + Send + 'static> Transport for Framed<IO> {
    fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, CloseReason>>> {
        loop {
            match self.next_message() {
                Ok(Some(message)) => return Poll::Ready(Some(Ok(message))),
                Ok(None) => {}
                Err(reason) => return Poll::Ready(Some(Err(reason))),
            }
            let incoming = &mut self.incoming;
            match scratch::poll_read(&mut self.io, context, |bytes| incoming.extend_from_slice(bytes)) {
                Poll::Ready(Ok(0)) if self.incoming.is_empty() => return Poll::Ready(None),
                Poll::Ready(Ok(0)) => {
                    return Poll::Ready(Some(Err(CloseReason::Lost("ended inside a message".to_owned()))));
                }
                Poll::Ready(Ok(length)) => self.received += length as u64,
                Poll::Ready(Err(error)) => return Poll::Ready(Some(Err(lost(&error)))),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn start_send(&mut self, message: Bytes) -> Result<(), CloseReason> {
        let length = u32::try_from(message.len()).map_err(|_| CloseReason::Violation(Violation::MessageTooLong))?;
        self.outgoing.reserve(PREFIX + message.len());
        self.outgoing.put_u32(length);
        self.outgoing.put_slice(&message);
        Ok(())
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<Result<(), CloseReason>> {
        while !self.outgoing.is_empty() {
            match Pin::new(&mut self.io).poll_write(context, &self.outgoing) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(lost(&io::ErrorKind::WriteZero.into()))),
                Poll::Ready(Ok(length)) => {
                    self.outgoing.advance(length);
                    self.sent += length as u64;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(lost(&error))),
                Poll::Pending => return Poll::Pending,
            }
        }
        Pin::new(&mut self.io).poll_flush(context).map_err(|error| lost(&error))
    }

    fn poll_close(&mut self, _code: Code, context: &mut Context<'_>) -> Poll<()> {
        match self.poll_flush(context) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Err(_)) => return Poll::Ready(()),
            Poll::Ready(Ok(())) => {}
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
        if self.incoming.is_empty() {
            self.incoming = BytesMut::new();
        }
        if self.outgoing.is_empty() {
            self.outgoing = BytesMut::new();
        }
    }
}
