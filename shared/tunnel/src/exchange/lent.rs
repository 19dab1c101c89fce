//! The asking side on a connection to an HTTP/1.1 server that is used again: for requests without a body, read by whoever
//! asks, so that no task stands between the asker and the connection.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Bytes, BytesMut};
use http::header::CONNECTION;
use http::{HeaderMap, Method, Response, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite};

use super::ask::{self, AnswerBody};
use super::framing::Framing;
use super::{Source, head, nonsense};
use crate::transport::scratch;

/// Where connections go that can be used again.
pub trait Keeper<IO>: Send + Sync {
    /// Takes one back.
    fn keep(self: Arc<Self>, io: IO);
}

/// A connection for one exchange.
pub struct Lent<IO> {
    io: IO,
    keeper: Arc<dyn Keeper<IO>>,
    /// Neither side ends it with this exchange.
    keeps: bool,
    /// Something was read.
    heard: bool,
}

impl<IO> fmt::Debug for Lent<IO> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lent").field("keeps", &self.keeps).finish_non_exhaustive()
    }
}

/// There is no answer.
#[derive(Debug, thiserror::Error)]
#[error("no answer that can be read")]
pub struct Unanswered {
    /// Why.
    #[source]
    pub fault: io::Error,
    /// Not one byte of an answer came: a connection that was used before had been given up by the server.
    pub silent: bool,
}

/// Whether an idle connection can be used: nothing came on it, not its end either.
pub fn is_quiet<IO: AsyncRead + Unpin>(io: &mut IO) -> bool {
    scratch::poll_read(io, &mut Context::from_waker(Waker::noop()), |_| {}).is_pending()
}

impl<IO> Lent<IO>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    /// A connection on which nothing is under way, and who takes it back.
    pub fn new(io: IO, keeper: Arc<dyn Keeper<IO>>) -> Self {
        Self { io, keeper, keeps: false, heard: false }
    }

    /// Asks, and waits for the head of the answer. The connection is kept when the body was read to its end and nobody said
    /// otherwise. `target` is path and query.
    pub async fn ask(
        mut self,
        method: &Method,
        target: &str,
        headers: &HeaderMap,
    ) -> Result<Response<AnswerBody<Self>>, Unanswered> {
        let mut out = BytesMut::with_capacity(1024);
        head::put_request(&mut out, method, target, headers);
        head::put_end(&mut out);
        let answered = async {
            self.write(&out).await?;
            let (answered, rest) = ask::read_head(&mut self).await?;
            if answered.status == StatusCode::SWITCHING_PROTOCOLS {
                return Err(nonsense("a switch of protocols that was not asked for"));
            }
            let framing = Framing::of_answer(*method == Method::HEAD, answered.status, &answered.headers)?;
            Ok((answered, framing, rest))
        };
        let (answered, framing, rest) = match answered.await {
            Ok(found) => found,
            Err(fault) => return Err(Unanswered { fault, silent: !self.heard }),
        };
        self.keeps = answered.keeps && framing != Framing::Stream && !says_close(&answered.headers);
        let mut response = Response::new(());
        *response.status_mut() = answered.status;
        *response.headers_mut() = answered.headers;
        Ok(response.map(|()| AnswerBody::new(self, framing, rest)))
    }

    async fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let count = poll_fn(|context| Pin::new(&mut self.io).poll_write(context, bytes)).await?;
            if count == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            bytes = bytes.get(count..).unwrap_or_default();
        }
        poll_fn(|context| Pin::new(&mut self.io).poll_flush(context)).await
    }
}

fn says_close(headers: &HeaderMap) -> bool {
    let values = headers.get_all(CONNECTION).into_iter();
    values.flat_map(|value| value.as_bytes().split(|byte| *byte == b',')).any(|word| {
        let word = word.trim_ascii();
        word.eq_ignore_ascii_case(b"close") || word.eq_ignore_ascii_case(b"upgrade")
    })
}

impl<IO> Source for Lent<IO>
where
    IO: AsyncRead + Unpin,
{
    /// Read through the thread's buffer: one that waits for a watch's next event holds none.
    fn poll_chunk(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        let mut chunk = Bytes::new();
        let length = ready!(scratch::poll_read(&mut self.io, context, |bytes| chunk = Bytes::copy_from_slice(bytes)))?;
        self.heard |= length > 0;
        Poll::Ready(Ok((length > 0).then_some(chunk)))
    }

    fn over(self, clean: bool) {
        if clean && self.keeps {
            self.keeper.keep(self.io);
        }
    }
}
