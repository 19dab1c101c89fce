//! The broker of a mesh.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use roadstead_bus::rabbit::{Options, Rabbit};
use roadstead_bus::{Bus, Transport};
use roadstead_runtime::client_tls::ClientTls;
use roadstead_runtime::config::Settings;
use roadstead_runtime::{Ids, Tasks};
use roadstead_telemetry::Metrics;

pub(super) fn rabbit(
    settings: &Settings,
    service: &'static str,
    ids: &Ids,
    tasks: &Tasks,
) -> Result<Arc<dyn Transport>> {
    let url = settings.rabbitmq.url.clone().context("rabbitmq.url is not set")?;
    let rabbitmq = &settings.rabbitmq;
    let tls = ClientTls::read(rabbitmq.ca_file.as_deref(), rabbitmq.cert_file.as_deref(), rabbitmq.key_file.as_deref())
        .context("TLS to the broker cannot be set up")?;
    let options = Options { url, tls, name: format!("roadstead-{service}"), ids: ids.clone(), tasks: tasks.clone() };
    Ok(Arc::new(Rabbit::open(options).context("failed to set up the broker")?))
}

/// Keeps the metric true to the connection.
pub(super) fn watch(bus: &Bus, metrics: &Metrics, tasks: &Tasks) {
    let (mut connected, gauge) = (bus.connected(), metrics.bus_connected.clone());
    tasks.support("bus-metric", async move {
        loop {
            gauge.set(i64::from(*connected.borrow_and_update()));
            if connected.changed().await.is_err() {
                return;
            }
        }
    });
}
