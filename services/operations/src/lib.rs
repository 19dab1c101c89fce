//! The operations service: every change as a durable operation. In this version the skeleton: its database, its
//! health listener and its queue doors stand; no message is understood yet and no route pretends otherwise.
//!
//! Not for reads of clusters (the front door asks onboarding). Read [`build`] for how it is put together.

mod bus;
mod http;
mod options;

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use roadstead_bus::Bus;
use roadstead_http_kit::Listener;
use roadstead_runtime::config::Settings;
use roadstead_runtime::{Ids, Readiness, SharedClock, Tasks};
use roadstead_store::Opened;
use roadstead_telemetry::Metrics;

pub use http::routes;
pub use options::Options;

/// The name of the service: of its schema, its file, its lines in the log.
pub const NAME: &str = "operations";

/// What the process hands in.
#[derive(Debug, Clone)]
pub struct Deps {
    /// The bus.
    pub bus: Bus,
    /// The service's own database.
    pub database: Opened,
    /// Time.
    pub clock: SharedClock,
    /// Ids and randomness.
    pub ids: Ids,
    /// Where its tasks run.
    pub tasks: Tasks,
    /// What it counts.
    pub metrics: Metrics,
    /// Where its parts say how they are.
    pub readiness: Readiness,
    /// The settings of the process.
    pub settings: Arc<Settings>,
}

/// The service, built and not yet served.
#[derive(Debug)]
pub struct Service {
    deps: Deps,
    options: Options,
    address: SocketAddr,
    listener: std::sync::Mutex<Option<Listener>>,
}

/// Brings the schema up to date and binds the health listener. Nothing is served before [`Service::start`].
pub async fn build(deps: Deps) -> anyhow::Result<Service> {
    let options = Options::of(&deps.settings);
    let migrator = roadstead_store::migrations!("operations");
    migrator.up(&deps.database).await.context("failed to bring the operations database up to date")?;
    let listener = Listener { socket: roadstead_http_kit::bind(&options.host.to_string(), options.port)?, tls: None };
    let address = listener.address().context("the health listener has no address")?;
    Ok(Service { deps, options, address, listener: std::sync::Mutex::new(Some(listener)) })
}

impl Service {
    /// Address of the health listener.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Opens the doors. A second call does nothing.
    pub async fn start(&self) -> anyhow::Result<()> {
        let listener = self.listener.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        let Some(listener) = listener else { return Ok(()) };
        bus::open(&self.deps.bus).await.context("failed to open the queue doors")?;
        http::serve(&self.deps, &self.options, listener).context("failed to serve the health listener")
    }
}
