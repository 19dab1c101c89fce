//! The agents' door: enrolment, the tunnel's and the seeds' WebSockets, and the four probes. hyper (in the tunnel crate)
//! carries it, because connections live on as WebSockets that no framework may own.

mod admission;
mod answer;
mod connect;
mod enrol;
mod probes;
mod replay;
mod seed;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use roadstead_contracts::Code;
use roadstead_contracts::agent::{CONNECT_PATH, ENROL_PATH};
use roadstead_http_kit::figures::{Figures, Served};
use roadstead_http_kit::probes::{Probes, RenderMetrics, Version};
use roadstead_http_kit::tls::Certificate;
use roadstead_runtime::{Readiness, Tasks};
use roadstead_tunnel::door::{self, Reply};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::app::App;
use admission::Admission;
use answer::{Answer, json, refuse, request_id};
use replay::Replay;

/// Paths on which agents of the seeds dial.
const SEED_PATHS: [&str; 3] = ["/ws", "/api/v2.0/ws", "/api/v3.0/ws"];

/// What the door has at hand.
pub(crate) struct Door {
    pub(crate) app: Arc<App>,
    pub(crate) readiness: Readiness,
    admission: Admission,
    replay: Replay,
}

/// How a request ends.
pub(crate) enum Outcome<IO> {
    Answer(Answer),
    Upgrade(Reply<IO>),
}

impl Door {
    pub(crate) fn new(app: Arc<App>, readiness: Readiness) -> Arc<Self> {
        let admission = Admission::new(&app.settings.agents);
        Arc::new(Self { app, readiness, admission, replay: Replay::new() })
    }

    /// Serves the listener for figures.
    pub(crate) fn serve_figures(&self, figures: Figures) -> io::Result<()> {
        let (app, metrics) = (&self.app, self.app.metrics.clone());
        // Nobody shows a credential there: no figure that names a cluster.
        let render: RenderMetrics = Arc::new(move || metrics.render_public());
        let served = Served {
            name: "onboarding-metrics",
            ids: app.ids.clone(),
            clock: Arc::clone(&app.clock),
            probes: Probes {
                version: Version::of(crate::NAME),
                readiness: self.readiness.clone(),
                metrics: Some(render),
            },
            head_time: app.settings.server.read_timeout,
            grace: app.settings.server.shutdown_grace,
        };
        figures.serve(served, &app.tasks)
    }

    async fn answer<IO>(self: Arc<Self>, request: Request<Bytes>, _peer: SocketAddr) -> Reply<IO>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let id = request_id(&request, &self.app.ids);
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let outcome = match (&method, path.as_str()) {
            (&Method::POST, ENROL_PATH) => enrol::post(&self, request).await.map(Outcome::Answer),
            (&Method::GET, CONNECT_PATH) => connect::get(&self, &request).await.map(Outcome::Upgrade),
            (&Method::GET, path) if SEED_PATHS.contains(&path) => {
                seed::get(&self, &request, &id).await.map(Outcome::Upgrade)
            }
            (&Method::GET, "/healthz") => {
                Ok(Outcome::Answer(json(StatusCode::OK, &serde_json::json!({"status": "ok"}))))
            }
            (&Method::GET, "/readyz") => Ok(Outcome::Answer(probes::ready(&self.readiness))),
            (&Method::GET, "/version") => Ok(Outcome::Answer(probes::version())),
            (&Method::GET, "/metrics") if self.app.settings.metrics.at_doors() => {
                Ok(Outcome::Answer(probes::metrics(&self.app.metrics)))
            }
            (_, path) if is_known(path) => Err(Code::MethodNotAllowed.into()),
            _ => Err(Code::NotFound.into()),
        };
        let answer = match outcome {
            Ok(Outcome::Upgrade(reply)) => return reply,
            Ok(Outcome::Answer(answer)) => answer,
            Err(fault) => refuse(&fault, &id, self.app.clock.now()),
        };
        Reply::Answer(answer)
    }
}

fn is_known(path: &str) -> bool {
    [ENROL_PATH, CONNECT_PATH, "/healthz", "/readyz", "/version", "/metrics"].contains(&path)
        || SEED_PATHS.contains(&path)
}

/// Serves the door until the process stops.
pub(crate) async fn serve(
    door: Arc<Door>,
    listener: TcpListener,
    certificate: Option<Arc<Certificate>>,
    tasks: Tasks,
) -> anyhow::Result<()> {
    match certificate {
        None => {
            let handler = move |request, peer| Arc::clone(&door).answer::<TcpStream>(request, peer);
            door::serve(listener, &tasks, door::plain, handler).await;
        }
        Some(certificate) => {
            let acceptor = TlsAcceptor::from(Arc::new(certificate.server_config()?));
            let wrap = move |stream: TcpStream| {
                let accepting = acceptor.accept(stream);
                async move { accepting.await.map_err(io::Error::other) }
            };
            let handler = move |request, peer| {
                Arc::clone(&door).answer::<tokio_rustls::server::TlsStream<TcpStream>>(request, peer)
            };
            door::serve(listener, &tasks, wrap, handler).await;
        }
    }
    Ok(())
}
