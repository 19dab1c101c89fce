//! A hostile scheduler: tasks run in an order drawn from a seed, wake-ups come late or for nothing, the connection gives
//! a byte at a time and is cut at a step of the test's choice. Whatever happens, nothing hangs, no byte is wrong, and
//! both sides learn that it is over.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use roadstead_tunnel::session::prepare;
use roadstead_tunnel::transport::Framed;
use roadstead_tunnel::ws::WebSocket;
use roadstead_tunnel::{Class, Event, Incoming, Options, Role, Session};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};

type Dice = Arc<Mutex<StdRng>>;

fn roll(dice: &Dice, sides: u32) -> u32 {
    dice.lock().unwrap_or_else(PoisonError::into_inner).random_range(0..sides)
}

/// One direction of the connection.
#[derive(Default)]
struct Wire {
    bytes: VecDeque<u8>,
    cut: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// One end of a connection that behaves as badly as a connection may.
struct BadLine {
    incoming: Arc<Mutex<Wire>>,
    outgoing: Arc<Mutex<Wire>>,
    dice: Dice,
}

const CAPACITY: usize = 3_000;

fn bad_line(dice: &Dice) -> (BadLine, BadLine, impl Fn() + use<>) {
    let (one, two) = (Arc::new(Mutex::new(Wire::default())), Arc::new(Mutex::new(Wire::default())));
    let end = |incoming: &Arc<_>, outgoing: &Arc<_>| BadLine {
        incoming: Arc::clone(incoming),
        outgoing: Arc::clone(outgoing),
        dice: Arc::clone(dice),
    };
    let ends = (end(&one, &two), end(&two, &one));
    let cut = move || {
        for wire in [&one, &two] {
            let mut wire = wire.lock().unwrap();
            wire.cut = true;
            for waker in [wire.reader.take(), wire.writer.take()].into_iter().flatten() {
                waker.wake();
            }
        }
    };
    (ends.0, ends.1, cut)
}

impl AsyncRead for BadLine {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut wire = self.incoming.lock().unwrap();
        if wire.bytes.is_empty() {
            if wire.cut {
                return if roll(&self.dice, 2) == 0 {
                    Poll::Ready(Ok(()))
                } else {
                    Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
                };
            }
            wire.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        match roll(&self.dice, 8) {
            // Not now, although there is something.
            0 => {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            1 => out.put_slice(&[wire.bytes.pop_front().unwrap()]),
            _ => {
                let most = wire.bytes.len().min(out.remaining()).min(1 + roll(&self.dice, 5_000) as usize);
                let bytes: Vec<u8> = wire.bytes.drain(..most).collect();
                out.put_slice(&bytes);
            }
        }
        if let Some(writer) = wire.writer.take() {
            writer.wake();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for BadLine {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut wire = self.outgoing.lock().unwrap();
        if wire.cut {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let room = CAPACITY.saturating_sub(wire.bytes.len());
        if room == 0 {
            wire.writer = Some(context.waker().clone());
            return Poll::Pending;
        }
        if roll(&self.dice, 8) == 0 {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let count = bytes.len().min(room).min(1 + roll(&self.dice, 4_000) as usize);
        wire.bytes.extend(&bytes[..count]);
        if let Some(reader) = wire.reader.take() {
            reader.wake();
        }
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut wire = self.outgoing.lock().unwrap();
        wire.cut = true;
        if let Some(reader) = wire.reader.take() {
            reader.wake();
        }
        Poll::Ready(Ok(()))
    }
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

type Task = Pin<Box<dyn Future<Output = ()>>>;

/// Runs tasks in an order drawn from the seed.
struct Scheduler {
    tasks: Vec<(Arc<Flag>, Option<Task>)>,
    dice: Dice,
}

impl Scheduler {
    fn add(&mut self, task: impl Future<Output = ()> + 'static) {
        self.tasks.push((Arc::new(Flag(AtomicBool::new(true))), Some(Box::pin(task))));
    }

    /// One task runs once. `false`: none is ready.
    fn step(&mut self) -> bool {
        let ready: Vec<usize> = (0..self.tasks.len())
            .filter(|at| self.tasks[*at].1.is_some() && self.tasks[*at].0.0.load(Ordering::SeqCst))
            .collect();
        if ready.is_empty() {
            return false;
        }
        // Now and then a task runs that nobody woke.
        let at = if roll(&self.dice, 16) == 0 {
            roll(&self.dice, self.tasks.len() as u32) as usize
        } else {
            ready[roll(&self.dice, ready.len() as u32) as usize]
        };
        let (flag, task) = &mut self.tasks[at];
        flag.0.store(false, Ordering::SeqCst);
        let waker = Waker::from(Arc::clone(flag));
        if let Some(future) = task
            && future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready()
        {
            *task = None;
        }
        true
    }
}

/// What the tasks found out.
#[derive(Default)]
struct Log {
    answers: usize,
    failures: usize,
    served: usize,
    over: usize,
}

const QUESTIONS: usize = 6;

fn pattern(seed: usize, length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 17 + seed * 29 + (at >> 7)) as u8).collect()
}

async fn ask(hub: Session, number: usize, log: Rc<RefCell<Log>>) {
    let exchange = async {
        let class = if number.is_multiple_of(2) { Class::Bulk } else { Class::Interactive };
        let mut stream = hub.open(Bytes::from(vec![number as u8]), class).map_err(io::Error::other)?;
        let sent = pattern(number, 3_000 * (number + 1));
        let (mut reader, mut writer) = tokio::io::split(&mut stream);
        let write = async {
            writer.write_all(&sent).await?;
            writer.shutdown().await
        };
        let mut read = Vec::new();
        let (written, done) = futures_util::future::join(write, reader.read_to_end(&mut read)).await;
        // Whatever came, it is the beginning of what was sent.
        assert!(sent.starts_with(&read), "wrong bytes on stream {number}");
        written?;
        done?;
        assert_eq!(read.len(), sent.len());
        io::Result::Ok(())
    };
    match exchange.await {
        Ok(()) => log.borrow_mut().answers += 1,
        Err(_) => log.borrow_mut().failures += 1,
    }
}

/// Echoes streams one after the other and at the same time.
async fn serve(mut incoming: Incoming, session: Session, log: Rc<RefCell<Log>>) {
    let mut open = futures_util::stream::FuturesUnordered::new();
    loop {
        let next = futures_util::future::select(
            Box::pin(incoming.next()),
            Box::pin(async {
                if futures_util::StreamExt::next(&mut open).await.is_none() {
                    std::future::pending::<()>().await;
                }
            }),
        )
        .await;
        let event = match next {
            futures_util::future::Either::Left((event, _)) => event,
            futures_util::future::Either::Right(_) => continue,
        };
        match event {
            Some(Event::Stream { mut stream, .. }) => open.push(async move {
                while let Ok(Some(bytes)) = stream.chunk().await {
                    if stream.write_all(&bytes).await.is_err() {
                        return;
                    }
                }
                let _ = stream.shutdown().await;
            }),
            Some(Event::Notice(_)) => log.borrow_mut().served += 1,
            None => break,
        }
    }
    session.closed().await;
    log.borrow_mut().over += 1;
}

/// One run. `cut_at`: the step at which the line is cut, if it is. Says how many steps there were.
fn run(seed: u64, websocket: bool, cut_at: Option<usize>) -> usize {
    let dice: Dice = Arc::new(Mutex::new(StdRng::seed_from_u64(seed)));
    let log = Rc::new(RefCell::new(Log::default()));
    let (hub_end, agent_end, cut) = bad_line(&dice);
    let options = Options::default();
    let ((hub, hub_incoming, hub_driver), (agent, agent_incoming, agent_driver)) = if websocket {
        (
            prepare(WebSocket::server(hub_end, Bytes::new()), Role::Hub, options),
            prepare(WebSocket::dialled(agent_end, Bytes::new()), Role::Agent, options),
        )
    } else {
        (prepare(Framed::new(hub_end), Role::Hub, options), prepare(Framed::new(agent_end), Role::Agent, options))
    };
    let mut scheduler = Scheduler { tasks: Vec::new(), dice };
    scheduler.add(hub_driver);
    scheduler.add(agent_driver);
    scheduler.add(serve(agent_incoming, agent.clone(), Rc::clone(&log)));
    scheduler.add(serve(hub_incoming, hub.clone(), Rc::clone(&log)));
    for number in 0..QUESTIONS {
        let session = if number % 3 == 2 { &agent } else { &hub };
        scheduler.add(ask(session.clone(), number, Rc::clone(&log)));
    }
    hub.notify(Bytes::from_static(b"welcome")).unwrap();
    let done = |log: &Log| log.answers + log.failures == QUESTIONS;
    let mut steps = 0;
    let mut closed = false;
    loop {
        if cut_at == Some(steps) {
            cut();
        }
        let moved = scheduler.step();
        steps += 1;
        assert!(steps < 200_000, "seed {seed} cut {cut_at:?}: no end");
        if done(&log.borrow()) && !closed {
            closed = true;
            if cut_at.is_none() {
                hub.close("done");
            } else {
                cut();
            }
        }
        if !moved {
            let seen = log.borrow();
            assert!(done(&seen), "seed {seed} cut {cut_at:?}: stuck with {} answers", seen.answers);
            if closed {
                break;
            }
        }
    }
    let log = log.borrow();
    assert_eq!(log.over, 2, "seed {seed} cut {cut_at:?}: a side did not learn that it is over");
    if cut_at.is_none() {
        assert_eq!((log.answers, log.served), (QUESTIONS, 1), "seed {seed}");
        assert_eq!(hub.counters().offences + agent.counters().offences, 0, "seed {seed}");
    }
    steps
}

/// Timers need a runtime, though none of them fires: its clock stands still.
fn with_clock(test: impl FnOnce()) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let guard = runtime.enter();
    test();
    drop(guard);
}

#[test]
fn any_order_gives_every_answer() {
    with_clock(|| {
        for seed in 0..60 {
            run(seed, false, None);
            run(seed, true, None);
        }
    });
}

#[test]
fn a_cut_at_any_step_ends_everything() {
    with_clock(|| {
        for websocket in [false, true] {
            let steps = run(1, websocket, None);
            for cut_at in (0..steps).step_by((steps / 250).max(1)) {
                run(1, websocket, Some(cut_at));
            }
        }
    });
}
