//! `GET /api/v1/operations/{operation}/events`: what happened, then what happens, to the end. As Server-Sent Events, or over
//! a WebSocket when the client asks for one; the JSON is the same.
//!
//! | event | data | id |
//! |---|---|---|
//! | `step` | `{"event":"step","step":{…}}` | number of the step: what `Last-Event-ID` resumes after |
//! | `operation` | `{"event":"operation","operation":{…}}` | – |
//! | `end` | the same with `"event":"end"`; the last one | – |

use std::convert::Infallible;
use std::time::Duration;

use actix_web::http::header::{CACHE_CONTROL, HOST, HeaderMap, ORIGIN, UPGRADE};
use actix_web::web::{Path, Payload};
use actix_web::{HttpRequest, HttpResponse};
use bytes::Bytes;
use futures_util::stream;
use roadstead_contracts::{Code, Error, Result};
use roadstead_http_kit::{ApiResult, Caller, QueryPairs, RequestContext};
use roadstead_tunnel::ws;
use serde_json::{Value, json};
use tokio::io::DuplexStream;
use tokio::time::{Instant, timeout_at};

use super::operations::{NO_OPERATION, operation_id};
use super::{named, socket};
use crate::app::{Follow, Told};
use crate::http::State;
use crate::http::operation_view::{self, OperationView};

/// Between two signs of life: proxies cut what is silent for a minute.
const BEAT: Duration = Duration::from_secs(15);
/// Longest text that a client sends: it has nothing to say.
const TEXT_MAX: usize = 4 * 1024;
/// How long a client may take no byte before it is given up.
const STUCK: Duration = Duration::from_secs(30);

/// Follows an operation to its end.
#[utoipa::path(
    get, path = "/api/v1/operations/{operation}/events", tag = "operations", operation_id = "followOperation",
    params(
        ("operation" = String, Path, description = "Id"),
        ("after" = Option<i64>, Query, description = "Only steps with a greater number"),
        ("Last-Event-ID" = Option<String>, Header, description = "The same, as EventSource sends it"),
    ),
    responses(
        (status = 200, body = String, content_type = "text/event-stream", description = "Events: step, operation, end"),
        (status = 101, description = "The same as texts over a WebSocket"),
        (status = 404, description = "Not there, or not the caller's"),
        (status = 429, description = "The account follows as many operations as it may"),
    ),
    security(("api_key" = []), ("bearer" = [])),
)]
pub(crate) async fn follow(
    app: State,
    caller: Caller,
    path: Path<String>,
    query: QueryPairs,
    request: HttpRequest,
    context: RequestContext,
    payload: Payload,
) -> ApiResult {
    let id = operation_id(&path)?;
    let after = after(&query, request.headers())?;
    if request.headers().contains_key(UPGRADE) {
        same_origin(request.headers(), &app.urls.hub)?;
        let accepted = socket::accept(&request)?;
        let follow =
            app.into_inner().follow_operation(caller, id, after, context).await.map_err(named(NO_OPERATION))?;
        return Ok(socket::open(&accepted, payload, move |io| tell(io, follow)));
    }
    let follow = app.into_inner().follow_operation(caller, id, after, context).await.map_err(named(NO_OPERATION))?;
    let beats = Instant::now() + BEAT;
    let events = stream::unfold((follow, beats), |(mut follow, beats)| async move {
        match timeout_at(beats, follow.next()).await {
            Ok(Some(told)) => Some((Ok::<_, Infallible>(event(told)), (follow, Instant::now() + BEAT))),
            Ok(None) => None,
            // A comment, which every reader passes over.
            Err(_) => Some((Ok(Bytes::from_static(b": beat\n\n")), (follow, Instant::now() + BEAT))),
        }
    });
    Ok(HttpResponse::Ok()
        .content_type("text/event-stream")
        .insert_header((CACHE_CONTROL, "no-cache"))
        // nginx would hold events back until its buffer is full.
        .insert_header(("x-accel-buffering", "no"))
        .streaming(events))
}

/// The last step that the client has.
fn after(query: &QueryPairs, headers: &HeaderMap) -> Result<i64> {
    let header = headers.get("last-event-id").and_then(|value| value.to_str().ok()).filter(|text| !text.is_empty());
    let fault =
        |place: &str, name: &str| Error::field(&[place, name], "int_parsing", format!("{name} must be a number"));
    let after = match header {
        Some(text) => text.parse().map_err(|_| fault("header", "Last-Event-ID"))?,
        None => query.integer("after")?.unwrap_or(0),
    };
    if after < 0 { Err(fault("query", "after")) } else { Ok(after) }
}

/// A browser may open a socket to anywhere and shows its credentials there: only our own pages may to us (row W02).
fn same_origin(headers: &HeaderMap, hub: &str) -> Result<()> {
    let Some(origin) = headers.get(ORIGIN) else { return Ok(()) };
    let origin = origin.to_str().unwrap_or_default();
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let own = origin == hub
        || origin.split_once("://").is_some_and(|(scheme, rest)| scheme.starts_with("http") && rest == host);
    if own && !host.is_empty() { Ok(()) } else { Err(Error::new(Code::Forbidden, "the origin is not this hub's")) }
}

/// The JSON of an event, its name, and its number.
fn data(told: Told) -> (&'static str, Option<i64>, Value) {
    match told {
        Told::Step(step) => {
            let value = json!({ "event": "step", "step": operation_view::step(&step) });
            ("step", Some(step.number), value)
        }
        Told::Operation(operation) => {
            ("operation", None, json!({ "event": "operation", "operation": OperationView::from(*operation) }))
        }
        Told::End(operation) => ("end", None, json!({ "event": "end", "operation": OperationView::from(*operation) })),
    }
}

/// An event of a Server-Sent stream. JSON has no line ends of its own.
fn event(told: Told) -> Bytes {
    let (name, number, data) = data(told);
    let id = number.map_or_else(String::new, |number| format!("id: {number}\n"));
    Bytes::from(format!("{id}event: {name}\ndata: {data}\n\n"))
}

/// Tells a socket.
async fn tell(io: DuplexStream, mut follow: Follow) {
    let mut socket = ws::WebSocket::server(io, b"").into_text(TEXT_MAX);
    let mut beats = Instant::now() + BEAT;
    let code = loop {
        let sent = tokio::select! {
            told = follow.next() => match told {
                Some(told) => tokio::time::timeout(STUCK, socket.send(data(told).2.to_string())).await,
                None => break 1000,
            },
            () = tokio::time::sleep_until(beats) => {
                beats = Instant::now() + BEAT;
                tokio::time::timeout(STUCK, socket.ping()).await
            }
            text = socket.receive() => match text {
                // Nothing that a client says means anything here.
                Some(Ok(_)) => continue,
                Some(Err(_)) => break 1008,
                None => return,
            },
        };
        if !matches!(sent, Ok(Ok(()))) {
            return;
        }
    };
    let _ = tokio::time::timeout(STUCK, socket.close(code)).await;
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        map
    }

    #[test]
    fn only_our_own_pages_open_sockets() {
        let hub = "https://hub.example";
        let host = ("host", "hub.example:8008");
        for (origin, good) in [
            ("https://hub.example", true),
            ("http://hub.example:8008", true),
            ("https://evil.example", false),
            ("null", false),
            ("ftp://hub.example:8008", false),
            ("http://hub.example:8008.evil.example", false),
        ] {
            assert_eq!(same_origin(&headers(&[host, ("origin", origin)]), hub).is_ok(), good, "{origin}");
        }
        assert!(same_origin(&headers(&[host]), hub).is_ok());
    }

    #[test]
    fn reading_goes_on_where_it_ended() {
        let query = QueryPairs::parse("after=7").unwrap();
        assert_eq!(after(&query, &headers(&[])).unwrap(), 7);
        assert_eq!(after(&query, &headers(&[("last-event-id", "9")])).unwrap(), 9);
        assert!(after(&query, &headers(&[("last-event-id", "x")])).is_err());
        assert!(after(&QueryPairs::parse("after=-1").unwrap(), &headers(&[])).is_err());
    }
}
