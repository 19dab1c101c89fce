//! A WebSocket on a route: what actix carries as a body each way becomes one connection.

use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::web::Payload;
use actix_web::{HttpRequest, HttpResponse};
use bytes::{Bytes, BytesMut};
use futures_util::stream;
use roadstead_contracts::{Code, Error, Result};
use roadstead_tunnel::ws::{self, Accepted, Refusal};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::sync::mpsc;

use super::proxy::pump;

/// Bytes on their way in each direction: an event with a diff is some KiB.
const BUFFER: usize = 16 * 1024;
/// Chunks on their way to the client: the rest waits in the buffer, and then with whoever writes.
const CHUNKS: usize = 2;

/// Checks a request's handshake. Whether a browser may is decided before.
pub(super) fn accept(request: &HttpRequest) -> Result<Accepted> {
    let mut head = http::Request::builder().method(request.method().as_str()).uri("/");
    for (name, value) in request.headers() {
        if name.as_str() != "origin" {
            head = head.header(name.as_str(), value.as_bytes());
        }
    }
    let head = head.body(()).map_err(|fault| {
        tracing::debug!("a handshake is not understood: {fault}");
        Error::of(Code::BadRequest)
    })?;
    if request.version() != actix_web::http::Version::HTTP_11 {
        return Err(Error::new(Code::BadRequest, "a WebSocket begins with HTTP/1.1"));
    }
    ws::accept(&head, &[]).map_err(|refusal| match refusal {
        Refusal::Protocol => Error::new(Code::BadRequest, "no sub-protocol is spoken here"),
        refusal => Error::new(Code::BadRequest, refusal.to_string()),
    })
}

/// Answers the handshake and hands the connection to `talk`, which ends it.
pub(super) fn open<F, T>(accepted: &Accepted, payload: Payload, talk: F) -> HttpResponse
where
    F: FnOnce(DuplexStream) -> T,
    T: Future<Output = ()> + 'static,
{
    let (ours, theirs) = tokio::io::duplex(BUFFER);
    let (mut from_us, mut to_us) = tokio::io::split(theirs);
    let mut client = pump(payload);
    let (sender, chunks) = mpsc::channel::<std::io::Result<Bytes>>(CHUNKS);
    let talk = talk(ours);
    actix_web::rt::spawn(async move {
        let there = async {
            while let Some(Ok(chunk)) = client.recv().await {
                if to_us.write_all(&chunk).await.is_err() {
                    return;
                }
            }
            // The client is gone; whoever talks hears it.
            let _ = to_us.shutdown().await;
        };
        let back = async {
            let mut buffer = BytesMut::new();
            loop {
                buffer.reserve(BUFFER);
                match from_us.read_buf(&mut buffer).await {
                    Ok(1..) if sender.send(Ok(buffer.split().freeze())).await.is_ok() => {}
                    _ => return,
                }
            }
        };
        // Our end is the end, and what was said before it is still carried.
        tokio::join!(
            async {
                tokio::select! {
                    () = back => {}
                    () = async { there.await; std::future::pending().await } => {}
                }
            },
            talk,
        );
    });
    let mut response = HttpResponse::SwitchingProtocols();
    for (name, value) in accepted.response().headers() {
        let name = HeaderName::from_bytes(name.as_str().as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value.as_bytes()))
            && name.as_str() == "sec-websocket-accept"
        {
            response.insert_header((name, value));
        }
    }
    let chunks = stream::unfold(chunks, |mut chunks| async move { chunks.recv().await.map(|chunk| (chunk, chunks)) });
    response.upgrade("websocket").streaming(chunks)
}
