//! The client's side of an upgraded request as one stream of bytes. A payload belongs to the thread of its connection; what is
//! done with its bytes does not.

use std::io;

use actix_web::web;
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _, stream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, ReadHalf, duplex, split};

/// Bytes of each direction that wait: the rest waits in the client's socket, or where they come from.
const WAITING_MAX: usize = 32 * 1024;
/// Most bytes given to the client at once.
const CHUNK_MAX: usize = 16 * 1024;

/// Joins a payload and the body of its answer.
pub(super) fn join(mut payload: web::Payload) -> (DuplexStream, impl Stream<Item = io::Result<Bytes>> + use<>) {
    let (near, far) = duplex(WAITING_MAX);
    let (read, mut write) = split(far);
    actix_web::rt::spawn(async move {
        while let Some(Ok(chunk)) = payload.next().await {
            if write.write_all(&chunk).await.is_err() {
                return;
            }
        }
        // A half that is dropped does not end the other one.
        let _ = write.shutdown().await;
    });
    let body = stream::unfold(read, |mut read: ReadHalf<DuplexStream>| async move {
        let mut buffer = BytesMut::with_capacity(CHUNK_MAX);
        match read.read_buf(&mut buffer).await {
            Ok(1..) => Some((Ok(buffer.freeze()), read)),
            _ => None,
        }
    });
    (near, body)
}
