//! The same door for the front door's own route, for browsers and scripts: plain exchanges and WebSockets, no SPDY. Speaks in
//! plain types, because the front door's framework has its own.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::Response;
use hyper::body::Frame;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use roadstead_contracts::{Code, Error, Result};
use tokio::io::{ReadHalf, WriteHalf};

use super::relay::{BoxError, Exchange, Outcome};
pub(crate) use super::socket::Socket;
use super::standing::Right;
use super::vet::{Pace, Upgrade};
use super::{Asked, Door, status, vet};
use crate::audit::Deed;

/// A request at the front door.
pub(crate) struct Call<'a, B> {
    pub(crate) method: &'a str,
    /// Id, integer or name of the cluster, as in the path.
    pub(crate) cluster: &'a str,
    /// What stands before the API server's own path.
    pub(crate) prefix: &'a str,
    /// Path for the API server.
    pub(crate) tail: &'a str,
    pub(crate) query: Option<&'a str>,
    pub(crate) headers: Vec<(&'a str, &'a [u8])>,
    pub(crate) source: IpAddr,
    pub(crate) request_id: &'a str,
    pub(crate) body: B,
}

/// What is answered.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    pub(crate) body: ReplyBody,
}

/// How it goes on.
pub(crate) enum ReplyBody {
    /// With a body.
    Stream(futures_util::stream::BoxStream<'static, std::result::Result<Bytes, BoxError>>),
    /// As a WebSocket: what the cluster says, where the client's bytes go, and the right that both end with.
    Socket(ReadHalf<Socket>, WriteHalf<Socket>, Right),
}

impl Door {
    /// Carries one request of the front door; errors are answered in Kubernetes' words.
    pub(crate) async fn proxy<B>(self: &Arc<Self>, call: Call<'_, B>) -> Reply
    where
        B: Stream<Item = std::result::Result<Bytes, BoxError>> + Send + 'static,
    {
        self.proxy_as(call, None).await
    }

    /// The same for a request about which more is written than its head tells.
    pub(super) async fn proxy_as<B>(self: &Arc<Self>, call: Call<'_, B>, deed: Option<Deed>) -> Reply
    where
        B: Stream<Item = std::result::Result<Bytes, BoxError>> + Send + 'static,
    {
        let request_id = call.request_id.to_owned();
        match self.proxied_as(call, deed).await {
            Ok(reply) => reply,
            Err(error) => refused(&error, &request_id),
        }
    }

    pub(super) async fn proxied<B>(self: &Arc<Self>, call: Call<'_, B>) -> Result<Reply>
    where
        B: Stream<Item = std::result::Result<Bytes, BoxError>> + Send + 'static,
    {
        self.proxied_as(call, None).await
    }

    async fn proxied_as<B>(self: &Arc<Self>, call: Call<'_, B>, deed: Option<Deed>) -> Result<Reply>
    where
        B: Stream<Item = std::result::Result<Bytes, BoxError>> + Send + 'static,
    {
        let bad = |_| Error::of(Code::BadRequest);
        let mut headers = HeaderMap::with_capacity(call.headers.len());
        for (name, value) in call.headers {
            let name = HeaderName::try_from(name).map_err(|_| Error::of(Code::BadRequest))?;
            headers.append(name, HeaderValue::from_bytes(value).map_err(|_| Error::of(Code::BadRequest))?);
        }
        let target = vet::target(&format!("/k/{}{}", call.cluster, call.tail), call.query)?;
        let upgrade = vet::upgrade(&headers)?;
        if upgrade == Some(Upgrade::Spdy) {
            return Err(Error::new(Code::BadRequest, "SPDY is carried at the Kubernetes door only"));
        }
        let deed = deed.or_else(|| Deed::of(call.method, &target.tail));
        let asked = Asked {
            headers: &headers,
            cluster: &target.cluster,
            source: call.source,
            request_id: call.request_id,
            acts_as: vet::acts_as(&headers)?,
            request: vet::kind(call.method, &target.tail)?,
            recorded: deed.is_some(),
        };
        let admitted = self.admitted(asked, deed.as_ref()).await?;
        // The front door's framework waits for an answer also when its client has closed: that must end at some time.
        let pace = if target.pace == Pace::Follow { Pace::Long } else { target.pace };
        let right = admitted.right.clone();
        let exchange = Exchange {
            method: call.method.parse().map_err(bad)?,
            tail: target.tail,
            headers: vet::headers(&headers),
            upgrade,
            pace,
            bulk: target.bulk,
            deed,
            body: StreamBody::new(Box::pin(call.body.map_ok(Frame::data))),
            prefix: call.prefix.to_owned(),
            right: right.clone(),
        };
        match self.carry(exchange, admitted, call.request_id).await? {
            Outcome::Answer(response) => {
                let (parts, body) = response.into_parts();
                let body = body.into_data_stream().boxed();
                Ok(Reply {
                    status: parts.status.as_u16(),
                    headers: plain(&parts.headers),
                    body: ReplyBody::Stream(body),
                })
            }
            Outcome::Switched(response, cluster) => {
                let (read, write) = tokio::io::split(cluster);
                let headers = plain(response.headers());
                Ok(Reply { status: 101, headers, body: ReplyBody::Socket(read, write, right) })
            }
        }
    }
}

fn plain(headers: &HeaderMap) -> Vec<(String, Vec<u8>)> {
    headers.iter().map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec())).collect()
}

/// An error of the hub's own as a `Status`.
pub(crate) fn refused(error: &Error, request_id: &str) -> Reply {
    let response: Response<_> = status::answer(error, request_id);
    let (parts, body) = response.into_parts();
    let body = body.into_data_stream().map_err(|never| match never {}).boxed();
    Reply { status: parts.status.as_u16(), headers: plain(&parts.headers), body: ReplyBody::Stream(body) }
}
