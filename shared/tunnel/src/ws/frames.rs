//! Frames of RFC 6455, as a tunnel needs them: messages of bytes in either direction, pings, good-byes. Bytes in, what they say
//! out; no I/O. A byte of a message is copied once, and masks are put on and taken off where it lies.

use std::hash::{BuildHasher as _, RandomState};

use bytes::{BufMut as _, Bytes, BytesMut};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

/// Longest payload of a frame that is about the connection (§5.5).
const CONTROL_MAX: usize = 125;
/// Longest head: two bytes, a length of eight, a mask.
const HEAD_MAX: usize = 14;
/// Bytes of a mask.
const MASK: usize = 4;
/// Head of a message whose length fits into two bytes, without the mask.
const HEAD: usize = 4;

/// Where a length stands that says: it comes in two bytes, in eight (§5.2).
const TWO_BYTES: u8 = 126;
const EIGHT_BYTES: u8 = 127;

const FINAL: u8 = 0x80;
const RESERVED: u8 = 0x70;
const MASKED: u8 = 0x80;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

impl Kind {
    fn read(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            _ => return None,
        })
    }

    fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// What the peer said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    /// A message of bytes.
    Message(Bytes),
    /// Are you there? With what is to be sent back.
    Ping(Bytes),
    Pong,
    /// Good-bye, with the code for the answer and what it said.
    Close(CloseCode, String),
}

/// A rule that the peer broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// A frame that must not be, or not here.
    Protocol,
    /// A message longer than is taken.
    TooLong,
    /// Text.
    Text,
    /// Text that is not UTF-8.
    Utf8,
}

/// A frame whose payload comes.
#[derive(Debug)]
struct Coming {
    kind: Kind,
    last: bool,
    mask: Option<[u8; MASK]>,
    left: usize,
    /// Where it begins in what was gathered.
    from: usize,
}

/// Reads what the peer says. Holds nothing between messages.
#[derive(Debug)]
pub(super) struct Reader {
    /// The peer is a client: it must mask, a server must not.
    masked: bool,
    message_max: usize,
    head: [u8; HEAD_MAX],
    head_length: usize,
    coming: Option<Coming>,
    /// What is there of a message.
    message: BytesMut,
    /// The message comes in fragments, and this was the first one's kind.
    fragments: Option<Kind>,
    control: BytesMut,
    /// Bytes of frames since something was complete: a message of endless empty fragments ends here.
    since: usize,
}

impl Reader {
    pub(super) fn new(masked: bool, message_max: usize) -> Self {
        Self {
            masked,
            message_max,
            head: [0; HEAD_MAX],
            head_length: 0,
            coming: None,
            message: BytesMut::new(),
            fragments: None,
            control: BytesMut::new(),
            since: 0,
        }
    }

    /// Takes bytes off the front until something is complete.
    pub(super) fn take(&mut self, bytes: &mut &[u8]) -> Result<Option<Said>, Fault> {
        loop {
            let Some(coming) = &mut self.coming else {
                if bytes.is_empty() {
                    return Ok(None);
                }
                self.take_head(bytes)?;
                continue;
            };
            let count = coming.left.min(bytes.len());
            let (now, later) = bytes.split_at(count);
            let gathered = if coming.kind.is_control() { &mut self.control } else { &mut self.message };
            gathered.extend_from_slice(now);
            *bytes = later;
            coming.left -= count;
            if coming.left > 0 {
                return Ok(None);
            }
            if let Some(mask) = coming.mask {
                toggle(gathered.get_mut(coming.from..).unwrap_or_default(), mask);
            }
            let (kind, last) = (coming.kind, coming.last);
            self.coming = None;
            if let Some(said) = self.complete(kind, last)? {
                self.since = 0;
                return Ok(Some(said));
            }
        }
    }

    fn count(&mut self, bytes: usize) -> Result<(), Fault> {
        self.since += bytes;
        if self.since > self.message_max * 2 { Err(Fault::TooLong) } else { Ok(()) }
    }

    /// Takes what there is of a head.
    fn take_head(&mut self, bytes: &mut &[u8]) -> Result<(), Fault> {
        loop {
            let head = self.head.get(..self.head_length).unwrap_or_default();
            let needed = match head {
                [_, second, ..] => {
                    let extended = match second & !MASKED {
                        TWO_BYTES => 2,
                        EIGHT_BYTES => 8,
                        _ => 0,
                    };
                    2 + extended + if second & MASKED == 0 { 0 } else { MASK }
                }
                _ => 2,
            };
            if self.head_length >= 2 && self.head_length == needed {
                break;
            }
            let Some((first, rest)) = bytes.split_first() else { return Ok(()) };
            if let Some(place) = self.head.get_mut(self.head_length) {
                *place = *first;
            }
            *bytes = rest;
            self.head_length += 1;
            self.count(1)?;
            if self.head_length == 2 {
                self.check()?;
            }
        }
        self.begin()
    }

    /// Everything that the first two bytes can have wrong.
    fn check(&self) -> Result<(), Fault> {
        let [first, second, ..] = self.head;
        let kind = Kind::read(first & 0xf).ok_or(Fault::Protocol)?;
        let control = kind.is_control() && (first & FINAL == 0 || usize::from(second & !MASKED) > CONTROL_MAX);
        let order = match kind {
            Kind::Continuation => self.fragments.is_none(),
            Kind::Text | Kind::Binary => self.fragments.is_some(),
            _ => false,
        };
        let masked = (second & MASKED != 0) == self.masked;
        if first & RESERVED != 0 || control || order || !masked { Err(Fault::Protocol) } else { Ok(()) }
    }

    /// A head is whole.
    fn begin(&mut self) -> Result<(), Fault> {
        let [first, second, ..] = self.head;
        let kind = Kind::read(first & 0xf).ok_or(Fault::Protocol)?;
        let head = self.head.get(2..self.head_length).unwrap_or_default();
        self.head_length = 0;
        let (extended, mask) = head.split_at(head.len() - if second & MASKED == 0 { 0 } else { MASK });
        let length = match extended {
            [] => u64::from(second & !MASKED),
            extended => extended.iter().fold(0, |length, byte| length << 8 | u64::from(*byte)),
        };
        let mask = mask.first_chunk::<MASK>().copied();
        let gathered = if kind.is_control() { &mut self.control } else { &mut self.message };
        let room = self.message_max.saturating_sub(gathered.len());
        let left = usize::try_from(length).ok().filter(|length| *length <= room).ok_or(Fault::TooLong)?;
        gathered.reserve(left);
        let from = gathered.len();
        self.count(left)?;
        self.coming = Some(Coming { kind, last: first & FINAL != 0, mask, left, from });
        Ok(())
    }

    /// A frame is whole. Says what it completes.
    fn complete(&mut self, kind: Kind, last: bool) -> Result<Option<Said>, Fault> {
        if kind.is_control() {
            let payload = std::mem::take(&mut self.control).freeze();
            return Ok(Some(match kind {
                Kind::Ping => Said::Ping(payload),
                Kind::Pong => Said::Pong,
                _ => good_bye(&payload)?,
            }));
        }
        let kind = self.fragments.take().unwrap_or(kind);
        if !last {
            self.fragments = Some(kind);
            return Ok(None);
        }
        let message = std::mem::take(&mut self.message);
        if kind == Kind::Binary {
            return Ok(Some(Said::Message(message.freeze())));
        }
        Err(if std::str::from_utf8(&message).is_ok() { Fault::Text } else { Fault::Utf8 })
    }

    #[cfg(test)]
    pub(super) fn holds(&self) -> usize {
        self.message.capacity() + self.control.capacity()
    }
}

/// §5.5.1 and §7.4.
fn good_bye(payload: &[u8]) -> Result<Said, Fault> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return if payload.is_empty() {
            Ok(Said::Close(CloseCode::Normal, String::new()))
        } else {
            Err(Fault::Protocol)
        };
    };
    let code = CloseCode::from(u16::from_be_bytes(*code));
    let reason = std::str::from_utf8(reason).map_err(|_| Fault::Utf8)?;
    if !code.is_allowed() {
        return Err(Fault::Protocol);
    }
    let reason: String = reason.chars().filter(|c| !c.is_control()).collect();
    Ok(Said::Close(code, format!("{} {reason}", u16::from(code)).trim_end().to_owned()))
}

/// Writes what we say.
#[derive(Debug)]
pub(super) struct Speaker {
    /// Masks come from a keyed hash whose key nobody knows (§5.3 wants them unforeseeable); a server puts on none.
    masks: Option<(RandomState, u64)>,
}

impl Speaker {
    pub(super) fn new(masked: bool) -> Self {
        Self { masks: masked.then(|| (RandomState::new(), 0)) }
    }

    fn mask(&mut self) -> Option<[u8; MASK]> {
        let (keys, count) = self.masks.as_mut()?;
        *count += 1;
        keys.hash_one(*count).to_ne_bytes().first_chunk::<MASK>().copied()
    }

    /// Appends a message that `fill` writes behind what is there; it gets a buffer of its own. Says how long it is; without a
    /// byte there is none. One that is longer than 64 KiB is not written.
    pub(super) fn message_of(
        &mut self,
        out: &mut BytesMut,
        room: usize,
        fill: &mut dyn FnMut(&mut BytesMut),
    ) -> Option<usize> {
        let (at, mask) = (out.len(), self.mask());
        let head = HEAD + mask.map_or(0, |_| MASK);
        out.reserve(head + room);
        out.put_bytes(0, head);
        let mut payload = out.split_off(out.len());
        fill(&mut payload);
        let length = payload.len();
        out.unsplit(payload);
        let Ok(told) = u16::try_from(length) else {
            out.truncate(at);
            return None;
        };
        if length == 0 {
            out.truncate(at);
            return Some(0);
        }
        let mut from = at + head;
        if length <= CONTROL_MAX {
            // The shortest head there is for it (§5.2).
            out.copy_within(from.., from - 2);
            out.truncate(out.len() - 2);
            from -= 2;
        }
        let place = out.get_mut(at..).unwrap_or_default();
        let (head, payload) = place.split_at_mut(from - at);
        let bit = if mask.is_some() { MASKED } else { 0 };
        let short = u8::try_from(length).ok().filter(|_| length <= CONTROL_MAX);
        if let [first, second, rest @ ..] = head {
            *first = FINAL | 0x2;
            *second = bit | short.unwrap_or(TWO_BYTES);
            let extended: &[u8] = if short.is_some() { &[] } else { &told.to_be_bytes() };
            let tail = extended.iter().chain(mask.iter().flatten());
            rest.iter_mut().zip(tail).for_each(|(place, byte)| *place = *byte);
        }
        if let Some(mask) = mask {
            toggle(payload, mask);
        }
        Some(length)
    }

    /// Appends a message that is there already.
    pub(super) fn message(&mut self, out: &mut BytesMut, payload: &[u8]) {
        self.frame(out, 2, payload);
    }

    /// Appends the answer to a ping.
    pub(super) fn pong(&mut self, out: &mut BytesMut, payload: &[u8]) {
        self.frame(out, 10, payload);
    }

    /// Appends a good-bye.
    pub(super) fn close(&mut self, out: &mut BytesMut, code: CloseCode) {
        self.frame(out, 8, &u16::from(code).to_be_bytes());
    }

    fn frame(&mut self, out: &mut BytesMut, number: u8, payload: &[u8]) {
        let mask = self.mask();
        let bit = if mask.is_some() { MASKED } else { 0 };
        out.reserve(HEAD_MAX + payload.len());
        out.put_u8(FINAL | number);
        match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
            (Ok(length), _) if payload.len() <= CONTROL_MAX => out.put_u8(bit | length),
            (_, Ok(length)) => {
                out.put_u8(bit | TWO_BYTES);
                out.put_u16(length);
            }
            _ => {
                out.put_u8(bit | EIGHT_BYTES);
                out.put_u64(payload.len() as u64);
            }
        }
        out.put_slice(mask.as_ref().map_or(&[][..], |mask| mask));
        let from = out.len();
        out.put_slice(payload);
        if let Some(mask) = mask {
            toggle(out.get_mut(from..).unwrap_or_default(), mask);
        }
    }
}

/// Puts a mask on, or takes it off (§5.3), a word at a time.
fn toggle(bytes: &mut [u8], mask: [u8; MASK]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = bytes.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    rest.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
}

#[cfg(test)]
#[path = "frames_tests.rs"]
mod tests;
