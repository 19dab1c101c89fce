//! Messages of both kinds over a WebSocket, for doors that browsers use.

use std::future::poll_fn;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::tungstenite::Message as Carried;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::library::Library;
use crate::error::CloseReason;

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Text.
    Text(String),
    /// Bytes.
    Binary(Bytes),
}

/// What [`MessageSocket::next`] answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// The peer said something.
    Message(Message),
    /// Everything that was given to [`MessageSocket::send`] is on its way.
    Flushed,
    /// The peer hung up.
    Ended,
    /// The connection is gone, or the peer breaks the rules.
    Broken(CloseReason),
}

/// A WebSocket that carries messages. One task owns it: [`MessageSocket::send`] never waits, so that whoever joins two sockets
/// reads one only while the other takes what it is given.
#[derive(Debug)]
pub struct MessageSocket<IO> {
    socket: Library<IO>,
}

impl<IO: AsyncRead + AsyncWrite + Unpin + Send + 'static> MessageSocket<IO> {
    pub(super) fn new(socket: Library<IO>) -> Self {
        Self { socket }
    }

    /// Whether nothing waits to be sent.
    pub fn is_flushed(&self) -> bool {
        self.socket.flushed
    }

    /// Gives a message to be sent; [`MessageSocket::next`] sends it. At most one should wait.
    pub fn send(&mut self, message: Message) -> Result<(), CloseReason> {
        self.socket.send_message(match message {
            Message::Text(text) => Carried::Text(text.into()),
            Message::Binary(bytes) => Carried::Binary(bytes),
        })
    }

    /// Asks whether the peer is there; any byte of it shows in [`MessageSocket::received`].
    pub fn ping(&mut self) -> Result<(), CloseReason> {
        self.socket.send_message(Carried::Ping(Bytes::new()))
    }

    /// Sends what waits and, if asked to, receives. May be cancelled.
    pub async fn next(&mut self, receive: bool) -> Next {
        poll_fn(|context| self.poll_next(receive, context)).await
    }

    fn poll_next(&mut self, receive: bool, context: &mut Context<'_>) -> Poll<Next> {
        let waited = !self.socket.flushed;
        match self.socket.poll_flushed(context) {
            Poll::Ready(Ok(())) if waited => return Poll::Ready(Next::Flushed),
            Poll::Ready(Ok(())) | Poll::Pending => {}
            Poll::Ready(Err(reason)) => return Poll::Ready(Next::Broken(reason)),
        }
        let idle = self.socket.flushed;
        if !receive {
            return Poll::Pending;
        }
        let message = match self.socket.poll_message(context) {
            Poll::Ready(message) => message,
            Poll::Pending => {
                // The answer to a ping is sent with the next call, which a new message or this wakes. What waited before wakes
                // by itself once there is room: to ask over and over would take a core for as long as a reader is slow.
                if idle && !self.socket.flushed {
                    context.waker().wake_by_ref();
                }
                return Poll::Pending;
            }
        };
        self.socket.shrink();
        Poll::Ready(match message {
            Some(Ok(Carried::Text(text))) => Next::Message(Message::Text(text.as_str().to_owned())),
            Some(Ok(Carried::Binary(bytes))) => Next::Message(Message::Binary(bytes)),
            Some(Ok(_) | Err(CloseReason::Remote(_))) | None => Next::Ended,
            Some(Err(reason)) => Next::Broken(reason),
        })
    }

    /// Bytes received so far: any byte counts as life.
    pub fn received(&self) -> u64 {
        self.socket.received()
    }

    /// Says good-bye with a code of RFC 6455 §7.4, or with the one that the peer's fault has.
    pub async fn close(&mut self, code: u16) {
        let code = self.socket.fault.unwrap_or(CloseCode::from(code));
        poll_fn(|context| self.socket.poll_good_bye(code, context)).await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::duplex;
    use tokio::time::timeout;

    use super::super::WebSocket;
    use super::*;

    #[tokio::test]
    async fn regression_a_slow_reader_costs_no_processor_time() {
        use std::sync::Arc;
        use std::sync::atomic::{AtomicUsize, Ordering};
        use std::task::{Wake, Waker};

        struct Count(AtomicUsize);
        impl Wake for Count {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }

        let (one, two) = duplex(256);
        let mut server = WebSocket::server(two, []).into_messages(64 * 1024);
        server.send(Message::Binary(Bytes::from(vec![2; 20_000]))).unwrap();
        let woken = Arc::new(Count(AtomicUsize::new(0)));
        let waker = Waker::from(Arc::clone(&woken));
        // Nobody reads: it is asked once, and asks nobody to be asked again.
        assert!(server.poll_next(true, &mut Context::from_waker(&waker)).is_pending());
        assert_eq!(woken.0.load(Ordering::Relaxed), 0);
        drop(one);
        assert!(woken.0.load(Ordering::Relaxed) > 0);
    }

    #[tokio::test]
    async fn messages_of_both_kinds_go_both_ways_without_waiting() {
        let (one, two) = duplex(256);
        let mut client = WebSocket::dialled(one, []).into_messages(64 * 1024);
        let mut server = WebSocket::server(two, []).into_messages(64 * 1024);
        // Larger than the pipe on both sides at once: neither waits for the other to read first.
        let (up, down) = (Bytes::from(vec![1; 20_000]), Bytes::from(vec![2; 20_000]));
        client.send(Message::Binary(up.clone())).unwrap();
        server.send(Message::Binary(down.clone())).unwrap();
        let until_message = |socket: &mut Next| matches!(socket, Next::Message(_));
        let one = async {
            loop {
                let mut next = client.next(true).await;
                if until_message(&mut next) {
                    return next;
                }
            }
        };
        let two = async {
            loop {
                let mut next = server.next(true).await;
                if until_message(&mut next) {
                    return next;
                }
            }
        };
        let (back, there) = timeout(Duration::from_secs(5), async { tokio::join!(one, two) }).await.unwrap();
        assert_eq!(back, Next::Message(Message::Binary(down)));
        assert_eq!(there, Next::Message(Message::Binary(up)));
    }

    #[tokio::test]
    async fn a_message_beyond_the_limit_is_the_peers_fault() {
        let (one, two) = duplex(64 * 1024);
        let mut client = WebSocket::dialled(one, []).into_messages(64 * 1024);
        let mut server = WebSocket::server(two, []).into_messages(1_000);
        client.send(Message::Binary(Bytes::from(vec![0; 5_000]))).unwrap();
        let (_, there) = tokio::join!(client.next(false), server.next(true));
        assert!(matches!(there, Next::Broken(_)), "{there:?}");
    }
}
