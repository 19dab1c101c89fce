//! Two streams made one: chunks go over without a copy, ends and resets go over too.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use roadstead_tunnel::{Code, Stream};
use tokio::io::AsyncWrite as _;

/// Carries both directions until both have ended or one was cut. At most one chunk of each direction is held here.
pub(crate) async fn splice(mut one: Stream, mut two: Stream) {
    let (mut there, mut back) = (Pump::default(), Pump::default());
    let ended = poll_fn(|context| {
        let there = there.poll(&mut one, &mut two, context)?;
        let back = back.poll(&mut two, &mut one, context)?;
        if there.is_ready() && back.is_ready() { Poll::Ready(Ok(())) } else { Poll::Pending }
    })
    .await;
    if let Err(fault) = ended {
        let code = cause(&fault);
        one.reset(code);
        two.reset(code);
    }
}

/// What the other end is told: the same, or that this side lost its half.
fn cause(fault: &io::Error) -> Code {
    Stream::reset_code(fault).unwrap_or(Code::CANCELLED)
}

#[derive(Default)]
struct Pump {
    chunk: Option<Bytes>,
    ended: bool,
}

impl Pump {
    fn poll(&mut self, from: &mut Stream, to: &mut Stream, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.ended {
            if let Some(chunk) = &mut self.chunk {
                let written = ready!(Pin::new(&mut *to).poll_write(context, chunk))?;
                chunk.advance(written);
                if chunk.is_empty() {
                    self.chunk = None;
                }
                continue;
            }
            if let Some(chunk) = ready!(from.poll_chunk(context, usize::MAX))? {
                self.chunk = Some(chunk);
            } else {
                to.finish();
                self.ended = true;
            }
        }
        Poll::Ready(Ok(()))
    }
}
