//! Where a body ends (RFC 9112 §6): after so many bytes, after the last chunk, or with the stream.

use std::io;

use bytes::{Buf as _, Bytes};
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, StatusCode};

use super::{cut_short, nonsense};

/// Longest line of a chunk's size with its extension, and of all trailers together. Both are thrown away.
const LINES_MAX: usize = 8 * 1024;

/// How the rest of a body is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// So many bytes more.
    Length(u64),
    /// In chunks.
    Chunks(Place),
    /// Until the stream ends.
    Stream,
}

/// Where in the chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In the line with a size; the bytes of the line so far.
    Size { size: u64, digits: usize, line: usize },
    /// Behind the digits of that line.
    Extension { size: u64, line: usize },
    /// So many bytes more.
    Data(u64),
    /// Behind the bytes: a line feed comes, after a carriage return.
    DataEnd { returned: bool },
    /// In the trailers; bytes of the line so far, and of all of them.
    Trailers { line: usize, all: usize },
    /// Behind them.
    Over,
}

/// A size line at its beginning.
const SIZE: Place = Place::Size { size: 0, digits: 0, line: 0 };

impl Framing {
    /// The body of a request. Two ways to tell its length are one too many.
    pub(super) fn of_request(headers: &HeaderMap) -> io::Result<Self> {
        Ok(said(headers)?.unwrap_or(Self::Length(0)))
    }

    /// The body of an answer.
    pub(super) fn of_answer(to_head: bool, status: StatusCode, headers: &HeaderMap) -> io::Result<Self> {
        if to_head
            || status.is_informational()
            || status == StatusCode::NO_CONTENT
            || status == StatusCode::NOT_MODIFIED
        {
            return Ok(Self::Length(0));
        }
        Ok(said(headers)?.unwrap_or(Self::Stream))
    }

    /// Whether nothing more belongs to the body.
    pub(super) fn is_over(self) -> bool {
        matches!(self, Self::Length(0) | Self::Chunks(Place::Over))
    }

    /// How long the rest is, where that is known.
    pub(super) fn rest(self) -> Option<u64> {
        match self {
            Self::Length(rest) => Some(rest),
            Self::Chunks(Place::Over) => Some(0),
            Self::Chunks(_) | Self::Stream => None,
        }
    }

    /// The stream ended: is that where the body does?
    pub(super) fn end(&mut self) -> io::Result<()> {
        match self {
            Self::Stream => {
                *self = Self::Length(0);
                Ok(())
            }
            _ if self.is_over() => Ok(()),
            _ => Err(cut_short()),
        }
    }

    /// Takes the next piece of the body off the bytes; nothing when they hold no more of it.
    pub(super) fn take(&mut self, bytes: &mut Bytes) -> io::Result<Option<Bytes>> {
        match self {
            Self::Stream => Ok(Some(std::mem::take(bytes)).filter(|piece| !piece.is_empty())),
            Self::Length(left) => Ok(piece(bytes, left)),
            Self::Chunks(place) => place.take(bytes),
        }
    }
}

/// As many bytes as there are and may be.
fn piece(bytes: &mut Bytes, left: &mut u64) -> Option<Bytes> {
    let length = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
    if length == 0 {
        return None;
    }
    *left -= length as u64;
    Some(bytes.split_to(length))
}

/// What the headers say; nothing when they do not.
fn said(headers: &HeaderMap) -> io::Result<Option<Framing>> {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match (lengths.next(), codings.next()) {
        (None, None) => Ok(None),
        (Some(length), None) if lengths.next().is_none() => {
            let digits = length.as_bytes();
            let plain = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
            let length = length.to_str().ok().filter(|_| plain).and_then(|text| text.parse().ok());
            length.map(|length| Some(Framing::Length(length))).ok_or_else(|| nonsense("a length that is none"))
        }
        (None, Some(coding)) if codings.next().is_none() && coding.as_bytes().eq_ignore_ascii_case(b"chunked") => {
            Ok(Some(Framing::Chunks(SIZE)))
        }
        _ => Err(nonsense("a body with two lengths or in an unknown coding")),
    }
}

impl Place {
    fn take(&mut self, bytes: &mut Bytes) -> io::Result<Option<Bytes>> {
        while !bytes.is_empty() {
            if let Self::Data(left) = self {
                let found = piece(bytes, left);
                if *left == 0 {
                    *self = Self::DataEnd { returned: false };
                }
                if found.is_some() {
                    return Ok(found);
                }
                continue;
            }
            if *self == Self::Over {
                return Ok(None);
            }
            let byte = bytes.get_u8();
            *self = self.after(byte)?;
        }
        Ok(None)
    }

    /// Where one more byte of the framing leads.
    fn after(self, byte: u8) -> io::Result<Self> {
        let bad = || nonsense("a chunk that is none");
        Ok(match self {
            Self::Size { size, digits, line } => match (char::from(byte).to_digit(16), byte) {
                (Some(digit), _) => {
                    let size = size.checked_mul(16).and_then(|size| size.checked_add(u64::from(digit)));
                    Self::Size { size: size.ok_or_else(bad)?, digits: digits + 1, line: line + 1 }
                }
                (None, b'\r' | b';' | b' ' | b'\t') if digits > 0 => Self::Extension { size, line: line + 1 },
                _ => return Err(bad()),
            },
            Self::Extension { line, .. } if line > LINES_MAX => return Err(bad()),
            Self::Extension { size: 0, .. } if byte == b'\n' => Self::Trailers { line: 0, all: 0 },
            Self::Extension { size, .. } if byte == b'\n' => Self::Data(size),
            Self::Extension { size, line } => Self::Extension { size, line: line + 1 },
            Self::DataEnd { returned: false } if byte == b'\r' => Self::DataEnd { returned: true },
            Self::DataEnd { returned: true } if byte == b'\n' => SIZE,
            Self::Trailers { line: 0, .. } if byte == b'\n' => Self::Over,
            Self::Trailers { all, .. } if all > LINES_MAX => return Err(bad()),
            Self::Trailers { all, .. } if byte == b'\n' => Self::Trailers { line: 0, all: all + 1 },
            Self::Trailers { line, all } => Self::Trailers { line: line + usize::from(byte != b'\r'), all: all + 1 },
            Self::DataEnd { .. } | Self::Data(_) | Self::Over => return Err(bad()),
        })
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn headers(rows: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in rows {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    /// Reads a body that comes in pieces; `None` when it is not over at the end.
    fn read(mut framing: Framing, text: &[u8], step: usize) -> io::Result<Option<(Vec<u8>, usize)>> {
        let (mut body, mut left) = (Vec::new(), text.len());
        for part in text.chunks(step.max(1)) {
            let mut bytes = Bytes::copy_from_slice(part);
            while let Some(piece) = framing.take(&mut bytes)? {
                body.extend_from_slice(&piece);
            }
            left -= part.len() - bytes.len();
            if framing.is_over() {
                return Ok(Some((body, left)));
            }
        }
        Ok(None)
    }

    #[test]
    fn one_length_or_none() {
        let of = |rows: &[(&'static str, &'static str)]| Framing::of_request(&headers(rows));
        assert_eq!(of(&[]).unwrap(), Framing::Length(0));
        assert_eq!(of(&[("content-length", "7")]).unwrap(), Framing::Length(7));
        assert_eq!(of(&[("transfer-encoding", "Chunked")]).unwrap(), Framing::Chunks(SIZE));
        for rows in [
            &[("content-length", "7"), ("transfer-encoding", "chunked")][..],
            &[("content-length", "7"), ("content-length", "7")],
            &[("content-length", "+7")],
            &[("content-length", "7, 7")],
            &[("content-length", "99999999999999999999999")],
            &[("transfer-encoding", "gzip, chunked")],
            &[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")],
        ] {
            assert!(of(rows).is_err(), "{rows:?}");
        }
        let answer = |head, status, rows| Framing::of_answer(head, status, &headers(rows)).unwrap();
        assert_eq!(answer(false, StatusCode::OK, &[]), Framing::Stream);
        assert_eq!(answer(true, StatusCode::OK, &[("content-length", "7")]), Framing::Length(0));
        assert_eq!(answer(false, StatusCode::NOT_MODIFIED, &[("content-length", "7")]), Framing::Length(0));
    }

    #[test]
    fn chunks_are_read_however_they_are_cut() {
        let text = b"3\r\nabc\r\n0A;x=y\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\nbehind";
        for step in 1..=text.len() {
            let (body, left) = read(Framing::Chunks(SIZE), text, step).unwrap().unwrap();
            assert_eq!((body.as_slice(), left), (&b"abc0123456789"[..], 6), "{step}");
        }
        for bad in
            ["x\r\n", "\r\n", "3\r\nabcd", "3\r\nabc\n0\r\n\r\n", "fffffffffffffffff\r\n", "3 \r\nab\r\r\n", "-1\r\n"]
        {
            assert!(!matches!(read(Framing::Chunks(SIZE), bad.as_bytes(), 2), Ok(Some(_))), "{bad:?}");
        }
        let endless = format!("3;{}", "x".repeat(LINES_MAX * 2));
        assert!(read(Framing::Chunks(SIZE), endless.as_bytes(), 100).is_err());
    }

    proptest! {
        #[test]
        fn garbage_does_not_panic(text in proptest::collection::vec(any::<u8>(), 0..200), step in 1_usize..20) {
            let _ = read(Framing::Chunks(SIZE), &text, step);
        }

        #[test]
        fn what_was_cut_into_chunks_comes_back(body in proptest::collection::vec(any::<u8>(), 0..300), cut in 1_usize..40) {
            let mut text = Vec::new();
            for chunk in body.chunks(cut) {
                text.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                text.extend_from_slice(chunk);
                text.extend_from_slice(b"\r\n");
            }
            text.extend_from_slice(b"0\r\n\r\n");
            let (read, left) = read(Framing::Chunks(SIZE), &text, cut).unwrap().unwrap();
            prop_assert_eq!((read, left), (body, 0));
        }
    }
}
