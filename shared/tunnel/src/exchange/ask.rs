//! The asking side.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{BufMut as _, Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use hyper::body::{Body, Frame, SizeHint};
use roadstead_runtime::Tasks;

use super::framing::Framing;
use super::joined::Joined;
use super::{BoxError, Source, head, nonsense};
use crate::frame::Code;
use crate::session::{Stream, Writer};

/// A first piece of a body up to this long goes with the head: one copy against one system call.
const TOGETHER_MAX: usize = 16 * 1024;
/// Heads of answers before the one that counts (`100 Continue`, `103 Early Hints`).
const INTERIM_MAX: usize = 8;

/// What is answered.
#[derive(Debug)]
pub enum Answer {
    /// An answer with its body.
    Plain(Response<AnswerBody>),
    /// The other side switches protocols: the stream is the connection now.
    Switched(Response<()>, Joined),
}

/// Asks on a stream that was opened for it, and waits for the head of the answer. Headers about the connection are the
/// caller's, but for those that frame the body.
pub async fn ask<B>(mut stream: Stream, request: Request<B>, tasks: &Tasks) -> io::Result<Answer>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    let (mut parts, body) = request.into_parts();
    parts.headers.remove(TRANSFER_ENCODING);
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    let mut out = BytesMut::with_capacity(1024);
    head::put_request(&mut out, &parts.method, target, &parts.headers);
    if body.is_end_stream() {
        head::put_end(&mut out);
        write_all(&mut stream, &out).await?;
        return read(stream, &parts.method).await;
    }
    let left = length(&parts.headers);
    if left.is_none() {
        head::put_header(&mut out, TRANSFER_ENCODING.as_str(), b"chunked");
    }
    head::put_end(&mut out);
    let mut upload = Upload { body, left, writer: stream.writer() };
    let over = upload.first(&mut out).await?;
    write_all(&mut stream, &out).await?;
    if !over {
        // It goes on while the answer is read: neither waits for the other.
        tasks.spawn("exchange-upload", upload.run());
    }
    read(stream, &parts.method).await
}

async fn write_all(stream: &mut Stream, mut bytes: &[u8]) -> io::Result<()> {
    use tokio::io::AsyncWrite as _;
    while !bytes.is_empty() {
        let count = poll_fn(|context| Pin::new(&mut *stream).poll_write(context, bytes)).await?;
        bytes = bytes.get(count..).unwrap_or_default();
    }
    Ok(())
}

/// The length that the headers promise.
fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Reads the head of the answer, and its body when that is there already.
async fn read(mut stream: Stream, method: &Method) -> io::Result<Answer> {
    let (answered, rest) = read_head(&mut stream).await?;
    let mut response = Response::new(());
    *response.status_mut() = answered.status;
    *response.headers_mut() = answered.headers;
    if answered.status == StatusCode::SWITCHING_PROTOCOLS {
        return Ok(Answer::Switched(response, Joined::new(rest, stream)));
    }
    let framing = Framing::of_answer(*method == Method::HEAD, answered.status, response.headers())?;
    let mut body = AnswerBody::new(stream, framing, rest);
    poll_fn(|context| {
        body.look_ahead(context);
        Poll::Ready(())
    })
    .await;
    Ok(Answer::Plain(response.map(|()| body)))
}

/// Reads the head that counts, and what came right behind it.
pub(super) async fn read_head<S: Source>(source: &mut S) -> io::Result<(head::Answered, Bytes)> {
    let mut bytes = Bytes::new();
    for _ in 0..=INTERIM_MAX {
        let (answered, length) = loop {
            if !bytes.is_empty()
                && let Some(found) = head::answer(&bytes)?
            {
                break found;
            }
            if bytes.len() > head::HEAD_MAX {
                return Err(nonsense("a head that is too long"));
            }
            let more = poll_fn(|context| source.poll_chunk(context)).await?.ok_or_else(super::cut_short)?;
            bytes = joined(&bytes, more);
        };
        let rest = bytes.split_off(length);
        if answered.status == StatusCode::SWITCHING_PROTOCOLS || !answered.status.is_informational() {
            return Ok((answered, rest));
        }
        bytes = rest;
    }
    Err(nonsense("heads without an answer"))
}

pub(super) fn joined(one: &Bytes, two: Bytes) -> Bytes {
    if one.is_empty() {
        return two;
    }
    let mut both = BytesMut::with_capacity(one.len() + two.len());
    both.put_slice(one);
    both.put_slice(&two);
    both.freeze()
}

/// A body on its way to the other side.
struct Upload<B> {
    body: B,
    /// How much of the promised length is still to come; without one it goes in chunks.
    left: Option<u64>,
    writer: Writer,
}

impl<B> Upload<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    /// Puts what is there already behind the head. Says whether that was all.
    async fn first(&mut self, out: &mut BytesMut) -> io::Result<bool> {
        let piece = poll_fn(|context| {
            Poll::Ready(match Pin::new(&mut self.body).poll_frame(context) {
                Poll::Ready(frame) => Some(frame),
                Poll::Pending => None,
            })
        });
        match piece.await {
            None => Ok(false),
            Some(frame) => self.put(frame, out),
        }
    }

    /// Frames a piece. Says whether it was the last.
    fn put(&mut self, frame: Option<Result<Frame<Bytes>, B::Error>>, out: &mut BytesMut) -> io::Result<bool> {
        let data = match frame {
            Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
            Some(Err(fault)) => return Err(io::Error::other(fault)),
            None => return self.end(out),
        };
        match &mut self.left {
            Some(left) => {
                // More than was promised would be taken for another request by whoever reads connections.
                *left = left.checked_sub(data.len() as u64).ok_or_else(|| nonsense("a body longer than its length"))?;
                out.put_slice(&data);
            }
            None if data.is_empty() => {}
            None => {
                out.put_slice(format!("{:x}\r\n", data.len()).as_bytes());
                out.put_slice(&data);
                out.put_slice(b"\r\n");
            }
        }
        if self.body.is_end_stream() { self.end(out) } else { Ok(false) }
    }

    fn end(&mut self, out: &mut BytesMut) -> io::Result<bool> {
        match self.left {
            Some(0) => Ok(true),
            Some(_) => Err(super::cut_short()),
            None => {
                out.put_slice(b"0\r\n\r\n");
                Ok(true)
            }
        }
    }

    /// Carries the rest. A body that breaks off breaks the exchange.
    async fn run(mut self) {
        let mut out = BytesMut::new();
        loop {
            let frame = poll_fn(|context| Pin::new(&mut self.body).poll_frame(context)).await;
            let Ok(over) = self.put(frame, &mut out) else { return self.writer.reset(Code::CANCELLED) };
            // The stream is gone: the answer's reader knows.
            if self.writer.write_all(&out).await.is_err() || over {
                return;
            }
            out.clear();
            if out.capacity() > TOGETHER_MAX {
                out = BytesMut::new();
            }
        }
    }
}

/// The body of an answer. It holds what it is read from until it has ended.
#[derive(Debug)]
pub struct AnswerBody<S: Source = Stream> {
    source: Option<S>,
    framing: Framing,
    /// Received and not yet looked at.
    rest: Bytes,
    /// What was there already behind it.
    ahead: Option<Bytes>,
}

impl<S: Source> AnswerBody<S> {
    pub(super) fn new(source: S, framing: Framing, rest: Bytes) -> Self {
        let mut body = Self { source: Some(source), framing, rest, ahead: None };
        body.settle();
        body
    }

    /// Lets the source go once the body is over.
    fn settle(&mut self) {
        if self.framing.is_over()
            && let Some(source) = self.source.take()
        {
            source.over(self.rest.is_empty() && self.ahead.is_none());
        }
    }

    /// Looks whether the source has ended behind what is here: then its length is known.
    fn look_ahead(&mut self, context: &mut Context<'_>) {
        if self.framing != Framing::Stream {
            return;
        }
        let Some(source) = &mut self.source else { return };
        match source.poll_chunk(context) {
            Poll::Ready(Ok(None)) => self.framing = Framing::Length(self.rest.len() as u64),
            Poll::Ready(Ok(Some(more))) => self.ahead = Some(more),
            // A fault comes again when the body is read.
            Poll::Ready(Err(_)) | Poll::Pending => {}
        }
    }
}

impl AnswerBody {
    /// The whole of it, when it is here already.
    pub fn whole(&mut self) -> Option<Bytes> {
        let left = self.framing.rest()?;
        if self.rest.len() as u64 != left || self.ahead.is_some() {
            return None;
        }
        self.framing = Framing::Length(0);
        self.source = None;
        Some(std::mem::take(&mut self.rest))
    }

    /// A handle that can cut it.
    pub fn writer(&self) -> Option<Writer> {
        self.source.as_ref().map(Stream::writer)
    }
}

impl<S: Source + Unpin> Body for AnswerBody<S> {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = &mut *self;
        loop {
            if !this.rest.is_empty() {
                match this.framing.take(&mut this.rest) {
                    Ok(Some(piece)) => {
                        this.settle();
                        return Poll::Ready(Some(Ok(Frame::data(piece))));
                    }
                    Ok(None) => {}
                    Err(fault) => return Poll::Ready(Some(Err(fault))),
                }
            }
            if this.framing.is_over() {
                this.settle();
                return Poll::Ready(None);
            }
            if let Some(ahead) = this.ahead.take() {
                this.rest = ahead;
                continue;
            }
            let Some(source) = &mut this.source else { return Poll::Ready(None) };
            match ready!(source.poll_chunk(context)) {
                Ok(Some(more)) => this.rest = more,
                Ok(None) => {
                    if let Err(fault) = this.framing.end() {
                        return Poll::Ready(Some(Err(fault)));
                    }
                }
                Err(fault) => return Poll::Ready(Some(Err(fault))),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.framing.is_over()
    }

    fn size_hint(&self) -> SizeHint {
        self.framing.rest().map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
