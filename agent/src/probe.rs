//! The agent's own door: `/healthz`, `/readyz`, `/version`, `/metrics`.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use roadstead_runtime::Tasks;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::metrics::Metrics;

/// Scrapers and probes at once.
const CONNECTIONS_MAX: usize = 32;
/// A head must be there within this time.
const HEAD_LIMIT: Duration = Duration::from_secs(10);
/// Buffer of one connection: hyper's least.
const BUFFER: usize = 8 * 1024;

/// How the agent is, for `/readyz`.
#[derive(Debug, Clone, Default)]
pub struct Health(Arc<AtomicU8>);

const CONNECTED: u8 = 1;
const REVOKED: u8 = 2;

impl Health {
    /// Whether the hub is connected.
    pub fn set_connected(&self, connected: bool) {
        self.0.store(if connected { CONNECTED } else { 0 }, Ordering::Relaxed);
    }

    /// The hub cut the agent off for good.
    pub fn set_revoked(&self) {
        self.0.store(REVOKED, Ordering::Relaxed);
    }

    fn words(&self) -> (StatusCode, &'static str) {
        match self.0.load(Ordering::Relaxed) {
            CONNECTED => (StatusCode::OK, "connected"),
            REVOKED => (StatusCode::SERVICE_UNAVAILABLE, "revoked"),
            _ => (StatusCode::SERVICE_UNAVAILABLE, "connecting"),
        }
    }
}

/// Binds the address; where it is taken, another port, because a second agent on one machine is no fault.
pub async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    match TcpListener::bind(address).await {
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            let listener = TcpListener::bind(SocketAddr::new(address.ip(), 0)).await?;
            tracing::warn!("{address} is taken; /metrics and /healthz are on {}", listener.local_addr()?);
            Ok(listener)
        }
        other => other,
    }
}

/// Serves until the tasks stop.
pub async fn serve(listener: TcpListener, health: Health, metrics: Metrics, tasks: Tasks) {
    let stopping = tasks.stopping();
    let _ = roadstead_runtime::sockets::keep_alive(&listener);
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        let accepted = tokio::select! {
            () = stopping.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let (health, metrics) = (health.clone(), metrics.clone());
        tasks.spawn("probe", async move {
            let service = service_fn(move |request: Request<hyper::body::Incoming>| {
                let answer = answer(request.method(), request.uri().path(), &health, &metrics);
                async move { Ok::<_, Infallible>(answer) }
            });
            let served = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_LIMIT)
                .max_buf_size(BUFFER)
                .serve_connection(TokioIo::new(stream), service);
            if let Err(error) = Box::pin(served).await {
                tracing::debug!("a probe ended: {error}");
            }
            drop(permit);
        });
    }
}

fn answer(method: &Method, path: &str, health: &Health, metrics: &Metrics) -> Response<Full<Bytes>> {
    let json = |status: StatusCode, body: serde_json::Value| build(status, "application/json", body.to_string());
    if method != Method::GET && method != Method::HEAD {
        return json(StatusCode::METHOD_NOT_ALLOWED, json!({ "error": "method not allowed" }));
    }
    match path {
        "/healthz" | "/health" => json(StatusCode::OK, json!({ "status": "healthy", "hub": health.words().1 })),
        "/readyz" => {
            let (status, word) = health.words();
            json(status, json!({ "ready": status == StatusCode::OK, "hub": word }))
        }
        "/version" => json(
            StatusCode::OK,
            json!({
                "service": "agent",
                "version": crate::VERSION,
                "gitCommit": roadstead_telemetry::GIT_COMMIT,
                "buildDate": roadstead_telemetry::BUILD_DATE,
            }),
        ),
        "/metrics" => build(StatusCode::OK, roadstead_telemetry::metrics::CONTENT_TYPE, metrics.render()),
        _ => json(StatusCode::NOT_FOUND, json!({ "error": "not found" })),
    }
}

fn build(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
