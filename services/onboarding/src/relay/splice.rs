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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use roadstead_runtime::Tasks;
    use roadstead_tunnel::transport::pipe;
    use roadstead_tunnel::{Class, Event, Options, Role, Session, start};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::time::timeout;

    use super::*;

    /// A stream and its other end.
    async fn pair(tasks: &Tasks) -> (Stream, Stream, [Session; 2]) {
        let (one, two) = pipe();
        let (hub, _) = start(one, Role::Hub, Options::default(), tasks);
        let (agent, mut incoming) = start(two, Role::Agent, Options::default(), tasks);
        let opened = hub.open(Bytes::from_static(b"head"), Class::Bulk).unwrap();
        let Some(Event::Stream { stream, .. }) = incoming.next().await else { panic!("no stream") };
        tasks.spawn("incoming", async move { while incoming.next().await.is_some() {} });
        (opened, stream, [hub, agent])
    }

    /// A caller and an agent with a splice between them.
    async fn spliced() -> (Stream, Stream, Vec<Session>) {
        let tasks = Tasks::new();
        let (caller, here, sessions) = pair(&tasks).await;
        let (there, agent, more) = pair(&tasks).await;
        tasks.spawn("splice", splice(here, there));
        (caller, agent, sessions.into_iter().chain(more).collect())
    }

    #[tokio::test]
    async fn bytes_and_ends_go_over_both_ways() {
        let (mut caller, mut agent, _sessions) = spliced().await;
        let sent: Vec<u8> = (0..3_000_000_u32).map(|at| at.to_le_bytes()[0]).collect();
        let expected = sent.clone();
        let writing = async {
            caller.write_all(&sent).await.unwrap();
            caller.finish();
            let mut back = Vec::new();
            caller.read_to_end(&mut back).await.unwrap();
            back
        };
        let reading = async {
            let mut received = Vec::new();
            agent.read_to_end(&mut received).await.unwrap();
            agent.write_all(b"done").await.unwrap();
            agent.finish();
            received
        };
        let (back, received) = tokio::join!(writing, reading);
        assert_eq!(received, expected);
        assert_eq!(back, b"done");
    }

    #[tokio::test]
    async fn a_reset_goes_over_with_its_code() {
        let (mut caller, agent, _sessions) = spliced().await;
        agent.reset(Code::REVOKED);
        let fault = timeout(Duration::from_secs(5), caller.read_u8()).await.unwrap().unwrap_err();
        assert_eq!(Stream::reset_code(&fault), Some(Code::REVOKED));
    }

    #[tokio::test]
    async fn a_caller_who_does_not_read_stops_the_agent() {
        let (_caller, mut agent, _sessions) = spliced().await;
        let (mut taken, chunk) = (0, vec![0; 32 * 1024]);
        while let Ok(written) = timeout(Duration::from_millis(300), agent.write(&chunk)).await {
            taken += written.unwrap();
            assert!(taken < 4 << 20, "{taken} bytes were taken for a caller who does not read");
        }
    }
}
