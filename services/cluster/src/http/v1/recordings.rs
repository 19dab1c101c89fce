//! Recorded sessions: which there are, and one as it can be played.

use actix_web::HttpResponse;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE};
use actix_web::web::{Bytes, Path};
use chrono::{DateTime, Utc};
use futures_util::stream;
use roadstead_contracts::Error;
use roadstead_contracts::ids::RecordingId;
use roadstead_contracts::message::{ListRecordings, ReadRecording, Recording};
use roadstead_http_kit::{ApiResult, Caller, QueryPairs, RequestContext};
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::{State, page};

const NO_RECORDING: &str = "Recording not found";
/// What a recording is (asciinema's own type).
const ASCIICAST: &str = "application/x-asciicast";

/// A recorded session.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RecordingView {
    /// Id.
    id: String,
    /// Integer number.
    seq: i64,
    /// Account.
    user_id: String,
    /// User name.
    username: String,
    /// Cluster.
    cluster_id: String,
    /// Its name then.
    cluster_name: String,
    /// Namespace.
    namespace: String,
    /// Pod.
    pod: String,
    /// Container, when it was named.
    container: Option<String>,
    /// `exec` or `attach`.
    verb: String,
    /// The command, word by word.
    command: Vec<String>,
    /// Whether it has a terminal.
    tty: bool,
    /// Id of the request that opened it.
    request_id: String,
    /// When it began.
    started_at: DateTime<Utc>,
    /// When it ended.
    ended_at: Option<DateTime<Utc>>,
    /// Bytes that it showed.
    bytes: u64,
}

impl From<Recording> for RecordingView {
    fn from(recording: Recording) -> Self {
        let session = recording.session;
        Self {
            id: recording.id.to_string(),
            seq: recording.seq,
            user_id: session.user_id.to_string(),
            username: session.username,
            cluster_id: session.cluster_id.to_string(),
            cluster_name: session.cluster_name,
            namespace: session.namespace,
            pod: session.pod,
            container: session.container,
            verb: session.verb,
            command: session.command,
            tty: session.tty,
            request_id: recording.request_id,
            started_at: recording.started_at,
            ended_at: recording.ended_at,
            bytes: recording.bytes,
        }
    }
}

/// Lists recorded sessions, newest first: admins see all of them, everybody else their own.
#[utoipa::path(
    get, path = "/api/v1/recordings", tag = "recordings", operation_id = "listRecordings",
    params(
        ("limit" = Option<u32>, Query, description = "Rows, 1 to 1000 (100)", minimum = 1, maximum = 1000),
        ("offset" = Option<u64>, Query, description = "Rows to skip"),
        ("cursor" = Option<String>, Query, description = "Place from the Link header of an earlier page"),
    ),
    responses((status = 200, body = [RecordingView])),
    security(("api_key" = []), ("bearer" = [])),
)]
pub(crate) async fn list(app: State, caller: Caller, query: QueryPairs, context: RequestContext) -> ApiResult {
    let page = page::read(&query)?;
    let request = ListRecordings { principal: caller.principal.as_ref().clone(), page: page.clone() };
    let answer = app.hand_over(&request, &context).await?;
    Ok(page::answer("/api/v1/recordings", &query, answer, &page, RecordingView::from))
}

/// Gives one recording as an asciicast (version 2).
#[utoipa::path(
    get, path = "/api/v1/recordings/{recording}", tag = "recordings", operation_id = "getRecording",
    params(("recording" = String, Path, description = "Id")),
    responses(
        (status = 200, body = String, content_type = "application/x-asciicast"),
        (status = 404, description = "Not there, or not the caller's"),
    ),
    security(("api_key" = []), ("bearer" = [])),
)]
pub(crate) async fn get(app: State, caller: Caller, path: Path<String>, context: RequestContext) -> ApiResult {
    let id: RecordingId = path.parse().map_err(|_| Error::not_found(NO_RECORDING))?;
    let request = ReadRecording { principal: caller.principal.as_ref().clone(), id, part: 0 };
    // The first part tells whether there is one at all.
    let first = app.hand_over(&request, &context).await?;
    let parts = stream::unfold(Some(Ok(first)), move |part| {
        let (app, context, mut request) = (app.clone(), context.clone(), request.clone());
        async move {
            let part: Result<roadstead_contracts::message::RecordingPart, Error> = part?;
            match part {
                Ok(part) => {
                    let next = match part.next {
                        Some(next) => {
                            request.part = next;
                            Some(app.hand_over(&request, &context).await)
                        }
                        None => None,
                    };
                    Some((Ok(Bytes::from(part.lines)), next))
                }
                Err(fault) => Some((Err(std::io::Error::other(fault.to_string())), None)),
            }
        }
    });
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, ASCIICAST))
        .insert_header((CACHE_CONTROL, "no-store"))
        .insert_header((CONTENT_DISPOSITION, format!("attachment; filename=\"{id}.cast\"")))
        .streaming(parts))
}
