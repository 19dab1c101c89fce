//! An API server that a test plays: it answers what the agent asks and remembers how it was asked.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use roadstead_agent::kubernetes::Cluster;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Seen {
    pub method: String,
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Seen {
    pub fn header(&self, name: &str) -> Vec<&str> {
        self.headers.get_all(name).into_iter().map(|value| value.to_str().unwrap()).collect()
    }
}

/// What the server does.
#[derive(Debug, Clone)]
pub struct Manner {
    pub namespaces: usize,
    pub nodes: usize,
    pub ready: usize,
    /// Answer every list of namespaces with this.
    pub refuse: Option<(u16, &'static str)>,
    pub may_impersonate: bool,
    pub bound: bool,
}

impl Default for Manner {
    fn default() -> Self {
        Self { namespaces: 3, nodes: 2, ready: 2, refuse: None, may_impersonate: true, bound: true }
    }
}

#[derive(Debug, Clone)]
pub struct Api {
    pub address: SocketAddr,
    pub manner: Arc<Mutex<Manner>>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Api {
    pub async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let api = Self {
            address: listener.local_addr().unwrap(),
            manner: Arc::new(Mutex::new(manner)),
            seen: Arc::default(),
        };
        let served = api.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let api = served.clone();
                tokio::spawn(async move {
                    let service = service_fn(move |request| {
                        let api = api.clone();
                        async move { Ok::<_, Infallible>(api.answer(request).await) }
                    });
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        api
    }

    pub fn cluster(&self) -> Cluster {
        let config = kube::Config::new(format!("http://{}", self.address).parse().unwrap());
        Cluster::with_config(config, false).unwrap()
    }

    /// A kubeconfig file for this server.
    pub fn kubeconfig(&self, folder: &std::path::Path) -> std::path::PathBuf {
        let path = folder.join("kubeconfig");
        let text = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{ "name": "c", "cluster": { "server": format!("http://{}", self.address) } }],
            "users": [{ "name": "u", "user": {} }],
            "contexts": [{ "name": "x", "context": { "cluster": "c", "user": "u" } }],
            "current-context": "x",
        });
        std::fs::write(&path, text.to_string()).unwrap();
        path
    }

    pub fn seen(&self, part: &str) -> Vec<Seen> {
        self.seen.lock().unwrap().iter().filter(|seen| seen.path.contains(part)).cloned().collect()
    }

    async fn answer(&self, request: Request<hyper::body::Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let seen = Seen {
            method: head.method.to_string(),
            path: head.uri.to_string(),
            headers: head.headers.clone(),
            body: body.clone(),
        };
        self.seen.lock().unwrap().push(seen);
        let manner = self.manner.lock().unwrap().clone();
        let query = head.uri.query().unwrap_or_default().to_owned();
        let (status, body) = match head.uri.path() {
            "/version" => (200, json!({ "gitVersion": "v1.36.3", "platform": "linux/amd64" })),
            "/api/v1/nodes" => (200, nodes(&manner)),
            "/api/v1/namespaces" => match manner.refuse {
                Some((status, message)) => (status, failure(status, message)),
                None => (200, namespaces(&manner, &query)),
            },
            "/api/v1/namespaces/shop" => {
                (200, json!({ "metadata": { "name": "shop" }, "status": { "phase": "Active" } }))
            }
            "/api/v1/namespaces/taken-away" => (403, failure(403, "namespaces \"taken-away\" is forbidden")),
            "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews" => {
                let asked: Value = serde_json::from_slice(&body).unwrap();
                let verb = &asked["spec"]["resourceAttributes"]["verb"];
                let allowed = if verb == "impersonate" { manner.may_impersonate } else { manner.bound };
                (201, json!({ "status": { "allowed": allowed } }))
            }
            path if path.starts_with("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/") => (200, json!({})),
            _ => (404, failure(404, "not found")),
        };
        let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        response.headers_mut().insert("content-type", "application/json".parse().unwrap());
        response
    }
}

fn failure(status: u16, message: &str) -> Value {
    json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": status, "reason": "x", "message": message })
}

fn nodes(manner: &Manner) -> Value {
    let rows: Vec<Value> = (0..manner.nodes)
        .map(|at| {
            let status = if at < manner.ready { "Ready,SchedulingDisabled" } else { "NotReady" };
            json!({ "cells": [format!("node-{at}"), status, "<none>", "3d", "v1.36.3"] })
        })
        .collect();
    json!({
        "kind": "Table",
        "metadata": {},
        "columnDefinitions": [{ "name": "Name" }, { "name": "Status" }, { "name": "Roles" }],
        "rows": rows,
    })
}

/// Two pages, when there is more than one namespace; by reverse name.
fn namespaces(manner: &Manner, query: &str) -> Value {
    let half = manner.namespaces.div_ceil(2);
    let second = query.contains("continue=a%20token%2F");
    assert!(second || !query.contains("continue="), "{query}");
    let range = if second { 0..manner.namespaces - half } else { manner.namespaces - half..manner.namespaces };
    let items: Vec<Value> = range
        .map(|at| {
            json!({
                "metadata": {
                    "name": format!("ns-{at:04}"),
                    "creationTimestamp": "2026-11-21T12:00:00Z",
                    "labels": { "kubernetes.io/metadata.name": format!("ns-{at:04}") },
                    "annotations": {
                        "team": "blue",
                        "kubectl.kubernetes.io/last-applied-configuration": "{}",
                        "kubernetes.io/x": "y",
                    },
                },
                "spec": {},
                "status": { "phase": "Active" },
            })
        })
        .collect();
    let next = if second || manner.namespaces < 2 { "" } else { "a token/" };
    json!({ "kind": "NamespaceList", "metadata": { "continue": next }, "items": items })
}
