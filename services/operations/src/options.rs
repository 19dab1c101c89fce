//! The settings that this service reads.

use std::net::IpAddr;
use std::time::Duration;

use roadstead_runtime::config::Settings;

/// How the service runs.
#[derive(Debug, Clone)]
pub struct Options {
    /// Address of the health listener.
    pub host: IpAddr,
    /// Its port; 0 = any free one.
    pub port: u16,
    /// Longest time for a request's head to arrive.
    pub read_timeout: Duration,
    /// How long requests may go on after a stop.
    pub grace: Duration,
    /// Whether `/metrics` is shown.
    pub metrics: bool,
}

impl Options {
    /// From the settings of the process.
    pub fn of(settings: &Settings) -> Self {
        Self {
            host: settings.operations.host,
            port: settings.operations.port,
            read_timeout: settings.server.read_timeout,
            grace: settings.server.shutdown_grace,
            metrics: settings.metrics.enabled,
        }
    }
}
