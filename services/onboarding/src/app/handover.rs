//! Requests that come over the mesh's own connections instead of a queue: JSON in, JSON out.

use std::sync::Arc;

use roadstead_contracts::agent::VerbAnswer;
use roadstead_contracts::message::{
    ConnectCluster, HANDOVER_REQUEST_MAX, Handover, ListRecordings, ReadRecording, ReconnectCluster,
};
use roadstead_contracts::{Code, Error, Result};

use super::{App, connect_cluster, list_recordings, read_recording, reconnect_cluster};

/// Answers one.
pub(crate) async fn handover(app: &Arc<App>, verb: &str, body: &[u8]) -> Vec<u8> {
    match verb {
        ConnectCluster::VERB => answer(body, |request| connect_cluster(app, request)).await,
        ReconnectCluster::VERB => answer(body, |request| reconnect_cluster(app, request)).await,
        ListRecordings::VERB => answer(body, |request| list_recordings(app, request)).await,
        ReadRecording::VERB => answer(body, |request| read_recording(app, request)).await,
        _ => pack::<()>(Err(Error::new(Code::Unavailable, "this replica does not know the request yet"))),
    }
}

async fn answer<R, F>(body: &[u8], run: impl FnOnce(R) -> F) -> Vec<u8>
where
    R: Handover,
    F: Future<Output = Result<R::Reply>>,
{
    if body.len() > HANDOVER_REQUEST_MAX {
        return pack::<R::Reply>(Err(Code::PayloadTooLarge.into()));
    }
    match serde_json::from_slice::<R>(body) {
        Ok(request) => pack(run(request).await),
        // The parser's message may quote what was sent.
        Err(_) => pack::<R::Reply>(Err(Code::BadJson.into())),
    }
}

fn pack<T: serde::Serialize>(answer: Result<T>) -> Vec<u8> {
    let answer = match answer {
        Ok(reply) => VerbAnswer::Ok(reply),
        Err(fault) => VerbAnswer::Error(fault),
    };
    serde_json::to_vec(&answer).unwrap_or_default()
}
