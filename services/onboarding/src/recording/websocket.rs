//! Reads the channels of `*.channel.k8s.io` out of one direction of a WebSocket, as the bytes go by. Nothing is changed and
//! nothing is kept but small control messages.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::cast::Happened;
use super::tap::{Broken, Side, ended, size};

/// Longest control message (a window's size, the final status) that is read.
const CONTROL_MAX: usize = 16 * 1024;
/// Standard streams of remote commands.
const STDIN: u8 = 0;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;

/// One direction.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "facts that hold independently of each other")]
pub(super) struct WebSocket {
    side: Side,
    /// The sub-protocol carries base64 texts.
    base64: bool,
    head: Vec<u8>,
    /// Bytes of the frame's payload still to come.
    left: u64,
    mask: Option<[u8; 4]>,
    at: usize,
    /// Of a control frame, which belongs to no message.
    aside: bool,
    channel: Option<u8>,
    last: bool,
    control: Vec<u8>,
    carry: Vec<u8>,
    /// Inside a frame's payload.
    inside: bool,
}

impl WebSocket {
    pub(super) fn new(side: Side, base64: bool) -> Self {
        Self {
            side,
            base64,
            head: Vec::with_capacity(14),
            left: 0,
            mask: None,
            at: 0,
            aside: false,
            channel: None,
            last: false,
            control: Vec::new(),
            carry: Vec::new(),
            inside: false,
        }
    }

    pub(super) fn feed(&mut self, mut bytes: &[u8], out: &mut Vec<Happened>) -> Result<(), Broken> {
        while !bytes.is_empty() {
            if !self.inside {
                let Some((&next, rest)) = bytes.split_first() else { break };
                self.head.push(next);
                bytes = rest;
                if self.head_is_whole() {
                    self.begin()?;
                    self.finish_if_done(out);
                }
                continue;
            }
            let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
            let (part, rest) = bytes.split_at(most);
            bytes = rest;
            self.left -= most as u64;
            if self.aside {
                self.at += most;
            } else {
                let mut plain = part.to_vec();
                if let Some(mask) = self.mask {
                    for byte in &mut plain {
                        *byte ^= mask[self.at % 4];
                        self.at += 1;
                    }
                }
                self.payload(&plain, out)?;
            }
            self.finish_if_done(out);
        }
        Ok(())
    }

    fn head_is_whole(&self) -> bool {
        let Some(second) = self.head.get(1) else { return false };
        let length = match second & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        self.head.len() == 2 + length + if second & 0x80 == 0 { 0 } else { 4 }
    }

    fn begin(&mut self) -> Result<(), Broken> {
        let [first, second, rest @ ..] = self.head.as_slice() else { return Err(Broken) };
        // An extension would change what the payload means.
        if first & 0x70 != 0 {
            return Err(Broken);
        }
        let (length, rest) = match second & 0x7f {
            126 => rest.split_at_checked(2).ok_or(Broken)?,
            127 => rest.split_at_checked(8).ok_or(Broken)?,
            _ => (&[][..], rest),
        };
        let long = length.iter().fold(0_u64, |sum, byte| (sum << 8) | u64::from(*byte));
        self.left = if length.is_empty() { u64::from(second & 0x7f) } else { long };
        self.mask = <[u8; 4]>::try_from(rest).ok();
        self.aside = first & 0x08 != 0;
        if !self.aside {
            // A new message, or the next part of one.
            if first & 0x0f != 0 {
                self.channel = None;
                self.control.clear();
                self.carry.clear();
            }
            self.last = first & 0x80 != 0;
        }
        (self.at, self.inside) = (0, true);
        self.head.clear();
        Ok(())
    }

    fn finish_if_done(&mut self, out: &mut Vec<Happened>) {
        if !self.inside || self.left > 0 {
            return;
        }
        self.inside = false;
        if self.aside || !self.last {
            return;
        }
        match (self.channel.take(), self.side) {
            (Some(RESIZE), Side::Client) => out.extend(size(&self.control)),
            (Some(ERROR), Side::Cluster) => out.extend(ended(&self.control)),
            _ => {}
        }
        self.control.clear();
    }

    fn payload(&mut self, mut plain: &[u8], out: &mut Vec<Happened>) -> Result<(), Broken> {
        if self.channel.is_none() {
            let Some((&first, rest)) = plain.split_first() else { return Ok(()) };
            self.channel = Some(if self.base64 { first.wrapping_sub(b'0') } else { first });
            plain = rest;
        }
        let decoded = if self.base64 { Some(self.decode(plain)?) } else { None };
        let plain = decoded.as_deref().unwrap_or(plain);
        match (self.channel.unwrap_or(u8::MAX), self.side) {
            (STDIN, Side::Client) => out.push(Happened::Input(plain.to_vec())),
            (ERROR, Side::Cluster) | (RESIZE, Side::Client) => {
                if self.control.len() + plain.len() > CONTROL_MAX {
                    return Err(Broken);
                }
                self.control.extend_from_slice(plain);
            }
            // Whatever a cluster sends on any other channel is shown by somebody's terminal.
            (_, Side::Cluster) => out.push(Happened::Output(plain.to_vec())),
            _ => {}
        }
        Ok(())
    }

    /// Base64 comes in groups of four; a rest waits for the next part.
    fn decode(&mut self, text: &[u8]) -> Result<Vec<u8>, Broken> {
        self.carry.extend_from_slice(text);
        let whole = self.carry.len() - self.carry.len() % 4;
        let decoded = STANDARD.decode(&self.carry[..whole]).map_err(|_| Broken)?;
        self.carry.drain(..whole);
        Ok(decoded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(first: u8, mask: Option<[u8; 4]>, payload: &[u8]) -> Vec<u8> {
        let mut out = vec![first];
        let bit = if mask.is_some() { 0x80 } else { 0 };
        match payload.len() {
            short @ 0..=125 => out.push(bit | u8::try_from(short).unwrap()),
            long => {
                out.push(bit | 0x7e);
                out.extend(u16::try_from(long).unwrap().to_be_bytes());
            }
        }
        out.extend(mask.unwrap_or_default().iter().take(if mask.is_some() { 4 } else { 0 }));
        let key = mask.unwrap_or_default();
        out.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ key[at % 4]));
        out
    }

    fn read(side: Side, base64: bool, bytes: &[u8], step: usize) -> Vec<Happened> {
        let (mut socket, mut out) = (WebSocket::new(side, base64), Vec::new());
        for part in bytes.chunks(step) {
            socket.feed(part, &mut out).unwrap();
        }
        // Joined, so that the cuts between chunks do not matter.
        let mut joined: Vec<Happened> = Vec::new();
        for one in out {
            match (joined.last_mut(), one) {
                (Some(Happened::Output(all)), Happened::Output(more))
                | (Some(Happened::Input(all)), Happened::Input(more)) => all.extend(more),
                (_, one) => joined.push(one),
            }
        }
        joined
    }

    #[test]
    fn channels_are_read_at_every_cut() {
        let mut cluster = frame(0x82, None, b"\x01hello ");
        cluster.extend(frame(0x89, None, b"ping"));
        cluster.extend(frame(0x02, None, b"\x02wor"));
        cluster.extend(frame(0x80, None, b"ld"));
        cluster.extend(frame(0x82, None, &[b"\x01".as_slice(), &[b'x'; 300]].concat()));
        cluster.extend(frame(0x82, None, b"\x03{\"status\":\"Success\"}"));
        let shown = [b"hello world".as_slice(), &[b'x'; 300]].concat();
        let expected = vec![Happened::Output(shown), Happened::End("exit 0".to_owned())];
        for step in [1, 2, 3, 7, 1_000] {
            assert_eq!(read(Side::Cluster, false, &cluster, step), expected, "{step}");
        }
        let mask = Some([1, 2, 3, 4]);
        let mut client = frame(0x82, mask, b"\x04{\"Width\":120,\"Height\":40}");
        client.extend(frame(0x82, mask, b"\x00ls\n"));
        client.extend(frame(0x82, mask, b""));
        for step in [1, 5, 1_000] {
            let expected = [Happened::Size(120, 40), Happened::Input(b"ls\n".to_vec())];
            assert_eq!(read(Side::Client, false, &client, step), expected, "{step}");
        }
    }

    #[test]
    fn base64_is_read_and_extensions_are_not() {
        let text = [b"1".as_slice(), STANDARD.encode("hello").as_bytes()].concat();
        for step in [1, 2, 100] {
            let expected = [Happened::Output(b"hello".to_vec())];
            assert_eq!(read(Side::Cluster, true, &frame(0x81, None, &text), step), expected);
        }
        let packed = frame(0xc2, None, b"\x01x");
        assert!(WebSocket::new(Side::Cluster, false).feed(&packed, &mut Vec::new()).is_err());
    }
}
