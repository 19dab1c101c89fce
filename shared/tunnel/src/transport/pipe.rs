//! Two ends in one process: hosted agents, and tests.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use super::Transport;
use crate::error::CloseReason;
use crate::frame::Code;

/// Bytes on their way before a writer waits: a batch.
const CAPACITY: usize = 128 * 1024;

#[derive(Debug, Default)]
struct Direction {
    messages: VecDeque<Bytes>,
    bytes: usize,
    ended: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// One end of an in-memory connection.
#[derive(Debug)]
pub struct Pipe {
    incoming: Arc<Mutex<Direction>>,
    outgoing: Arc<Mutex<Direction>>,
    received: u64,
    sent: u64,
}

/// A connection in memory.
pub fn pipe() -> (Pipe, Pipe) {
    let (one, two) = (Arc::default(), Arc::default());
    let end = |incoming: &Arc<_>, outgoing: &Arc<_>| Pipe {
        incoming: Arc::clone(incoming),
        outgoing: Arc::clone(outgoing),
        received: 0,
        sent: 0,
    };
    (end(&one, &two), end(&two, &one))
}

fn lock(direction: &Mutex<Direction>) -> MutexGuard<'_, Direction> {
    direction.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Transport for Pipe {
    fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, CloseReason>>> {
        let mut incoming = lock(&self.incoming);
        let Some(message) = incoming.messages.pop_front() else {
            if incoming.ended {
                return Poll::Ready(None);
            }
            incoming.messages = VecDeque::new();
            incoming.reader = Some(context.waker().clone());
            return Poll::Pending;
        };
        incoming.bytes -= message.len();
        let writer = incoming.writer.take();
        drop(incoming);
        wake(writer);
        self.received += message.len() as u64;
        Poll::Ready(Some(Ok(message)))
    }

    fn start_send(&mut self, message: Bytes) -> Result<(), CloseReason> {
        let mut outgoing = lock(&self.outgoing);
        if outgoing.ended {
            return Err(CloseReason::Lost("other end dropped".to_owned()));
        }
        outgoing.bytes += message.len();
        self.sent += message.len() as u64;
        outgoing.messages.push_back(message);
        let reader = outgoing.reader.take();
        drop(outgoing);
        wake(reader);
        Ok(())
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<Result<(), CloseReason>> {
        let mut outgoing = lock(&self.outgoing);
        if outgoing.ended || outgoing.bytes < CAPACITY {
            return Poll::Ready(Ok(()));
        }
        outgoing.writer = Some(context.waker().clone());
        Poll::Pending
    }

    fn poll_close(&mut self, _code: Code, _context: &mut Context<'_>) -> Poll<()> {
        end(&self.outgoing);
        Poll::Ready(())
    }

    fn received(&self) -> u64 {
        self.received
    }

    fn sent(&self) -> u64 {
        self.sent
    }
}

fn end(direction: &Mutex<Direction>) {
    let mut direction = lock(direction);
    direction.ended = true;
    let (reader, writer) = (direction.reader.take(), direction.writer.take());
    drop(direction);
    wake(reader);
    wake(writer);
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        end(&self.incoming);
        end(&self.outgoing);
    }
}
