//! Texts over a WebSocket: simple agents of the seeds, which know no sub-protocol.

use std::future::poll_fn;
use std::task::ready;

use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::library::Library;
use crate::error::{CloseReason, Violation};

/// A WebSocket that carries texts. One task owns it; [`TextSocket::receive`] and [`TextSocket::send`] may both be cancelled,
/// a cancelled send goes on with the next call of either.
#[derive(Debug)]
pub struct TextSocket<IO> {
    socket: Library<IO>,
}

impl<IO: AsyncRead + AsyncWrite + Unpin + Send + 'static> TextSocket<IO> {
    /// The next text; `None` when the peer hung up in order.
    pub async fn receive(&mut self) -> Option<Result<String, CloseReason>> {
        poll_fn(|context| self.poll_receive(context)).await
    }

    fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<String, CloseReason>>> {
        // Answers to pings, and the rest of a cancelled send.
        if let Poll::Ready(Err(reason)) = self.socket.poll_flushed(context) {
            return Poll::Ready(Some(Err(reason)));
        }
        let message = ready!(self.socket.poll_message(context));
        self.socket.shrink();
        Poll::Ready(match message {
            Some(Ok(Message::Text(text))) => Some(Ok(text.as_str().to_owned())),
            Some(Ok(_)) => {
                self.socket.fault = Some(CloseCode::Unsupported);
                Some(Err(CloseReason::Violation(Violation::WebSocket)))
            }
            Some(Err(CloseReason::Remote(_))) | None => None,
            Some(Err(reason)) => Some(Err(reason)),
        })
    }

    /// Sends a text.
    pub async fn send(&mut self, text: String) -> Result<(), CloseReason> {
        poll_fn(|context| self.socket.poll_flushed(context)).await?;
        self.socket.send_message(Message::Text(text.into()))?;
        poll_fn(|context| self.socket.poll_flushed(context)).await
    }

    /// Asks whether the peer is there; the answer shows in [`TextSocket::received`].
    pub async fn ping(&mut self) -> Result<(), CloseReason> {
        poll_fn(|context| self.socket.poll_flushed(context)).await?;
        self.socket.send_message(Message::Ping(Bytes::new()))?;
        poll_fn(|context| self.socket.poll_flushed(context)).await
    }

    /// Bytes received so far: any byte counts as life.
    pub fn received(&self) -> u64 {
        self.socket.received()
    }

    /// Says good-bye with a code of RFC 6455 §7.4.
    pub async fn close(&mut self, code: u16) {
        let code = self.socket.fault.unwrap_or(CloseCode::from(code));
        poll_fn(|context| self.socket.poll_good_bye(code, context)).await;
    }
}

impl<IO> TextSocket<IO> {
    pub(super) fn new(socket: Library<IO>) -> Self {
        Self { socket }
    }
}
