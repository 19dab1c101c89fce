//! The wire between an agent and the hub, cut where a test wants: behind a number of WebSocket frames in one direction, or in
//! the middle of one.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;

use crate::listening::Listening;

/// Bytes read at once: frames are found in whatever comes.
const CHUNK: usize = 16 * 1024;

/// Where bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the agent.
    ToHub,
    /// From the hub.
    ToAgent,
}

impl Direction {
    /// Both.
    pub const ALL: [Self; 2] = [Self::ToHub, Self::ToAgent];
}

/// How it breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Break {
    /// Between two frames, both sides see an end.
    Between,
    /// In the middle of a frame, both sides see an end.
    Within,
    /// Between two frames, both sides see a reset.
    Reset,
    /// Between two frames, nobody sees anything: what comes is swallowed.
    Silent,
}

impl Break {
    /// Those that are noticed at once.
    pub const LOUD: [Self; 3] = [Self::Between, Self::Within, Self::Reset];
}

/// A cut that is to come.
#[derive(Debug, Clone, Copy)]
struct Cut {
    direction: Direction,
    frames: u64,
    how: Break,
}

#[derive(Debug, Default)]
struct State {
    cut: Option<Cut>,
    frames: [u64; 2],
    cuts: usize,
}

/// A wire; ends when dropped.
#[derive(Debug)]
pub struct Wire {
    listening: Listening,
    state: Arc<Mutex<State>>,
}

impl Wire {
    /// A wire to this address.
    pub async fn start(backend: SocketAddr) -> Result<Self> {
        let state: Arc<Mutex<State>> = Arc::default();
        let shared = Arc::clone(&state);
        let listening = Listening::start(move |outside| {
            let state = Arc::clone(&shared);
            async move {
                if let Ok(inside) = TcpStream::connect(backend).await {
                    carry(outside, inside, &state).await;
                }
            }
        });
        Ok(Self { listening: listening.await.context("the wire")?, state })
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.listening.address())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Cuts it behind so many more whole frames in a direction.
    pub fn cut_after(&self, direction: Direction, frames: u64, how: Break) {
        self.state().cut = Some(Cut { direction, frames, how });
    }

    /// Cuts it no more.
    pub fn mend(&self) {
        self.state().cut = None;
    }

    /// Frames so far, to the hub and to the agent.
    pub fn frames(&self) -> [u64; 2] {
        self.state().frames
    }

    /// How often it was cut.
    pub fn cuts(&self) -> usize {
        self.state().cuts
    }
}

/// Carries one connection until it ends or is cut.
async fn carry(outside: TcpStream, inside: TcpStream, state: &Mutex<State>) {
    let (from_agent, to_agent) = outside.into_split();
    let (from_hub, to_hub) = inside.into_split();
    let (silence, silent) = watch::channel(false);
    let (mut up, mut down) = ((from_agent, to_hub), (from_hub, to_agent));
    let broken = tokio::select! {
        how = pump(&mut up, Direction::ToHub, state, &silence, silent.clone()) => how,
        how = pump(&mut down, Direction::ToAgent, state, &silence, silent.clone()) => how,
    };
    if broken == Some(Break::Reset) {
        // Each socket is named by its writing half.
        for write in [&up.1, &down.1] {
            let _ = write.as_ref().set_zero_linger();
        }
        up.1.forget();
        down.1.forget();
    }
}

/// Carries one direction. Answers how it was cut, or nothing where a side ended by itself.
async fn pump(
    (from, to): &mut (OwnedReadHalf, OwnedWriteHalf),
    direction: Direction,
    state: &Mutex<State>,
    silence: &watch::Sender<bool>,
    silent: watch::Receiver<bool>,
) -> Option<Break> {
    let mut scanner = Scanner::default();
    let mut bytes = vec![0; CHUNK];
    loop {
        let read = from.read(&mut bytes).await.ok().filter(|read| *read > 0)?;
        if *silent.borrow() {
            continue;
        }
        let (length, how) =
            scanner.look(&bytes[..read], direction, &mut state.lock().unwrap_or_else(PoisonError::into_inner));
        to.write_all(&bytes[..length]).await.ok()?;
        match how {
            Some(Break::Silent) => drop(silence.send_replace(true)),
            Some(how) => return Some(how),
            None => {}
        }
    }
}

/// Finds frames in what passes: first an HTTP head, then RFC 6455, section 5.2.
#[derive(Debug, Default)]
struct Scanner {
    /// How much of the head's end was seen.
    ending: usize,
    /// The head of the frame at hand.
    head: Vec<u8>,
    /// Bytes left of its payload.
    left: u64,
    /// Of so many.
    whole: u64,
}

impl Scanner {
    /// Looks at bytes; answers how many may pass, and how it is cut behind them.
    fn look(&mut self, bytes: &[u8], direction: Direction, state: &mut State) -> (usize, Option<Break>) {
        let at_cut = |state: &mut State, within: bool| {
            let cut = state.cut.filter(|cut| cut.direction == direction && cut.frames == 0)?;
            ((cut.how == Break::Within) == within).then(|| {
                state.cut = None;
                state.cuts += 1;
                cut.how
            })
        };
        let mut at = 0;
        while at < bytes.len() {
            if self.ending < 4 {
                self.ending = if bytes[at] == b"\r\n\r\n"[self.ending] {
                    self.ending + 1
                } else {
                    usize::from(bytes[at] == b'\r')
                };
                at += 1;
                continue;
            }
            if self.left == 0 {
                if self.head.is_empty()
                    && let Some(how) = at_cut(state, false)
                {
                    return (at, Some(how));
                }
                self.head.push(bytes[at]);
                at += 1;
                let Some(length) = payload(&self.head) else { continue };
                (self.left, self.whole) = (length, length);
            } else {
                if self.left <= self.whole / 2
                    && let Some(how) = at_cut(state, true)
                {
                    return (at, Some(how));
                }
                let until = if self.left > self.whole / 2 { self.left - self.whole / 2 } else { self.left };
                let step = usize::try_from(until).unwrap_or(usize::MAX).min(bytes.len() - at);
                at += step;
                self.left -= step as u64;
            }
            if self.left == 0 {
                self.head.clear();
                state.frames[direction as usize] += 1;
                if let Some(cut) = state.cut.as_mut().filter(|cut| cut.direction == direction) {
                    cut.frames = cut.frames.saturating_sub(1);
                }
            }
        }
        (at, None)
    }
}

/// Length of the payload behind a frame's head; none while the head is not whole.
fn payload(head: &[u8]) -> Option<u64> {
    let second = *head.get(1)?;
    let (more, short) = match second & 0x7f {
        126 => (2, 0),
        127 => (8, 0),
        short => (0, u64::from(short)),
    };
    let mask = if second & 0x80 == 0 { 0 } else { 4 };
    if head.len() < 2 + more + mask {
        return None;
    }
    let long = head[2..2 + more].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    Some(if more == 0 { short } else { long })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A head and three frames: a short one, a masked one, one of 300 bytes.
    fn stream() -> Vec<u8> {
        let mut bytes = b"HTTP/1.1 101 Yes\r\nA: b\r\n\r\n".to_vec();
        bytes.extend([0x82, 4, 1, 2, 3, 4]);
        bytes.extend([0x82, 0x82, 9, 9, 9, 9, 1, 2]);
        bytes.extend([0x82, 126, 1, 44]);
        bytes.extend([7; 300]);
        bytes
    }

    fn passed(step: usize, cut: Option<(u64, Break)>) -> (usize, Option<Break>, u64) {
        let direction = Direction::ToAgent;
        let mut state = State { cut: cut.map(|(frames, how)| Cut { direction, frames, how }), ..State::default() };
        let (mut scanner, mut all) = (Scanner::default(), 0);
        for bytes in stream().chunks(step) {
            let (length, how) = scanner.look(bytes, direction, &mut state);
            all += length;
            if how.is_some() {
                return (all, how, state.frames[1]);
            }
        }
        (all, None, state.frames[1])
    }

    #[test]
    fn frames_are_found_in_pieces_of_any_size() {
        let head = 26;
        assert_eq!(stream().len(), head + 6 + 8 + 304);
        for step in [1, 2, 3, 7, 1_000] {
            assert_eq!(passed(step, None), (head + 318, None, 3));
            assert_eq!(passed(step, Some((0, Break::Between))), (head, Some(Break::Between), 0));
            assert_eq!(passed(step, Some((1, Break::Reset))), (head + 6, Some(Break::Reset), 1));
            assert_eq!(passed(step, Some((2, Break::Silent))), (head + 14, Some(Break::Silent), 2));
            assert_eq!(passed(step, Some((0, Break::Within))), (head + 4, Some(Break::Within), 0));
            assert_eq!(passed(step, Some((2, Break::Within))), (head + 14 + 4 + 150, Some(Break::Within), 2));
            assert_eq!(passed(step, Some((9, Break::Between))).1, None);
        }
    }
}
