//! One direction of an exchange: the head of HTTP, then the protocol that it switched to.

use serde::Deserialize;

use super::cast::Happened;
use super::spdy::Spdy;
use super::websocket::WebSocket;

/// Longest head.
const HEAD_MAX: usize = 64 * 1024;

/// What goes by cannot be read, so it cannot be recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Broken;

/// Who sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Cluster,
}

/// What an exchange switches to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    WebSocket,
    Spdy,
}

/// Reads one direction.
#[derive(Debug)]
pub(super) struct Tap {
    side: Side,
    protocol: Protocol,
    /// The sub-protocol carries texts; the cluster's answer decides.
    base64: bool,
    state: State,
}

#[derive(Debug)]
enum State {
    Head(Vec<u8>),
    WebSocket(WebSocket),
    Spdy(Spdy),
    /// The cluster refused: what follows is an answer and no session.
    Plain,
}

impl Tap {
    pub(super) fn new(side: Side, protocol: Protocol) -> Self {
        Self { side, protocol, base64: false, state: State::Head(Vec::new()) }
    }

    /// What happened, as far as these bytes tell.
    pub(super) fn feed(&mut self, bytes: &[u8], out: &mut Vec<Happened>) -> Result<(), Broken> {
        match &mut self.state {
            State::Plain => Ok(()),
            State::WebSocket(socket) => socket.feed(bytes, out),
            State::Spdy(spdy) => spdy.feed(bytes, out),
            State::Head(head) => {
                head.extend_from_slice(bytes);
                let Some(end) = head.windows(4).position(|window| window == b"\r\n\r\n") else {
                    return if head.len() > HEAD_MAX { Err(Broken) } else { Ok(()) };
                };
                let rest = head.split_off(end + 4);
                let head = std::mem::take(head);
                self.state = self.after(&String::from_utf8_lossy(&head));
                self.feed(&rest, out)
            }
        }
    }

    fn after(&mut self, head: &str) -> State {
        let switched = self.side == Side::Client || head.split(' ').nth(1) == Some("101");
        if !switched {
            return State::Plain;
        }
        // The cluster names the sub-protocol it took; a client names those it could speak, with texts among them only if it is
        // old, and the first is what a cluster takes.
        let chosen = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("sec-websocket-protocol").then(|| value.split(',').next().unwrap_or_default())
        });
        self.base64 = chosen.is_some_and(|word| word.trim().contains("base64"));
        match self.protocol {
            Protocol::WebSocket => State::WebSocket(WebSocket::new(self.side, self.base64)),
            Protocol::Spdy => State::Spdy(Spdy::new(self.side)),
        }
    }
}

/// A new size of the terminal, as `remotecommand.TerminalSize` is written.
pub(super) fn size(text: &[u8]) -> Option<Happened> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase", deny_unknown_fields)]
    struct Size {
        width: u16,
        height: u16,
    }
    serde_json::from_slice(text).ok().map(|Size { width, height }| Happened::Size(width, height))
}

/// The final status of a command.
pub(super) fn ended(text: &[u8]) -> Option<Happened> {
    #[derive(Deserialize)]
    struct Status {
        status: String,
        #[serde(default)]
        details: Option<Details>,
    }
    #[derive(Deserialize)]
    struct Details {
        #[serde(default)]
        causes: Vec<Cause>,
    }
    #[derive(Deserialize)]
    struct Cause {
        #[serde(default)]
        reason: String,
        #[serde(default)]
        message: String,
    }
    let status: Status = serde_json::from_slice(text).ok()?;
    let code = status.details.and_then(|details| {
        let cause = details.causes.into_iter().find(|cause| cause.reason == "ExitCode")?;
        cause.message.parse::<i32>().ok()
    });
    Some(Happened::End(match (status.status.as_str(), code) {
        ("Success", _) => "exit 0".to_owned(),
        (_, Some(code)) => format!("exit {code}"),
        _ => "ended with an error".to_owned(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_comes_before_the_protocol_and_refusals_are_no_session() {
        let answer =
            b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Protocol: v5.channel.k8s.io\r\n\r\n\x82\x03\x01hi";
        for step in [1, 10, 1_000] {
            let (mut tap, mut out) = (Tap::new(Side::Cluster, Protocol::WebSocket), Vec::new());
            answer.chunks(step).for_each(|part| tap.feed(part, &mut out).unwrap());
            let shown: Vec<u8> = out
                .into_iter()
                .flat_map(|one| if let Happened::Output(bytes) = one { bytes } else { vec![] })
                .collect();
            assert_eq!(shown, b"hi");
        }
        let (mut tap, mut out) = (Tap::new(Side::Cluster, Protocol::WebSocket), Vec::new());
        tap.feed(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\n{}", &mut out).unwrap();
        assert!(out.is_empty());
        let mut endless = Tap::new(Side::Cluster, Protocol::Spdy);
        assert_eq!(endless.feed(&vec![b'x'; HEAD_MAX + 1], &mut out), Err(Broken));
    }

    #[test]
    fn garbage_does_not_panic() {
        for protocol in [Protocol::WebSocket, Protocol::Spdy] {
            for seed in 0..200_u32 {
                let mut tap = Tap::new(Side::Cluster, protocol);
                let _ = tap.feed(b"HTTP/1.1 101 x\r\n\r\n", &mut Vec::new());
                let mut state = seed.wrapping_mul(2_654_435_761).max(1);
                let bytes: Vec<u8> = (0..500)
                    .map(|_| {
                        state ^= state << 13;
                        state ^= state >> 17;
                        state ^= state << 5;
                        state.to_le_bytes()[1]
                    })
                    .collect();
                let _ = tap.feed(&bytes, &mut Vec::new());
            }
        }
    }
}
