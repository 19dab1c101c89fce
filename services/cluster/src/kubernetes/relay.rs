//! One exchange with a cluster: HTTP/1.1 over a stream to its agent, bodies carried as they are, upgrades spliced.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{
    CONNECTION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, LOCATION, UPGRADE,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Method, Request, Response, Uri};
use roadstead_contracts::{Code, Error, Result};
use roadstead_runtime::Tasks;
use roadstead_tunnel::Stream;
use roadstead_tunnel::exchange::{self, Answer};
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional_with_sizes};
use tokio::sync::oneshot;
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::socket::Socket;
use super::standing::Right;
use super::vet::{Pace, Upgrade};
use crate::audit::Deed;

pub(crate) use roadstead_tunnel::exchange::BoxError;

/// Body of an answer: the cluster's, or one of ours.
pub(crate) type AnswerBody = UnsyncBoxBody<Bytes, BoxError>;

/// Longest wait for the head of a plain answer: kube-apiserver ends what is not long-running after 60 s by itself.
const PLAIN_DEADLINE: Duration = Duration::from_secs(75);
/// The same for what somebody behind the API server answers: the longest that any proxy in between waits, with room.
const LONG_DEADLINE: Duration = Duration::from_secs(3_600);
/// Buffer of each direction of an upgraded exchange.
const SPLICE_BUFFER: usize = 16 * 1024;

/// Headers of an answer that are about the connection behind us, or that a cluster may not set for the hub's origin.
const NOT_RETURNED: [&str; 13] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "transfer-encoding",
    "upgrade",
    "set-cookie",
    "clear-site-data",
    "service-worker-allowed",
    "strict-transport-security",
    "alt-svc",
    "public-key-pins",
    "access-control-allow-credentials",
];

/// What the door made of a request.
pub(crate) struct Exchange<B> {
    pub(crate) method: Method,
    /// Path and query for the API server.
    pub(crate) tail: String,
    /// Headers that go on.
    pub(crate) headers: HeaderMap,
    /// The protocol it wants to become.
    pub(crate) upgrade: Option<Upgrade>,
    pub(crate) pace: Pace,
    /// Whether the answer may be large: it is carried behind the small ones.
    pub(crate) bulk: bool,
    /// What is written about it, where something is.
    pub(crate) deed: Option<Deed>,
    pub(crate) body: B,
    /// What stands before `tail` at the hub, for redirects within the cluster.
    pub(crate) prefix: String,
    /// The exchange is cut when it ends.
    pub(crate) right: Right,
}

impl<B> Exchange<B> {
    /// The same with another body.
    pub(super) fn map_body<C>(self, map: impl FnOnce(B) -> C) -> Exchange<C> {
        let Self { method, tail, headers, upgrade, pace, bulk, deed, body, prefix, right } = self;
        Exchange { method, tail, headers, upgrade, pace, bulk, deed, body: map(body), prefix, right }
    }
}

/// What came of it.
pub(crate) enum Outcome {
    /// An answer with its body.
    Answer(Response<AnswerBody>),
    /// The cluster switched protocols: this head goes to the client, then the bytes of both are spliced.
    Switched(Response<AnswerBody>, Socket),
}

/// Carries one exchange over a stream.
pub(crate) async fn relay<B>(exchange: Exchange<B>, stream: Stream, tasks: &Tasks) -> Result<Outcome>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    let Exchange { method, tail, mut headers, upgrade, pace, body, prefix, right, bulk: _, deed: _ } = exchange;
    // The agent sets the real host; HTTP/1.1 wants one.
    headers.insert(HOST, HeaderValue::from_static("kubernetes"));
    if let Some(upgrade) = upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static(upgrade.as_str()));
    }
    let mut forwarded = Request::new(body);
    *forwarded.method_mut() = method;
    *forwarded.uri_mut() = Uri::try_from(tail).map_err(|_| Error::of(Code::BadRequest))?;
    *forwarded.headers_mut() = headers;

    let limit = match pace {
        _ if upgrade.is_some() => Some(LONG_DEADLINE),
        // It says nothing before the first line, whenever that comes; a client that is gone ends it.
        Pace::Follow => None,
        Pace::Long => Some(LONG_DEADLINE),
        Pace::Plain | Pace::Watch => Some(PLAIN_DEADLINE),
    };
    let asking = exchange::ask(stream, forwarded, tasks);
    let asking = async {
        match limit {
            Some(limit) => tokio::time::timeout(limit, asking).await.map_err(|_| Error::of(Code::Timeout))?,
            None => asking.await,
        }
        .map_err(|fault| broken(&fault))
    };
    // Whoever loses the right while waiting is told so when the credential is looked at again.
    match right.during(asking).await.ok_or(Code::InvalidCredential)?? {
        Answer::Switched(..) if upgrade.is_none() => {
            Err(Error::new(Code::AgentError, "the cluster switched protocols without being asked"))
        }
        Answer::Switched(mut answer, cluster) => {
            clean_switch(answer.headers_mut());
            Ok(Outcome::Switched(answer.map(|()| empty()), Socket::new(cluster)))
        }
        Answer::Plain(answer) => {
            let (mut parts, body) = answer.into_parts();
            clean(&mut parts.headers, &prefix)?;
            if upgrade.is_some() {
                // Whatever else answers an upgrade ends the connection with it (row P06): nothing raw is left open behind it.
                parts.headers.insert(CONNECTION, HeaderValue::from_static("close"));
            }
            let watch = pace == Pace::Watch && parts.status.is_success();
            Ok(Outcome::Answer(Response::from_parts(parts, carried(body, watch, right, tasks))))
        }
    }
}

/// The body for the client. A small answer is here already; of any other the stream is kept until it has ended, and cut when
/// the right ends.
fn carried(mut body: exchange::AnswerBody, watch: bool, right: Right, tasks: &Tasks) -> AnswerBody {
    if let Some(whole) = body.whole() {
        return Full::new(whole).map_err(|never| match never {}).boxed_unsync();
    }
    let (read, done) = oneshot::channel::<std::convert::Infallible>();
    if let Some(stream) = body.writer() {
        // Whoever reads the body may be stopped at a full socket: the cut does not wait for that.
        tasks.spawn("kubernetes-right", async move {
            if right.during(done).await.is_none() {
                stream.reset(roadstead_tunnel::Code::REVOKED);
            }
        });
    }
    let ending = watch.then(|| Box::pin(tasks.stopping().cancelled_owned()));
    Carried { body, ending, ended: false, _read: read }.boxed_unsync()
}

/// The head of a switch: what is about the way to the agent stays here, and Go's client takes an answer whose `Connection`
/// says `close` for no upgrade.
fn clean_switch(headers: &mut HeaderMap) {
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
}

/// Joins client and cluster after the switch, until both are done or the right ends.
pub(crate) async fn splice<IO>(mut client: IO, mut cluster: Socket, right: Right)
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let both = copy_bidirectional_with_sizes(&mut client, &mut cluster, SPLICE_BUFFER, SPLICE_BUFFER);
    // How it ended is the two ends' business: both see it.
    let _ = right.during(both).await;
}

fn broken(fault: &std::io::Error) -> Error {
    match Stream::reset_code(fault) {
        Some(roadstead_tunnel::Code::REFUSED) => Error::of(Code::AgentBusy).retry_after(1),
        // Agents before this version know no such streams.
        Some(roadstead_tunnel::Code::INTERNAL) => {
            Error::new(Code::AgentError, "the agent does not carry the Kubernetes API; update it")
        }
        Some(_) => Error::new(Code::AgentError, "the agent broke the exchange off"),
        None if fault.kind() == std::io::ErrorKind::InvalidData => {
            Error::new(Code::AgentError, "the agent's answer is not one that can be read")
        }
        None => Error::new(Code::AgentOffline, "the agent went away").retry_after(1),
    }
}

/// Makes an answer safe to give on: nothing about the connection behind us, nothing for the hub's own origin.
fn clean(headers: &mut HeaderMap, prefix: &str) -> Result<()> {
    for name in NOT_RETURNED {
        headers.remove(name);
    }
    if let Some(location) = headers.get(LOCATION) {
        let location = location.to_str().unwrap_or_default();
        // To another host a client might take its credential along (row P08).
        if !location.starts_with('/') || location.starts_with("//") || location.contains('\\') {
            return Err(Error::new(Code::AgentError, "the cluster answered with a redirect to another place"));
        }
        let within = HeaderValue::try_from(format!("{prefix}{location}")).map_err(|_| Error::of(Code::AgentError))?;
        headers.insert(LOCATION, within);
    }
    // Pages of workloads must not run as a page of the hub.
    let active = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).is_some_and(|kind| {
        let kind = kind.to_ascii_lowercase();
        ["html", "xml", "svg", "javascript"].iter().any(|word| kind.contains(word))
    });
    if active {
        headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox"));
    }
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.remove(HeaderName::from_static("content-security-policy-report-only"));
    Ok(())
}

/// An empty body.
pub(crate) fn empty() -> AnswerBody {
    http_body_util::Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// The cluster's body, which keeps the stream to the agent open until it has ended.
struct Carried {
    body: exchange::AnswerBody,
    /// Of a watch: it ends cleanly when the process stops or the stream breaks, so that the client resumes elsewhere.
    ending: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    ended: bool,
    /// While it lives, the right is looked after.
    _read: oneshot::Sender<std::convert::Infallible>,
}

impl Body for Carried {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, BoxError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Ready(Some(Err(_))) if self.ending.is_some() => {
                self.ended = true;
                Poll::Ready(None)
            }
            Poll::Pending if self.ending.as_mut().is_some_and(|ending| ending.as_mut().poll(context).is_ready()) => {
                self.ended = true;
                Poll::Ready(None)
            }
            other => other.map(|frame| frame.map(|frame| frame.map_err(Into::into))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        // A watch may end early, so no length is promised.
        if self.ending.is_some() { SizeHint::default() } else { self.body.size_hint() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cleaned(rows: &[(&'static str, &'static str)]) -> Result<HeaderMap> {
        let mut headers = HeaderMap::new();
        for (name, value) in rows {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        clean(&mut headers, "/k/c").map(|()| headers)
    }

    #[test]
    fn p08_redirects_stay_in_the_cluster() {
        assert_eq!(cleaned(&[("location", "/api/v1/x/")]).unwrap()["location"], "/k/c/api/v1/x/");
        for evil in ["https://evil/", "//evil/x", "/\\evil", "http://169.254.169.254/", "evil"] {
            assert_eq!(cleaned(&[("location", evil)]).unwrap_err().code, Code::AgentError, "{evil}");
        }
    }

    #[test]
    fn pages_of_workloads_are_no_pages_of_the_hub() {
        let headers = cleaned(&[("content-type", "text/html; charset=utf-8"), ("set-cookie", "a=b")]).unwrap();
        assert_eq!(headers["content-security-policy"], "sandbox");
        assert!(!headers.contains_key("set-cookie"));
        assert!(!cleaned(&[("content-type", "application/json")]).unwrap().contains_key("content-security-policy"));
    }
}
