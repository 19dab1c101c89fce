//! One read buffer per thread. A session reads into it and keeps only what it cannot use at once, so an idle session
//! holds no read buffer.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, ReadBuf};

/// Bytes read by one system call: two full frames.
const LENGTH: usize = 64 * 1024;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Reads and throws away, until the end, an error, or `left` bytes.
pub(crate) fn poll_drain<IO: AsyncRead + Unpin>(io: &mut IO, context: &mut Context<'_>, left: &mut u64) -> Poll<()> {
    loop {
        match poll_read(io, context, |_| {}) {
            Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(()),
            Poll::Ready(Ok(length)) => *left = left.saturating_sub(length as u64),
            Poll::Pending => return Poll::Pending,
        }
        if *left == 0 {
            return Poll::Ready(());
        }
    }
}

/// Reads once and hands what was read to `take`. `Ready(Ok(0))` is the end.
pub(crate) fn poll_read<IO, F>(io: &mut IO, context: &mut Context<'_>, take: F) -> Poll<io::Result<usize>>
where
    IO: AsyncRead + Unpin,
    F: FnOnce(&[u8]),
{
    BUFFER.with(|buffer| {
        // A transport inside a transport finds the buffer taken and brings its own.
        let mut own = Vec::new();
        let mut shared = buffer.try_borrow_mut();
        let bytes = shared.as_deref_mut().unwrap_or(&mut own);
        bytes.resize(LENGTH, 0);
        let mut read = ReadBuf::new(bytes);
        match Pin::new(io).poll_read(context, &mut read) {
            Poll::Ready(Ok(())) => {
                take(read.filled());
                Poll::Ready(Ok(read.filled().len()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        }
    })
}
