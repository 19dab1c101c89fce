//! Line ends of a request's head, held to RFC 9112 §2.2 before hyper reads them: hyper takes a bare line feed for one, and a proxy
//! before us may not, so that it sees one request where we see two (reliability row R19). A bare line feed is handed on as a NUL,
//! which no parser takes: the answer is 400. Good for one head, so whoever uses it serves one request a connection.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Where in the connection the next byte is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Before the head: empty lines may come first.
    Before,
    /// In the head, behind so many bytes of CR LF CR LF.
    Head(u8),
    /// Behind it.
    Behind,
}

/// A connection whose first head has whole line ends.
#[derive(Debug)]
pub(crate) struct Lines<IO> {
    io: IO,
    place: Place,
    after_return: bool,
}

impl<IO> Lines<IO> {
    pub(crate) fn new(io: IO) -> Self {
        Self { io, place: Place::Before, after_return: false }
    }

    pub(crate) fn into_inner(self) -> IO {
        self.io
    }

    fn look(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            if self.place == Place::Behind {
                return;
            }
            let whole = *byte != b'\n' || self.after_return;
            self.after_return = *byte == b'\r';
            self.place = match (self.place, *byte) {
                (Place::Before, b'\r' | b'\n') => Place::Before,
                (Place::Head(0 | 2), b'\r') => Place::Head(if self.place == Place::Head(0) { 1 } else { 3 }),
                (Place::Head(1), b'\n') => Place::Head(2),
                (Place::Head(3), b'\n') => Place::Behind,
                (_, b'\r') => Place::Head(1),
                _ => Place::Head(0),
            };
            if !whole {
                *byte = 0;
            }
        }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Lines<IO> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.io).poll_read(context, buf);
        if let Some(fresh) = buf.filled_mut().get_mut(before..) {
            self.look(fresh);
        }
        read
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Lines<IO> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(text: &str, pieces: usize) -> String {
        let mut lines = Lines::new(());
        let mut bytes = text.as_bytes().to_vec();
        for piece in bytes.chunks_mut(pieces) {
            lines.look(piece);
        }
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn bare_line_feeds_of_the_head_are_no_line_ends() {
        for pieces in [1, 3, 1_000] {
            for good in [
                "GET / HTTP/1.1\r\nhost: a\r\n\r\nbody\nwith\n\nlines",
                "\r\n\r\nGET / HTTP/1.1\r\n\r\n\n",
                "POST / HTTP/1.1\r\na: b\r\n\r\n2\n{}\n0\n\n",
            ] {
                assert_eq!(seen(good, pieces), good);
            }
            for (broken, expected) in [
                ("GET / HTTP/1.1\n\n", "GET / HTTP/1.1\0\0"),
                ("GET / HTTP/1.1\r\na: b\nc: d\r\n\r\n", "GET / HTTP/1.1\r\na: b\0c: d\r\n\r\n"),
                ("\r\n\r\nGET / HTTP/1.1\nx: y\r\n\r\n", "\r\n\r\nGET / HTTP/1.1\0x: y\r\n\r\n"),
                ("GET / HTTP/1.1\r\n\na: b\r\n\r\n", "GET / HTTP/1.1\r\n\0a: b\r\n\r\n"),
                ("GET / HTTP/1.1\r\n\r\r\n\n", "GET / HTTP/1.1\r\n\r\r\n\0"),
            ] {
                assert_eq!(seen(broken, pieces), expected, "{broken:?}");
            }
        }
    }
}
