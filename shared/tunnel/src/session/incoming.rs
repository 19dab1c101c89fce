//! What the peer starts: streams and notices.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;

use super::state::Arrived;
use super::{Shared, Stream};
use crate::frame::Code;

/// Something the peer started.
#[derive(Debug)]
pub enum Event {
    /// A stream.
    Stream {
        /// What it is for.
        head: Bytes,
        /// The stream.
        stream: Stream,
    },
    /// A control message.
    Notice(Bytes),
}

/// Streams and notices of the peer, in order. When it is dropped, new ones are refused.
#[derive(Debug)]
pub struct Incoming {
    shared: Arc<Shared>,
}

impl Incoming {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// The next one; `None` when the session is over. May be cancelled.
    pub async fn next(&mut self) -> Option<Event> {
        poll_fn(|context| self.poll_next(context)).await
    }

    /// The next one.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Event>> {
        let mut state = self.shared.lock();
        match state.take_arrived() {
            Some(Arrived::Stream { id, class, head }) => {
                drop(state);
                let stream = Stream::new(Arc::clone(&self.shared), id, class);
                Poll::Ready(Some(Event::Stream { head, stream }))
            }
            Some(Arrived::Notice(bytes)) => Poll::Ready(Some(Event::Notice(bytes))),
            None if state.ending.is_some() => Poll::Ready(None),
            None => {
                state.incoming = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.shared.act(|state, _| {
            state.taking = false;
            while let Some(arrived) = state.take_arrived() {
                if let Arrived::Stream { id, .. } = arrived {
                    state.machine.reset(id, Code::REFUSED);
                    state.machine.release(id);
                }
            }
        });
        self.shared.let_go();
    }
}
