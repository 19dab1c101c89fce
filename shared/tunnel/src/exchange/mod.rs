//! One HTTP exchange on a stream: a request there, an answer back, perhaps a switch of protocols.
//!
//! The bytes are HTTP/1.1 (RFC 9112), as every version of hub and agent reads them. A library's connection is not used for it,
//! because a stream is no connection: it has its own end and its own reset, nothing is kept alive on it, and most exchanges
//! fit in one message each way. So [`ask()`] sends head and body together, [`serve`] answers with its last bytes and its end
//! together, and neither starts a task for that. An answer whose length is not known ends with the stream; one that breaks
//! off is reset. [`lent`] asks in the same way on a connection to an HTTP server, which is used again.

mod ask;
mod framing;
mod head;
mod joined;
pub mod lent;
pub mod serve;

use std::io;
use std::task::{Context, Poll};

use bytes::Bytes;

pub use ask::{Answer, AnswerBody, ask};
pub use joined::Joined;

use crate::session::Stream;

/// Why a body broke off.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What an answer is read from.
pub trait Source {
    /// The next bytes; `None` at the end.
    fn poll_chunk(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>>;

    /// The answer is over; `clean`: and nothing came behind it.
    fn over(self, clean: bool)
    where
        Self: Sized;
}

impl Source for Stream {
    fn poll_chunk(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        Self::poll_chunk(self, context, usize::MAX)
    }

    /// A stream carries one exchange.
    fn over(self, _clean: bool) {}
}

/// Bytes that were said and make no sense.
fn nonsense(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// The stream ended before what was said did.
fn cut_short() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the exchange ended early")
}
