//! The agent's side of the handshake.

use std::pin::pin;

use base64::Engine as _;
use bytes::Bytes;
use futures_util::future::{Either, select};
use http::header::{CONNECTION, HOST, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL};
use http::header::{SEC_WEBSOCKET_VERSION, UPGRADE};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Collected, Empty, Limited};
use hyper_util::rt::TokioIo;
use roadstead_runtime::Ids;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::{HANDSHAKE_LIMIT, WebSocket};

/// Most of a refusal's body that is read: an error document.
const BODY_MAX: usize = 16 * 1024;

/// A WebSocket that the hub agreed to.
#[derive(Debug)]
pub struct Dialled<IO> {
    /// The connection.
    pub socket: WebSocket<IO>,
    /// The sub-protocol that the hub chose.
    pub protocol: Option<String>,
    /// The hub's headers (`Date` among them).
    pub headers: HeaderMap,
}

/// Why the hub did not agree.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// It answered with something else than 101.
    #[error("hub answered {}", .0.status())]
    Refused(Box<Response<Bytes>>),
    /// It answered 101 with headers that do not fit the request.
    #[error("handshake answer does not fit: {0}")]
    BadAnswer(&'static str),
    /// The connection failed.
    #[error("handshake failed")]
    Http(#[from] hyper::Error),
    /// No answer within [`HANDSHAKE_LIMIT`].
    #[error("no answer to the handshake in time")]
    Timeout,
}

/// Shakes hands over a connection that is open already (TCP, TLS, through a proxy). `uri` is the whole address; only its
/// path, query and authority are sent. `headers` go along (`Authorization`).
pub async fn client<IO>(
    io: IO,
    uri: &Uri,
    protocol: &str,
    headers: HeaderMap,
    ids: &Ids,
) -> Result<Dialled<IO>, DialError>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let key = base64::engine::general_purpose::STANDARD.encode(ids.random_bytes::<16>());
    let request =
        request(uri, protocol, headers, &key).ok_or(DialError::BadAnswer("address or header not sendable"))?;
    let shake = Box::pin(shake::<IO>(io, request));
    let (response, socket) = tokio::time::timeout(HANDSHAKE_LIMIT, shake).await.map_err(|_| DialError::Timeout)??;
    let answered = response.headers();
    let accept = derive_accept_key(key.as_bytes());
    if answered.get(SEC_WEBSOCKET_ACCEPT).map(HeaderValue::as_bytes) != Some(accept.as_bytes()) {
        return Err(DialError::BadAnswer("wrong accept key"));
    }
    let chosen = answered.get(SEC_WEBSOCKET_PROTOCOL).and_then(|value| value.to_str().ok()).map(str::to_owned);
    if chosen.as_deref().is_some_and(|chosen| !protocol.split(',').any(|offered| offered.trim() == chosen)) {
        return Err(DialError::BadAnswer("a sub-protocol that was not offered"));
    }
    Ok(Dialled { socket, protocol: chosen, headers: response.into_parts().0.headers })
}

fn request(uri: &Uri, protocol: &str, headers: HeaderMap, key: &str) -> Option<Request<Empty<Bytes>>> {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut request = Request::get(path).body(Empty::new()).ok()?;
    let sent = request.headers_mut();
    *sent = headers;
    sent.insert(HOST, HeaderValue::from_str(uri.authority()?.as_str()).ok()?);
    sent.insert(UPGRADE, HeaderValue::from_static("websocket"));
    sent.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    sent.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    sent.insert(SEC_WEBSOCKET_KEY, HeaderValue::from_str(key).ok()?);
    sent.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_str(protocol).ok()?);
    Some(request)
}

async fn shake<IO>(io: IO, request: Request<Empty<Bytes>>) -> Result<(Response<()>, WebSocket<IO>), DialError>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(io)).await?;
    let exchange = async move {
        let response = sender.send_request(request).await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            let (head, body) = response.into_parts();
            let body = Limited::new(body, BODY_MAX).collect().await.map_or_else(|_| Bytes::new(), Collected::to_bytes);
            return Err(DialError::Refused(Box::new(Response::from_parts(head, body))));
        }
        let (head, body) = response.into_parts();
        let upgraded = hyper::upgrade::on(Response::from_parts(head.clone(), body)).await?;
        let parts =
            upgraded.downcast::<TokioIo<IO>>().map_err(|_| DialError::BadAnswer("connection was not handed over"))?;
        Ok((Response::from_parts(head, ()), WebSocket::dialled(parts.io.into_inner(), parts.read_buf)))
    };
    let exchange = pin!(exchange);
    match select(pin!(connection.with_upgrades()), exchange).await {
        // The connection's own part ends when the upgrade is handed over, or with its error.
        Either::Left((Ok(()), exchange)) => exchange.await,
        Either::Left((Err(error), _)) => Err(error.into()),
        Either::Right((done, _)) => done,
    }
}
