//! Whole requests to a cluster for routes of the front door that answer in words of their own: admitted, audited and carried
//! like everything that goes through the door, with the credential that the route's caller showed.

use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt as _, stream};
use roadstead_contracts::{Code, Error, Result};

use super::Door;
use super::proxy::{Call, ReplyBody};
use super::relay::BoxError;
use crate::kubectl::{Answered, Api, Ask};

/// Longest answer that is taken whole: a page of objects.
const ANSWER_MAX: usize = 8 * 1024 * 1024;
/// Headers of the caller that go along: the credential, and what calls.
const HEADERS: [&str; 3] = ["authorization", "x-api-key", "user-agent"];

/// A cluster's API for one caller.
pub(crate) struct Asker {
    pub(crate) door: Arc<Door>,
    /// Id of the cluster.
    pub(crate) cluster: String,
    /// The caller's request: its headers, where it came from, its id.
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    pub(crate) source: IpAddr,
    pub(crate) request_id: String,
}

impl Asker {
    /// For a request that is known to be good. Headers beside the credential stay behind.
    pub(crate) fn new<'a>(
        door: &Arc<Door>,
        cluster: String,
        headers: impl Iterator<Item = (&'a str, &'a [u8])>,
        source: IpAddr,
        request_id: &str,
    ) -> Self {
        let headers = headers
            .filter(|(name, _)| HEADERS.contains(name))
            .map(|(name, value)| (name.to_owned(), value.to_vec()))
            .collect();
        Self { door: Arc::clone(door), cluster, headers, source, request_id: request_id.to_owned() }
    }
}

#[async_trait]
impl Api for Asker {
    async fn ask(&self, ask: Ask) -> Result<Answered> {
        let (content_type, body) = match ask.body {
            Some((kind, text)) => (Some(kind), Bytes::from(text)),
            None => (None, Bytes::new()),
        };
        let length = body.len().to_string();
        let mut headers: Vec<(&str, &[u8])> =
            self.headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
        headers.push(("accept", ask.accept.as_bytes()));
        if let Some(kind) = content_type {
            headers.extend([("content-type", kind.as_bytes()), ("content-length", length.as_bytes())]);
        }
        let (tail, query) =
            ask.path.split_once('?').map_or((ask.path.as_str(), None), |(tail, query)| (tail, Some(query)));
        let call = Call {
            method: ask.method,
            cluster: &self.cluster,
            prefix: "",
            tail,
            query,
            headers,
            source: self.source,
            request_id: &self.request_id,
            body: stream::iter((!body.is_empty()).then_some(Ok::<_, BoxError>(body))),
        };
        let reply = self.door.proxied(call).await?;
        let ReplyBody::Stream(mut chunks) = reply.body else {
            return Err(Error::new(Code::AgentError, "the cluster switched protocols without being asked"));
        };
        let mut whole = BytesMut::new();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|_| Error::new(Code::AgentError, "the cluster's answer broke off"))?;
            if whole.len() + chunk.len() > ANSWER_MAX {
                return Err(Error::new(Code::AgentError, "the cluster's answer is larger than the hub takes"));
            }
            whole.extend_from_slice(&chunk);
        }
        Ok(Answered { status: reply.status, body: whole.freeze() })
    }
}
