//! `/api/v1/clusters/{cluster}/proxy/…`: the Kubernetes API of a cluster for browsers and scripts, as the Kubernetes door has it.
//! What comes back here is as Kubernetes spells it, errors too.

use std::io;

use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_LENGTH, HeaderName, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, web};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use roadstead_contracts::{Code, Error};
use roadstead_http_kit::RequestContext;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;

use crate::http::State;
use crate::kubernetes::proxy::{Call, Reply, ReplyBody, refused};

/// Chunks of a body that wait for the cluster: the rest waits in the client's socket.
const CHUNKS: usize = 2;
/// Most bytes read at once from a WebSocket of the cluster.
const CHUNK_MAX: usize = 16 * 1024;

pub(super) type Chunk = Result<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// Carries a request to the API server of a cluster, as the caller.
pub(crate) async fn proxy(
    app: State,
    request: HttpRequest,
    path: web::Path<(String, String)>,
    context: RequestContext,
    payload: web::Payload,
) -> HttpResponse {
    let (cluster, tail) = path.into_inner();
    let Some(door) = app.kubernetes.get() else {
        let none = Error::new(Code::Unavailable, "this hub has no Kubernetes door: it has no certificate for one");
        return answer(refused(&none, &context.request_id), None);
    };
    let prefix = format!("/api/v1/clusters/{cluster}/proxy");
    // As it came, escapes included; the route's own match has them undone.
    let raw = request.uri().path().strip_prefix(prefix.as_str()).unwrap_or("/");
    let tail = if raw.is_empty() { format!("/{tail}") } else { raw.to_owned() };
    let body = pump(payload);
    // Behind a switch the payload is the client's side of the socket, not a body.
    let (sender, chunks) = if is_upgrade(&request) { (Some(body), mpsc::channel(1).1) } else { (None, body) };
    let call = Call {
        method: request.method().as_str(),
        cluster: &cluster,
        prefix: &prefix,
        tail: &tail,
        query: Some(request.query_string()).filter(|query| !query.is_empty()),
        headers: request.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect(),
        source: context.client,
        request_id: &context.request_id,
        body: stream::unfold(chunks, |mut chunks: mpsc::Receiver<Chunk>| async move {
            chunks.recv().await.map(|chunk| (chunk, chunks))
        }),
    };
    answer(door.proxy(call).await, sender)
}

fn is_upgrade(request: &HttpRequest) -> bool {
    request.headers().contains_key(actix_web::http::header::UPGRADE)
}

/// A payload belongs to the thread of its connection; the exchange does not. A few chunks go between.
pub(super) fn pump(mut payload: web::Payload) -> mpsc::Receiver<Chunk> {
    let (sender, chunks) = mpsc::channel(CHUNKS);
    actix_web::rt::spawn(async move {
        while let Some(chunk) = payload.next().await {
            let broken = chunk.is_err();
            // A body that broke off must not look like one that ended.
            let chunk = chunk.map_err(|fault| io::Error::other(fault.to_string()).into());
            if sender.send(chunk).await.is_err() || broken {
                return;
            }
        }
    });
    chunks
}

pub(super) fn answer(reply: Reply, client: Option<mpsc::Receiver<Chunk>>) -> HttpResponse {
    let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::BAD_GATEWAY);
    let mut response = HttpResponse::build(status);
    let mut length = None;
    for (name, value) in reply.headers {
        let (Ok(name), Ok(value)) = (HeaderName::try_from(name.as_str()), HeaderValue::from_bytes(&value)) else {
            continue;
        };
        if name == CONTENT_LENGTH {
            length = value.to_str().ok().and_then(|text| text.parse::<u64>().ok());
        } else if !matches!(name.as_str(), "connection" | "upgrade" | "date" | "x-request-id") {
            response.append_header((name, value));
        }
    }
    match reply.body {
        ReplyBody::Stream(body) => {
            if let Some(length) = length {
                response.no_chunking(length);
            }
            response.streaming(body.map(|chunk| chunk.map_err(|fault| io::Error::other(fault.to_string()))))
        }
        ReplyBody::Socket(read, write, right) => socket(response, read, write, right, client),
    }
}

fn socket(
    mut response: HttpResponseBuilder,
    mut read: tokio::io::ReadHalf<crate::kubernetes::proxy::Socket>,
    mut write: tokio::io::WriteHalf<crate::kubernetes::proxy::Socket>,
    right: crate::kubernetes::Right,
    client: Option<mpsc::Receiver<Chunk>>,
) -> HttpResponse {
    let Some(mut client) = client else { return HttpResponse::InternalServerError().finish() };
    let (sender, chunks) = mpsc::channel::<io::Result<Bytes>>(CHUNKS);
    let both = async move {
        let there = async {
            while let Some(Ok(chunk)) = client.recv().await {
                if write.write_all(&chunk).await.is_err() {
                    return;
                }
            }
            let _ = write.shutdown().await;
        };
        let back = async {
            let mut buffer = bytes::BytesMut::new();
            loop {
                buffer.reserve(CHUNK_MAX);
                match read.read_buf(&mut buffer).await {
                    Ok(1..) if sender.send(Ok(buffer.split().freeze())).await.is_ok() => {}
                    _ => return,
                }
            }
        };
        // The cluster's end is the end: a client that says nothing more must not hold it.
        tokio::select! {
            () = back => {}
            () = async { there.await; std::future::pending().await } => {}
        }
    };
    actix_web::rt::spawn(async move {
        let _ = right.during(both).await;
    });
    let chunks = stream::unfold(chunks, |mut chunks| async move { chunks.recv().await.map(|chunk| (chunk, chunks)) });
    response.upgrade("websocket").streaming(chunks)
}
