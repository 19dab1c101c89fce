//! The answering side.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use http::header::{CONNECTION, TRANSFER_ENCODING};
use http::{Request, Response};
use hyper::body::{Body, Frame, SizeHint};
use tokio::io::AsyncWrite as _;
use tokio::sync::mpsc;
use tokio_util::sync::PollSender;

use super::framing::Framing;
use super::joined::Joined;
use super::{BoxError, cut_short, head, nonsense};
use crate::session::Stream;

/// Pieces of a request's body between the stream and who reads it; the stream's window is behind them.
const PIECES: usize = 1;
/// Small pieces of an answer up to this long go together.
const GATHER_MAX: usize = 16 * 1024;
/// A piece from this length goes by itself, without a copy.
const LARGE: usize = 8 * 1024;

/// Reads the head of the request that a stream was opened for.
pub async fn receive(mut stream: Stream) -> io::Result<(Request<RequestBody>, Answering)> {
    let mut bytes = Bytes::new();
    let (asked, length) = loop {
        if let Some(found) = head::request(&bytes)? {
            break found;
        }
        if bytes.len() > head::HEAD_MAX {
            return Err(nonsense("a head that is too long"));
        }
        let more = stream.chunk().await?.ok_or_else(cut_short)?;
        bytes = super::ask::joined(&bytes, more);
    };
    let rest = bytes.split_off(length);
    let framing = Framing::of_request(&asked.headers)?;
    let mut request = Request::new(());
    *request.method_mut() = asked.method;
    *request.uri_mut() = asked.uri;
    *request.headers_mut() = asked.headers;
    let mut answering = Answering { stream, framing, rest, sender: None };
    let body = if framing.is_over() {
        RequestBody { pieces: None, left: Some(0) }
    } else {
        let (sender, pieces) = mpsc::channel(PIECES);
        answering.sender = Some(PollSender::new(sender));
        RequestBody { pieces: Some(pieces), left: framing.rest() }
    };
    Ok((request.map(|()| body), answering))
}

/// The body of a request, as it comes.
#[derive(Debug)]
pub struct RequestBody {
    pieces: Option<mpsc::Receiver<Bytes>>,
    left: Option<u64>,
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let Some(pieces) = &mut self.pieces else { return Poll::Ready(None) };
        match ready!(pieces.poll_recv(context)) {
            // An empty piece is the end; without one the asker broke off.
            Some(piece) if piece.is_empty() => {
                self.pieces = None;
                Poll::Ready(None)
            }
            Some(piece) => {
                self.left = self.left.map(|left| left.saturating_sub(piece.len() as u64));
                Poll::Ready(Some(Ok(Frame::data(piece))))
            }
            None => {
                self.pieces = None;
                Poll::Ready(Some(Err(cut_short())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// The other half of an exchange: carries the rest of the request while the answer is made, and sends the answer.
#[derive(Debug)]
pub struct Answering {
    stream: Stream,
    framing: Framing,
    /// Received and not yet looked at.
    rest: Bytes,
    sender: Option<PollSender<Bytes>>,
}

impl Answering {
    /// Does work for the asker; `None` when the asker is gone before it is done.
    pub async fn during<F: Future>(&mut self, work: F) -> Option<F::Output> {
        let mut work = pin!(work);
        poll_fn(|context| {
            if let Poll::Ready(done) = work.as_mut().poll(context) {
                return Poll::Ready(Some(done));
            }
            self.poll_gone(context).map(|()| None)
        })
        .await
    }

    /// Carries the request's body. Ready when the asker is gone: below a silent watch that is how it shows, because an asker
    /// keeps its side open until it has its answer.
    fn poll_gone(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            if let Some(sender) = &mut self.sender {
                if ready!(sender.poll_reserve(context)).is_err() {
                    // Whoever reads it has enough of it; what still comes is thrown away below.
                    self.sender = None;
                    continue;
                }
                match self.framing.take(&mut self.rest) {
                    Ok(Some(piece)) => {
                        let _ = sender.send_item(piece);
                        continue;
                    }
                    Ok(None) if self.framing.is_over() => {
                        let _ = sender.send_item(Bytes::new());
                        self.sender = None;
                        continue;
                    }
                    Ok(None) => {}
                    Err(_) => return Poll::Ready(()),
                }
            } else if !self.rest.is_empty() && self.framing.is_over() {
                // Early bytes of a switch that is not made yet: they wait, and nothing is read behind them.
                return Poll::Pending;
            }
            match ready!(self.stream.poll_chunk(context, usize::MAX)) {
                Ok(Some(more)) => self.rest = more,
                Ok(None) | Err(_) => return Poll::Ready(()),
            }
            if self.sender.is_none() && !self.framing.is_over() {
                self.rest = Bytes::new();
            }
        }
    }

    /// Switches protocols: the head goes out, the stream is the connection then.
    pub async fn switch(mut self, response: Response<()>) -> io::Result<Joined> {
        let mut out = BytesMut::with_capacity(512);
        head::put_answer(&mut out, response.status(), response.headers());
        head::put_end(&mut out);
        while !out.is_empty() {
            let count = poll_fn(|context| Pin::new(&mut self.stream).poll_write(context, &out)).await?;
            out.advance(count);
        }
        Ok(Joined::new(self.rest, self.stream))
    }

    /// Sends an answer. What is there goes together, with the end of the stream when it is the last; an answer without a
    /// length ends with the stream.
    pub async fn answer<B>(mut self, response: Response<B>) -> io::Result<()>
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: Into<BoxError>,
    {
        let (mut parts, body) = response.into_parts();
        parts.headers.remove(TRANSFER_ENCODING);
        let mut small = BytesMut::with_capacity(4 * 1024);
        head::put_answer(&mut small, parts.status, &parts.headers);
        head::put_header(&mut small, CONNECTION.as_str(), b"close");
        head::put_end(&mut small);
        let ended = body.is_end_stream();
        let mut out = Out { body, ended, small, large: Bytes::new(), waited: false };
        poll_fn(|context| {
            if out.poll(&mut self.stream, context)?.is_ready() {
                return Poll::Ready(Ok(()));
            }
            self.poll_gone(context).map(|()| Err(cut_short()))
        })
        .await
    }
}

/// An answer on its way.
struct Out<B> {
    body: B,
    ended: bool,
    /// The head and small pieces.
    small: BytesMut,
    /// A large piece behind them.
    large: Bytes,
    /// Was waited with the first bytes for those that are just being read.
    waited: bool,
}

impl<B> Out<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    fn poll(&mut self, stream: &mut Stream, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            self.gather(context)?;
            if !self.ended && !self.waited && self.large.is_empty() {
                // The rest of a short answer is often one turn away, and then one message less. A turn with a look at the
                // sockets: it is woken after that, whatever becomes of the future.
                self.waited = true;
                let _ = pin!(tokio::task::yield_now()).poll(context);
                return Poll::Pending;
            }
            let last = self.ended && (self.small.is_empty() || self.large.is_empty());
            let from: &[u8] = if self.small.is_empty() { &self.large } else { &self.small };
            if from.is_empty() && !last {
                return Poll::Pending;
            }
            if last {
                let count = ready!(stream.poll_write_last(context, from))?;
                self.advance(count);
                if self.small.is_empty() && self.large.is_empty() {
                    return Poll::Ready(Ok(()));
                }
            } else {
                let count = ready!(Pin::new(&mut *stream).poll_write(context, from))?;
                self.advance(count);
            }
        }
    }

    fn advance(&mut self, count: usize) {
        if self.small.is_empty() {
            self.large.advance(count);
        } else {
            self.small.advance(count);
        }
    }

    /// Takes what is there of the body.
    fn gather(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        while !self.ended && self.large.is_empty() && self.small.len() < GATHER_MAX {
            match Pin::new(&mut self.body).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => {
                    let data = frame.into_data().unwrap_or_default();
                    if data.len() >= LARGE {
                        self.large = data;
                    } else {
                        self.small.put_slice(&data);
                    }
                    self.ended = self.body.is_end_stream();
                }
                Poll::Ready(Some(Err(fault))) => return Err(io::Error::other(fault)),
                Poll::Ready(None) => self.ended = true,
                Poll::Pending => break,
            }
        }
        Ok(())
    }
}
