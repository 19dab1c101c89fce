//! Reads the data of a remote command out of one direction of SPDY/3.1. Which stream is which is said in packed headers, so it
//! is not read: clients open the error stream first, and everything that a cluster sends as data is taken for output unless it
//! is a final status there. Nothing that is shown can hide in another order.

use super::cast::Happened;
use super::tap::{Broken, Side, ended, size};

/// Stream that kubectl opens first: the final status comes on it.
const ERROR_STREAM: u32 = 1;
/// Longest data frame that is looked at for a size or a status.
const CONTROL_MAX: usize = 4 * 1024;

/// One direction.
#[derive(Debug)]
pub(super) struct Spdy {
    side: Side,
    head: Vec<u8>,
    left: usize,
    /// The stream of a data frame; none of a control frame.
    stream: Option<u32>,
    /// A short data frame as a whole.
    short: Option<Vec<u8>>,
}

impl Spdy {
    pub(super) fn new(side: Side) -> Self {
        Self { side, head: Vec::with_capacity(8), left: 0, stream: None, short: None }
    }

    pub(super) fn feed(&mut self, mut bytes: &[u8], out: &mut Vec<Happened>) -> Result<(), Broken> {
        while !bytes.is_empty() {
            if self.left == 0 {
                let Some((&next, rest)) = bytes.split_first() else { break };
                self.head.push(next);
                bytes = rest;
                if self.head.len() == 8 {
                    self.begin()?;
                }
                continue;
            }
            let (part, rest) = bytes.split_at(self.left.min(bytes.len()));
            bytes = rest;
            self.left -= part.len();
            self.payload(part, out);
        }
        Ok(())
    }

    /// A frame's head: control bit and version and type, or stream; flags; 24 bits of length.
    fn begin(&mut self) -> Result<(), Broken> {
        let head: [u8; 8] = self.head.as_slice().try_into().map_err(|_| Broken)?;
        self.head.clear();
        let [a, b, c, d, _, length @ ..] = head;
        let word = u32::from_be_bytes([a, b, c, d]);
        if word >> 31 == 1 && (word >> 16) & 0x7fff != 3 {
            return Err(Broken);
        }
        self.stream = (word >> 31 == 0).then_some(word);
        self.left = length.iter().fold(0, |sum, byte| (sum << 8) | usize::from(*byte));
        self.short = (self.stream.is_some() && self.left <= CONTROL_MAX).then(Vec::new);
        Ok(())
    }

    fn payload(&mut self, part: &[u8], out: &mut Vec<Happened>) {
        let Some(stream) = self.stream else { return };
        let Some(short) = &mut self.short else {
            return out.push(self.plain(part.to_vec()));
        };
        short.extend_from_slice(part);
        if self.left > 0 {
            return;
        }
        let whole = std::mem::take(short);
        let control = match self.side {
            Side::Client => size(&whole),
            Side::Cluster if stream == ERROR_STREAM => ended(&whole),
            Side::Cluster => None,
        };
        out.push(control.unwrap_or_else(|| self.plain(whole)));
    }

    fn plain(&self, bytes: Vec<u8>) -> Happened {
        match self.side {
            Side::Client => Happened::Input(bytes),
            Side::Cluster => Happened::Output(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(stream: u32, payload: &[u8]) -> Vec<u8> {
        let mut out = stream.to_be_bytes().to_vec();
        out.push(0);
        out.extend(&u32::try_from(payload.len()).unwrap().to_be_bytes()[1..]);
        out.extend_from_slice(payload);
        out
    }

    #[test]
    fn data_is_read_at_every_cut() {
        let mut cluster = vec![0x80, 3, 0, 2, 0, 0, 0, 4, 9, 9, 9, 9];
        cluster.extend(data(5, b"hello"));
        cluster.extend(data(5, b""));
        cluster.extend(data(1, br#"{"status":"Failure","details":{"causes":[{"reason":"ExitCode","message":"3"}]}}"#));
        let mut client = data(3, b"ls\n");
        client.extend(data(7, br#"{"Width":100,"Height":30}"#));
        for step in [1, 3, 1_000] {
            let read = |side: Side, bytes: &[u8]| {
                let (mut spdy, mut out) = (Spdy::new(side), Vec::new());
                bytes.chunks(step).for_each(|part| spdy.feed(part, &mut out).unwrap());
                out
            };
            let shown = [Happened::Output(b"hello".to_vec()), Happened::End("exit 3".to_owned())];
            assert_eq!(read(Side::Cluster, &cluster), shown, "{step}");
            assert_eq!(read(Side::Client, &client), [Happened::Input(b"ls\n".to_vec()), Happened::Size(100, 30)]);
        }
    }

    #[test]
    fn another_version_is_not_guessed_at() {
        assert!(Spdy::new(Side::Cluster).feed(&[0x80, 2, 0, 1, 0, 0, 0, 0], &mut Vec::new()).is_err());
    }
}
