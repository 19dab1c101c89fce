//! Terminals and logs for browsers: `/api/v1/clusters/{cluster}/terminal` and `…/logs`, WebSockets with a sub-protocol of the
//! hub's own ([`crate::kubernetes::browser`] says what is in it). The rules are the Kubernetes door's: who asks, quotas, the
//! cluster's RBAC, audit, recording. On top the page that asks must be one of the hub's (reliability row W02).

use actix_web::http::StatusCode;
use actix_web::http::header::{HOST, HeaderMap, ORIGIN};
use actix_web::{HttpRequest, HttpResponse, web};
use roadstead_contracts::names::is_dns_label;
use roadstead_contracts::percent::escape;
use roadstead_contracts::{Code, Error, Result};
use roadstead_http_kit::{ApiFailure, QueryPairs, RequestContext};
use roadstead_tunnel::ws;

use super::duplex;
use crate::app::App;
use crate::http::State;
use crate::kubernetes::browser::{Begun, LOGS, Opening, TERMINAL, Wanted};

/// Most words of a command, and the longest of them.
const COMMAND_WORDS: usize = 64;
const WORD_MAX: usize = 4 * 1024;
/// Most lines of the past that are asked for.
const TAIL_MAX: u32 = 100_000;

/// A terminal in a container.
pub(crate) async fn terminal(
    app: State,
    request: HttpRequest,
    path: web::Path<String>,
    query: QueryPairs,
    context: RequestContext,
    payload: web::Payload,
) -> Result<HttpResponse, ApiFailure> {
    let tail = exec_tail(&query)?;
    open(&app, &request, &path, Wanted::Terminal { tty: flag(&query, "tty", true)? }, tail, &context, payload).await
}

/// The log of a container.
pub(crate) async fn logs(
    app: State,
    request: HttpRequest,
    path: web::Path<String>,
    query: QueryPairs,
    context: RequestContext,
    payload: web::Payload,
) -> Result<HttpResponse, ApiFailure> {
    let tail = log_tail(&query)?;
    open(&app, &request, &path, Wanted::Logs, tail, &context, payload).await
}

async fn open(
    app: &State,
    request: &HttpRequest,
    cluster: &str,
    wanted: Wanted,
    tail: String,
    context: &RequestContext,
    payload: web::Payload,
) -> Result<HttpResponse, ApiFailure> {
    let protocol = if matches!(wanted, Wanted::Logs) { LOGS } else { TERMINAL };
    check_origin(app, request.headers())?;
    let accepted = handshake(request, protocol)?;
    let none = || Error::new(Code::Unavailable, "this hub has no Kubernetes door: it has no certificate for one");
    let door = app.kubernetes.get().ok_or_else(none)?;
    let opening = Opening {
        cluster,
        tail: &tail,
        wanted,
        headers: request.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect(),
        source: context.client,
        request_id: &context.request_id,
        key: app.ids.random_bytes::<16>(),
    };
    let begun = match door.open_for_browser(opening).await {
        Ok(begun) => begun,
        // A refusal of the cluster, in its own words.
        Err(refused) => return Ok(super::proxy::answer(*refused, None)),
    };
    let mut response = HttpResponse::build(StatusCode::SWITCHING_PROTOCOLS);
    for (name, value) in accepted.response().headers() {
        if name != "connection" && name != "upgrade" {
            response.append_header((name.as_str(), value.as_bytes()));
        }
    }
    let (socket, body) = duplex::join(payload);
    let tasks = door.tasks().clone();
    tasks.spawn("browser-session", run(begun, socket));
    Ok(response.upgrade("websocket").streaming(body))
}

async fn run(begun: Begun, socket: tokio::io::DuplexStream) {
    begun.run(socket).await;
}

/// The page that asks is one of the hub's own, or no page at all. Nothing here is proved by a cookie, so a page of somebody
/// else's that got past this would still have no credential.
fn check_origin(app: &App, headers: &HeaderMap) -> Result<()> {
    let mut origins = headers.get_all(ORIGIN);
    let Some(origin) = origins.next() else { return Ok(()) };
    let origin = origin.to_str().ok().filter(|_| origins.next().is_none());
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).filter(|host| !host.is_empty());
    let own = origin.is_some_and(|origin| {
        let authority = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
        app.urls.hub.eq_ignore_ascii_case(origin)
            || authority.zip(host).is_some_and(|(authority, host)| authority.eq_ignore_ascii_case(host))
    });
    if own { Ok(()) } else { Err(Error::new(Code::Forbidden, "this page is not one of the hub's")) }
}

/// The client's side of RFC 6455, with the one sub-protocol that is spoken here.
fn handshake(request: &HttpRequest, protocol: &'static str) -> Result<ws::Accepted> {
    let mut head = http::Request::new(());
    *head.method_mut() = http::Method::from_bytes(request.method().as_str().as_bytes()).unwrap_or_default();
    for (name, value) in request.headers() {
        let copied =
            http::HeaderName::try_from(name.as_str()).ok().zip(http::HeaderValue::from_bytes(value.as_bytes()).ok());
        // Judged already, by its own rule.
        if let Some((name, value)) = copied.filter(|(name, _)| name != http::header::ORIGIN) {
            head.headers_mut().append(name, value);
        }
    }
    let accepted = ws::accept(&head, &[protocol]);
    let bad = |why: String| Error::new(Code::BadRequest, why);
    let accepted = accepted.map_err(|refusal| bad(refusal.to_string()))?;
    if accepted.protocol.is_none() {
        return Err(bad(format!("the sub-protocol must be {protocol}")));
    }
    Ok(accepted)
}

fn place(query: &QueryPairs) -> Result<(String, String, String)> {
    let missing = |name: &str| Error::field(&["query", name], "missing", format!("{name} is required"));
    let namespace = query.one("namespace")?.ok_or_else(|| missing("namespace"))?;
    let pod = query.one("pod")?.ok_or_else(|| missing("pod"))?;
    let container = query.one("container")?;
    let subdomain = |text: &str| text.len() <= 253 && text.split('.').all(is_dns_label);
    for (name, good) in [
        ("namespace", is_dns_label(namespace)),
        ("pod", subdomain(pod)),
        ("container", container.is_none_or(is_dns_label)),
    ] {
        if !good {
            return Err(Error::field(&["query", name], "value_error", format!("{name} is no name of Kubernetes")));
        }
    }
    let container = container.map(|container| format!("&container={container}")).unwrap_or_default();
    Ok((namespace.to_owned(), pod.to_owned(), container))
}

fn exec_tail(query: &QueryPairs) -> Result<String> {
    let (namespace, pod, container) = place(query)?;
    let tty = flag(query, "tty", true)?;
    let words: Vec<&str> = query.all("command").collect();
    let fits = words.len() <= COMMAND_WORDS && words.iter().all(|word| !word.is_empty() && word.len() <= WORD_MAX);
    if !fits {
        let most = format!("command must be at most {COMMAND_WORDS} words of at most {WORD_MAX} bytes");
        return Err(Error::field(&["query", "command"], "value_error", most));
    }
    let words = if words.is_empty() { vec!["sh"] } else { words };
    let command: String = words.iter().fold(String::new(), |text, word| text + "&command=" + &escape(word));
    // With a terminal there is one output.
    Ok(format!(
        "/api/v1/namespaces/{namespace}/pods/{pod}/exec?stdin=true&stdout=true&stderr={}&tty={tty}{container}{command}",
        !tty
    ))
}

fn log_tail(query: &QueryPairs) -> Result<String> {
    let (namespace, pod, container) = place(query)?;
    let mut tail = format!(
        "/api/v1/namespaces/{namespace}/pods/{pod}/log?follow={}&timestamps={}&previous={}{container}",
        flag(query, "follow", false)?,
        flag(query, "timestamps", false)?,
        flag(query, "previous", false)?,
    );
    for (name, parameter, most) in [("tail", "tailLines", TAIL_MAX), ("since_seconds", "sinceSeconds", u32::MAX)] {
        if let Some(text) = query.one(name)? {
            let number = text.parse::<u32>().ok().filter(|number| *number <= most);
            let number = number.ok_or_else(|| {
                Error::field(&["query", name], "value_error", format!("{name} must be a number from 0 to {most}"))
            })?;
            tail = format!("{tail}&{parameter}={number}");
        }
    }
    Ok(tail)
}

fn flag(query: &QueryPairs, name: &str, default: bool) -> Result<bool> {
    match query.one(name)? {
        None => Ok(default),
        Some("true" | "1") => Ok(true),
        Some("false" | "0") => Ok(false),
        Some(_) => Err(Error::field(&["query", name], "value_error", format!("{name} must be true or false"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> QueryPairs {
        QueryPairs::parse(text).unwrap()
    }

    #[test]
    fn words_become_one_request_and_no_other() {
        let tail =
            exec_tail(&query("namespace=a&pod=web-1.x&container=main&command=sh&command=-c&command=echo+%26x%3Dy"))
                .unwrap();
        assert_eq!(
            tail,
            "/api/v1/namespaces/a/pods/web-1.x/exec?stdin=true&stdout=true&stderr=false&tty=true&container=main\
             &command=sh&command=-c&command=echo%20%26x%3Dy"
        );
        assert!(exec_tail(&query("namespace=a&pod=w&tty=false")).unwrap().contains("stderr=true&tty=false&command=sh"));
        let tail = log_tail(&query("namespace=a&pod=w&follow=true&tail=10&since_seconds=60")).unwrap();
        assert!(
            tail.ends_with("/log?follow=true&timestamps=false&previous=false&tailLines=10&sinceSeconds=60"),
            "{tail}"
        );
    }

    #[test]
    fn odd_words_are_refused() {
        for odd in [
            "pod=w",
            "namespace=a",
            "namespace=a/b&pod=w",
            "namespace=a&pod=..",
            "namespace=a&pod=w%2Fexec",
            "namespace=a&pod=w&container=x%26tty",
            "namespace=a&namespace=b&pod=w",
            "namespace=a&pod=w&tty=perhaps",
            "namespace=a&pod=w&command=",
        ] {
            assert!(exec_tail(&query(odd)).is_err(), "{odd}");
        }
        for odd in ["tail=-1", "tail=1000000", "tail=x", "since_seconds=1.5"] {
            assert!(log_tail(&query(&format!("namespace=a&pod=w&{odd}"))).is_err(), "{odd}");
        }
    }
}
