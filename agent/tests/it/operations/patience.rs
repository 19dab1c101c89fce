//! Row F26: an API server that is busy or answers nonsense. What it says about when to come back is kept, and each object
//! is told by itself.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use roadstead_agent::kubernetes::Cluster;
use roadstead_contracts::operation::{Ending, ObjectOutcome};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::rig::{Rig, Wish, apply, config_maps};

/// Statuses that the next changes of an object get before it is taken.
pub(super) type Moods = BTreeMap<&'static str, VecDeque<u16>>;

/// An API server that knows ConfigMaps.
#[derive(Clone, Default)]
pub(super) struct Moody {
    moods: Arc<Mutex<Moods>>,
    pub(super) objects: Arc<Mutex<BTreeMap<String, Value>>>,
    /// Nothing is removed while somebody has it.
    pub(super) removing: Arc<tokio::sync::Mutex<()>>,
    /// When each change of an object came.
    came: Arc<Mutex<Vec<(String, Instant)>>>,
}

impl Moody {
    pub(super) async fn start(moods: Moods) -> (Self, Cluster) {
        let moody = Self { moods: Arc::new(Mutex::new(moods)), ..Self::default() };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let config = kube::Config::new(format!("http://{}", listener.local_addr().unwrap()).parse().unwrap());
        let served = moody.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let moody = served.clone();
                tokio::spawn(async move {
                    let service = service_fn(move |request| {
                        let moody = moody.clone();
                        async move { Ok::<_, Infallible>(moody.answer(request).await) }
                    });
                    let connection = hyper::server::conn::http1::Builder::new();
                    let _ = connection.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        (moody, Cluster::with_config(config, false).unwrap())
    }

    async fn answer(&self, request: Request<hyper::body::Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let name = head.uri.path().rsplit_once("/configmaps/").map(|(_, name)| name.to_owned());
        let (status, answer) = match (name, head.method) {
            _ if head.uri.path() == "/api/v1" => {
                (200, json!({ "resources": [{ "name": "configmaps", "kind": "ConfigMap", "namespaced": true }] }))
            }
            (Some(name), Method::GET) => match self.objects.lock().unwrap().get(&name) {
                Some(object) => (200, object.clone()),
                None => (404, failure(404)),
            },
            // Whoever only asks changes nothing.
            (Some(name), Method::PATCH) if head.uri.query().is_some_and(|query| query.contains("dryRun=All")) => {
                let live = self.objects.lock().unwrap().get(&name).cloned();
                (200, live.unwrap_or_else(|| serde_json::from_slice(&body).unwrap()))
            }
            (Some(name), Method::PATCH) => self.change(name, &body),
            (Some(name), Method::DELETE) => {
                let _may = self.removing.lock().await;
                self.objects.lock().unwrap().remove(&name);
                (200, json!({ "kind": "Status", "apiVersion": "v1", "status": "Success" }))
            }
            _ => (404, failure(404)),
        };
        let mut response = Response::builder().status(status).header("content-type", "application/json");
        if status == 429 {
            response = response.header("retry-after", "1");
        }
        response.body(Full::new(Bytes::from(answer.to_string()))).unwrap()
    }

    fn change(&self, name: String, body: &[u8]) -> (u16, Value) {
        self.came.lock().unwrap().push((name.clone(), Instant::now()));
        let mood = self.moods.lock().unwrap().get_mut(name.as_str()).and_then(VecDeque::pop_front);
        if let Some(status) = mood {
            return (status, failure(status));
        }
        let mut object: Value = serde_json::from_slice(body).unwrap();
        object["metadata"]["uid"] = json!(format!("uid-{name}"));
        object["metadata"]["resourceVersion"] = json!("7");
        self.objects.lock().unwrap().insert(name, object.clone());
        (201, object)
    }

    /// When the changes of an object came.
    fn came(&self, wanted: &str) -> Vec<Instant> {
        let came = self.came.lock().unwrap();
        came.iter().filter(|(name, _)| name == wanted).map(|(_, at)| *at).collect()
    }
}

fn failure(status: u16) -> Value {
    let mut failure = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "not now", "reason": "", "code": status,
    });
    if status == 429 {
        failure["details"] = json!({ "retryAfterSeconds": 1 });
    }
    failure
}

#[tokio::test]
async fn f26_a_busy_api_server_is_asked_again_and_a_broken_one_fails_one_object() {
    let moods = [("c-01", vec![429, 429]), ("c-02", vec![500; 8]), ("c-03", vec![409]), ("c-05", vec![503])];
    let moods = moods.into_iter().map(|(name, statuses)| (name, VecDeque::from(statuses))).collect();
    let (moody, cluster) = Moody::start(moods).await;
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::of(cluster, folder.path());
    let told = rig.run(&Wish::new(apply(), config_maps("n", 6, "a"))).await;
    let outcomes: Vec<(&str, ObjectOutcome)> =
        told.results.iter().map(|result| (result.key.name.as_str(), result.outcome)).collect();
    let expected: Vec<(String, ObjectOutcome)> = (0..6)
        .map(|number| match number {
            2 => ObjectOutcome::Failed,
            _ => ObjectOutcome::Created,
        })
        .enumerate()
        .map(|(number, outcome)| (format!("c-{number:02}"), outcome))
        .collect();
    assert_eq!(outcomes, expected.iter().map(|(name, outcome)| (name.as_str(), *outcome)).collect::<Vec<_>>());
    assert_eq!(told.ending().ending, Ending::Failed);
    assert_eq!((told.ending().counts.created, told.ending().counts.failed), (5, 1));
    // Never sooner than it said.
    let busy = moody.came("c-01");
    assert_eq!(busy.len(), 3, "{busy:?}");
    assert!(busy.windows(2).all(|pair| pair[1] - pair[0] >= Duration::from_millis(900)), "{busy:?}");
    assert_eq!(moody.came("c-00").len(), 1);
}
