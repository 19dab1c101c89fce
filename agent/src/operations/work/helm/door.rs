//! The way from Helm to the API server, for one run: on loopback, below a path that nobody can guess, as the person of the
//! order. Before a request that changes an object is sent on, the object is shown to the run, which writes it down.

use std::collections::HashSet;
use std::convert::Infallible;
use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kube::client::Body;
use roadstead_contracts::operation::{FIELD_MANAGER, ObjectKey};
use roadstead_runtime::{Ids, SystemClock, Tasks};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, Semaphore, mpsc, oneshot, watch};
use tower::BoxError;

use super::{release, sent};
use crate::forward::status;
use crate::kubernetes::Failure;
use crate::kubernetes::objects::Objects;

/// Connections of one Helm: it holds a few, and a watch for each kind while it waits.
const CONNECTIONS_MAX: usize = 128;
/// Longest request: etcd takes 1.5 MiB.
const REQUEST_MAX: usize = 4 * 1024 * 1024;
/// Random bytes in the path.
const SECRET_BYTES: usize = 32;
/// Form of a server-side apply.
const APPLY: &str = "application/apply-patch+yaml";
/// What is asked of these groups changes nothing.
const REVIEWS: [&str; 2] = ["authorization.k8s.io", "authentication.k8s.io"];

type Answer = Response<UnsyncBoxBody<Bytes, BoxError>>;

/// An object that Helm is about to change.
pub(super) struct Touch {
    pub(super) key: ObjectKey,
    /// As it is now; none = it is not there.
    pub(super) live: Option<Value>,
    /// It is written down; dropped, the change is refused.
    pub(super) written: oneshot::Sender<()>,
}

/// The door of one run. Dropped, it is gone.
pub(super) struct Door {
    url: String,
    touches: mpsc::Receiver<Touch>,
    closing: watch::Sender<bool>,
}

impl Door {
    /// Opens it.
    pub(super) async fn open(objects: &Objects, tasks: &Tasks) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let secret = Ids::system(SystemClock::shared()).token(SECRET_BYTES);
        let prefix = format!("/{}", secret.expose());
        let url = format!("http://{}{prefix}", listener.local_addr()?);
        let (touch, touches) = mpsc::channel(1);
        let (closing, closed) = watch::channel(false);
        let porter = Porter { prefix, objects: objects.clone(), touch, closed, seen: Mutex::default() };
        let own = tasks.clone();
        tasks.spawn("helm-door", serve(listener, Arc::new(porter), own));
        Ok(Self { url, touches, closing })
    }

    /// Where it is. Whoever knows this is the person.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// The next object that Helm is about to change.
    pub(super) async fn next(&mut self) -> Touch {
        match self.touches.recv().await {
            Some(touch) => touch,
            // The porter lives as long as the door.
            None => std::future::pending().await,
        }
    }

    /// Lets nothing through any more but what Helm writes down about the release.
    pub(super) fn close(&self) {
        self.closing.send_replace(true);
    }
}

async fn serve(listener: TcpListener, porter: Arc<Porter>, tasks: Tasks) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut gone = porter.closed.clone();
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        let accepted = tokio::select! {
            () = left(&mut gone) => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else { continue };
        let porter = Arc::clone(&porter);
        tasks.spawn("helm-connection", async move {
            connection(stream, &porter).await;
            drop(permit);
        });
    }
}

async fn connection(stream: TcpStream, porter: &Porter) {
    let service = service_fn(move |request| async move { Ok::<_, Infallible>(porter.answer(request).await) });
    let served = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let mut gone = porter.closed.clone();
    tokio::select! {
        () = left(&mut gone) => {}
        served = served => if let Err(fault) = served {
            tracing::debug!("a connection of helm broke off: {fault}");
        },
    }
}

/// Fires when the door is dropped.
async fn left(closing: &mut watch::Receiver<bool>) {
    while closing.changed().await.is_ok() {}
}

struct Porter {
    prefix: String,
    objects: Objects,
    touch: mpsc::Sender<Touch>,
    closed: watch::Receiver<bool>,
    /// Paths of the objects that are written down.
    seen: Mutex<HashSet<String>>,
}

impl Porter {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let (head, body) = request.into_parts();
        let path = head.uri.path_and_query().map_or("", http::uri::PathAndQuery::as_str);
        let Some(path) = path.strip_prefix(&self.prefix).filter(|path| path.starts_with('/')) else {
            return refusal(StatusCode::NOT_FOUND, "NotFound", "there is nothing here");
        };
        let Ok(body) = Limited::new(body, REQUEST_MAX).collect().await else {
            return refusal(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", "the request is too long");
        };
        let body = body.to_bytes();
        let meant = sent::read(&body);
        let closing = *self.closed.borrow();
        if closing && !release::is_about_releases(path, &meant) {
            return refusal(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", "the operation was asked to stop");
        }
        if changes(&head.method, path)
            && let Err(refused) = self.write_down(&head.method, path, &meant).await
        {
            return refused;
        }
        let answer = match self.send(&head, path, &body).await {
            Ok(answer) => answer,
            Err(refused) => return refused,
        };
        let applies = head.headers.get(CONTENT_TYPE).is_some_and(|form| form == APPLY);
        if !applies || answer.status() != StatusCode::CONFLICT {
            return answered(answer);
        }
        let (parts, conflict) = answer.into_parts();
        let Ok(conflict) = Limited::new(conflict, REQUEST_MAX).collect().await else {
            return refusal(StatusCode::BAD_GATEWAY, "InternalError", "the API server's answer is cut off");
        };
        let conflict = conflict.to_bytes();
        if is_with_ourselves(&conflict) {
            // Fields that an undo of ours put back are Helm's again.
            return match self.send(&head, &forced(path), &body).await {
                Ok(answer) => answered(answer),
                Err(refused) => refused,
            };
        }
        answered(Response::from_parts(parts, Body::from(conflict.to_vec())))
    }

    /// Sends a request on as the person.
    async fn send(&self, head: &http::request::Parts, path: &str, body: &Bytes) -> Result<Response<Body>, Answer> {
        let mut sent = Request::builder().method(head.method.clone()).uri(path);
        for name in [ACCEPT, CONTENT_TYPE] {
            if let Some(value) = head.headers.get(&name) {
                sent = sent.header(name, value);
            }
        }
        let Ok(sent) = sent.body(Body::from(body.to_vec())) else {
            return Err(refusal(StatusCode::BAD_REQUEST, "BadRequest", "the request cannot be sent on"));
        };
        self.objects.client().send(sent).await.map_err(|error| {
            tracing::debug!("the API server did not answer helm: {error}");
            refusal(StatusCode::BAD_GATEWAY, "InternalError", "the agent did not reach the API server")
        })
    }

    /// Has an object written down before the first change to it.
    async fn write_down(&self, method: &Method, path: &str, sent: &Value) -> Result<(), Answer> {
        let Some(place) = Place::of(method, path, sent) else {
            let why = "what would change cannot be told, so it could not be undone";
            return Err(refusal(StatusCode::FORBIDDEN, "Forbidden", why));
        };
        // One after another: two requests for one object must not both find it as it was.
        let mut seen = self.seen.lock().await;
        if seen.contains(&place.object) {
            return Ok(());
        }
        let live = match self.objects.read(&place.object).await {
            Ok(live) => live,
            Err(failure) => return Err(unread(&failure)),
        };
        // What is not there is neither patched nor removed, but applied.
        let Some(key) = live.as_ref().or(Some(sent)).and_then(|object| place.key(object)) else { return Ok(()) };
        let (written, told) = oneshot::channel();
        let refused =
            || refusal(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", "the change could not be recorded");
        self.touch.send(Touch { key, live, written }).await.map_err(|_| refused())?;
        told.await.map_err(|_| refused())?;
        seen.insert(place.object);
        Ok(())
    }
}

/// Whether every field of a conflict is owned by the agent's own earlier changes.
fn is_with_ourselves(conflict: &[u8]) -> bool {
    let status: Value = serde_json::from_slice(conflict).unwrap_or_default();
    let causes = status.pointer("/details/causes").and_then(Value::as_array);
    let ours = format!("conflict with \"{FIELD_MANAGER}\"");
    let is_ours = |cause: &Value| {
        let text = |name: &str| cause.get(name).and_then(Value::as_str).unwrap_or_default();
        text("reason") == "FieldManagerConflict" && text("message").starts_with(&ours)
    };
    causes.is_some_and(|causes| !causes.is_empty() && causes.iter().all(is_ours))
}

/// The same apply, taking the fields over.
fn forced(path: &str) -> String {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let kept = query.split('&').filter(|pair| !pair.is_empty() && !pair.starts_with("force="));
    let pairs: Vec<&str> = kept.chain(["force=true"]).collect();
    format!("{path}?{}", pairs.join("&"))
}

/// Whether a request changes something.
fn changes(method: &Method, path: &str) -> bool {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let reads = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    let asks = query.split('&').any(|pair| pair == "dryRun=All");
    let reviews = path.strip_prefix("/apis/").is_some_and(|rest| REVIEWS.iter().any(|group| rest.starts_with(group)));
    !reads && !asks && !reviews
}

/// Which object a request is about.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    /// Path of the object itself.
    object: String,
    /// `apps/v1`.
    api_version: String,
    namespace: Option<String>,
    name: String,
}

impl Place {
    /// None for whole collections and for what the API server names itself.
    fn of(method: &Method, path: &str, sent: &Value) -> Option<Self> {
        let path = path.split('?').next().unwrap_or_default();
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let (api_version, rest) = match parts.as_slice() {
            ["api", version, rest @ ..] => ((*version).to_owned(), rest),
            ["apis", group, version, rest @ ..] => (format!("{group}/{version}"), rest),
            _ => return None,
        };
        // `/namespaces/NAME` alone is the namespace itself; with more behind it, where something lies.
        let (namespace, rest) = match rest {
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() && !matches!(rest, ["status" | "finalize"]) => {
                (Some((*namespace).to_owned()), rest)
            }
            rest => (None, rest),
        };
        let named = || sent.pointer("/metadata/name").and_then(Value::as_str);
        let (name, collection) = match rest {
            [_] if *method == Method::POST => (named()?, path.to_owned()),
            [_, name, below @ ..] => {
                let tail: usize = name.len() + 1 + below.iter().map(|part| part.len() + 1).sum::<usize>();
                (*name, path.get(..path.len() - tail)?.to_owned())
            }
            _ => return None,
        };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':');
        if name.is_empty() || !name.bytes().all(plain) {
            return None;
        }
        Some(Self { object: format!("{collection}/{name}"), api_version, namespace, name: name.to_owned() })
    }

    fn key(&self, object: &Value) -> Option<ObjectKey> {
        let kind = object.get("kind").and_then(Value::as_str).filter(|kind| !kind.is_empty())?;
        Some(ObjectKey {
            api_version: self.api_version.clone(),
            kind: kind.to_owned(),
            namespace: self.namespace.clone(),
            name: self.name.clone(),
        })
    }
}

fn answered(answer: Response<Body>) -> Answer {
    let (head, body) = answer.into_parts();
    let mut response = Response::new(body.map_err(Into::into).boxed_unsync());
    *response.status_mut() = head.status;
    for name in [CONTENT_TYPE, http::header::RETRY_AFTER, http::header::WARNING] {
        if let Some(value) = head.headers.get(&name) {
            response.headers_mut().insert(name, value.clone());
        }
    }
    response
}

/// The object may not be looked at by whoever wants to change it.
fn unread(failure: &Failure) -> Answer {
    match failure {
        Failure::Forbidden(why) => refusal(StatusCode::FORBIDDEN, "Forbidden", why),
        other => {
            tracing::debug!("an object was not read before helm's change: {other}");
            let why = "the object could not be read before its change";
            refusal(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", why)
        }
    }
}

fn refusal(code: StatusCode, reason: &str, why: &str) -> Answer {
    status(code, reason, "agent_error", why)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn place(method: &Method, path: &str, sent: &Value) -> Option<(String, String)> {
        let place = Place::of(method, path, sent)?;
        let key = place.key(&json!({ "kind": "K" })).unwrap();
        Some((place.object, format!("{}|{}|{}", key.api_version, key.namespace.unwrap_or_default(), key.name)))
    }

    #[test]
    fn every_change_has_its_object() {
        let sent = json!({ "metadata": { "name": "a" } });
        for (method, path, object, key) in [
            (Method::POST, "/api/v1/namespaces/n/secrets", "/api/v1/namespaces/n/secrets/a", "v1|n|a"),
            (Method::POST, "/api/v1/namespaces?fieldManager=helm", "/api/v1/namespaces/a", "v1||a"),
            (Method::DELETE, "/api/v1/namespaces/n", "/api/v1/namespaces/n", "v1||n"),
            (Method::PUT, "/api/v1/namespaces/n/finalize", "/api/v1/namespaces/n", "v1||n"),
            (
                Method::PATCH,
                "/apis/apps/v1/namespaces/n/deployments/d/scale?force=true",
                "/apis/apps/v1/namespaces/n/deployments/d",
                "apps/v1|n|d",
            ),
            (
                Method::DELETE,
                "/apis/rbac.authorization.k8s.io/v1/clusterroles/system:x",
                "/apis/rbac.authorization.k8s.io/v1/clusterroles/system:x",
                "rbac.authorization.k8s.io/v1||system:x",
            ),
        ] {
            assert_eq!(place(&method, path, &sent), Some((object.to_owned(), key.to_owned())), "{path}");
        }
        for (method, path) in [
            (Method::DELETE, "/api/v1/namespaces/n/secrets"),
            (Method::POST, "/version"),
            (Method::PATCH, "/api/v1"),
            (Method::DELETE, "/api/v1/namespaces/n/secrets/"),
        ] {
            assert_eq!(place(&method, path, &sent), None, "{path}");
        }
        let unnamed = json!({ "metadata": { "generateName": "a-" } });
        assert_eq!(place(&Method::POST, "/api/v1/namespaces/n/pods", &unnamed), None);
    }

    #[test]
    fn only_our_own_fields_are_taken_over() {
        let status = |managers: &[&str]| {
            let cause = |manager: &&str| json!({"reason": "FieldManagerConflict", "message": format!("conflict with \"{manager}\" using v1"), "field": ".a"});
            let causes: Vec<Value> = managers.iter().map(cause).collect();
            json!({"kind": "Status", "code": 409, "details": {"causes": causes}}).to_string()
        };
        assert!(is_with_ourselves(status(&["roadstead", "roadstead"]).as_bytes()));
        for other in [&["roadstead", "hpa"][..], &["roadstead-x"], &[]] {
            assert!(!is_with_ourselves(status(other).as_bytes()), "{other:?}");
        }
        assert!(!is_with_ourselves(b"{}") && !is_with_ourselves(b"nonsense"));
        assert_eq!(forced("/api/v1/x/a?fieldManager=helm&force=false"), "/api/v1/x/a?fieldManager=helm&force=true");
        assert_eq!(forced("/api/v1/x/a"), "/api/v1/x/a?force=true");
    }

    #[test]
    fn reading_and_asking_change_nothing() {
        assert!(!changes(&Method::GET, "/api/v1/pods"));
        assert!(!changes(&Method::PATCH, "/api/v1/namespaces/n/pods/p?fieldManager=helm&dryRun=All"));
        assert!(!changes(&Method::POST, "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"));
        assert!(changes(&Method::POST, "/apis/rbac.authorization.k8s.io/v1/roles"));
        assert!(changes(&Method::DELETE, "/api/v1/namespaces/n/pods/p?x=dryRun=All"));
    }
}
