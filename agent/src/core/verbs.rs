//! The agent's own verbs: JSON in, JSON out, one stream each.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use roadstead_auth::identity::Verifier;
use roadstead_contracts::agent::{
    GET_NAMESPACES, GetNamespacesRequest, NamespaceList, RequestKind, StreamHead, StreamTarget, VERB_ANSWER_MAX,
    VerbAnswer,
};
use roadstead_contracts::ids::ClusterId;
use roadstead_contracts::operation::{CANCEL_OPERATION, CancelRun, RUN_OPERATION, SETTLE_OPERATION, SettleRun};
use roadstead_contracts::{Code, Error};
use roadstead_runtime::Tasks;
use roadstead_tunnel::Stream;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tracing::Instrument as _;

use super::Core;
use super::identity::{Identity, refused};
use crate::forward::{Person, forward};

/// Longest request of a verb.
const REQUEST_MAX: u64 = 64 * 1024;
/// Longest time a caller may wait.
const DEADLINE_MAX: Duration = Duration::from_secs(600);

/// What a stream is answered with.
pub(super) struct Asked<'a> {
    pub(super) core: &'a Core,
    pub(super) verifier: &'a Verifier,
    pub(super) cluster_id: ClusterId,
    pub(super) tasks: &'a Tasks,
    /// There is no room for more work.
    pub(super) busy: bool,
}

/// Answers one stream.
pub(super) async fn answer(asked: &Asked<'_>, head: &StreamHead, stream: Stream) -> io::Result<()> {
    let request_id: String = head.request_id.chars().filter(char::is_ascii_graphic).take(128).collect();
    let verb = match &head.target {
        StreamTarget::Agent { verb } => verb.clone(),
        StreamTarget::Kubernetes {} => {
            let person = if asked.busy {
                Err(Error::of(Code::AgentBusy).retry_after(1))
            } else {
                identify(asked, head).and_then(|identity| Person::of(&identity))
            };
            let span = tracing::info_span!("exchange", request_id = %request_id);
            forward(stream, person, asked.core.cluster.forwarder()).instrument(span).await;
            return Ok(());
        }
    };
    let span = tracing::info_span!("verb", verb = %verb, request_id = %request_id);
    if verb == RUN_OPERATION && !asked.busy {
        // Goes on as long as the operation does, and bounds itself.
        let mut stream = stream;
        let Asked { core, verifier, cluster_id, tasks, .. } = *asked;
        let run = core.operations.run(&mut stream, verifier, cluster_id, &core.clock, tasks);
        return Box::pin(run).instrument(span).await;
    }
    // Apart, as the run above: every exchange with the API server would be as large.
    Box::pin(async {
        let limit = Duration::from_millis(u64::from(head.deadline_milliseconds)).min(DEADLINE_MAX);
        let mut stream = stream;
        let done = tokio::time::timeout(limit, run(asked, &verb, head, &mut stream)).await;
        let body = match done {
            Ok(answer) => answer?,
            Err(_) => error_body(Error::of(Code::Timeout)),
        };
        stream.write_all(&body).await?;
        stream.shutdown().await
    })
    .instrument(span)
    .await
}

/// Reads the request, does the work, gives the answer's bytes.
async fn run(asked: &Asked<'_>, verb: &str, head: &StreamHead, stream: &mut Stream) -> io::Result<Bytes> {
    let mut body = Vec::new();
    stream.take(REQUEST_MAX + 1).read_to_end(&mut body).await?;
    if asked.busy {
        return Ok(error_body(Error::of(Code::AgentBusy).retry_after(1)));
    }
    let answered = match verb {
        GET_NAMESPACES => get_namespaces(asked, head, &body).await.map(|list| pack(&VerbAnswer::Ok(list))),
        CANCEL_OPERATION => match parse::<CancelRun>(&body) {
            Ok(request) => asked.core.operations.cancel(&request).await.map(|done| pack(&VerbAnswer::Ok(done))),
            Err(error) => Err(error),
        },
        SETTLE_OPERATION => match parse::<SettleRun>(&body) {
            Ok(request) => asked.core.operations.settle(&request).await.map(|done| pack(&VerbAnswer::Ok(done))),
            Err(error) => Err(error),
        },
        _ => Err(Error::new(Code::AgentError, "the agent does not know this command; update it")),
    };
    Ok(answered.unwrap_or_else(|error| {
        tracing::info!("answered with {error}");
        error_body(error)
    }))
}

async fn get_namespaces(asked: &Asked<'_>, head: &StreamHead, body: &[u8]) -> Result<NamespaceList, Error> {
    let GetNamespacesRequest {} = parse(body)?;
    let person = identify(asked, head)?;
    // Names of namespaces are less than what any rule gives; which of them the caller may see is the hub's to say.
    let names = [RequestKind::discovery(), RequestKind::of("list", "namespaces", None)];
    if person.only().is_some_and(|only| !names.contains(only)) {
        return Err(refused("the identity is good for another request"));
    }
    asked.core.cluster.namespaces(&person, asked.core.namespaces()).await.map_err(|failure| {
        tracing::info!(user = person.user(), "namespaces were not listed: {failure}");
        failure.to_error()
    })
}

/// The verified caller. Without one nothing is done: the agent never acts as itself for somebody else.
fn identify(asked: &Asked<'_>, head: &StreamHead) -> Result<Identity, Error> {
    let Some(assertion) = head.assertion.as_deref() else { return Err(refused("the request names no identity")) };
    let claims = asked.verifier.verify(assertion, asked.cluster_id, asked.core.clock.now()).map_err(|error| {
        tracing::warn!("an identity was refused: {error}");
        match error {
            roadstead_auth::Error::OutOfTime => refused("the identity has expired, or the cluster's clock is wrong"),
            roadstead_auth::Error::UnknownKey => refused("the identity is signed with a key the agent does not know"),
            _ => refused("the identity cannot be verified"),
        }
    })?;
    Identity::from_claims(&claims)
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    if body.len() as u64 > REQUEST_MAX {
        return Err(Error::of(Code::PayloadTooLarge));
    }
    let body = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|_| Error::of(Code::BadJson))
}

fn pack<T: Serialize>(answer: &VerbAnswer<T>) -> Bytes {
    match serde_json::to_vec(answer) {
        Ok(body) if body.len() <= VERB_ANSWER_MAX => body.into(),
        _ => error_body(Error::new(Code::AgentError, "the answer is longer than the hub takes")),
    }
}

fn error_body(error: Error) -> Bytes {
    serde_json::to_vec(&VerbAnswer::<()>::Error(error)).unwrap_or_default().into()
}
