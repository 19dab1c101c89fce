//! The settings that this service reads.

use std::collections::BTreeMap;
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
    /// Operations that this process carries at once.
    pub at_once: u32,
    /// Operations at once in one cluster and namespace.
    pub per_namespace: u32,
    /// Deadline of an operation whose caller gives none.
    pub deadline: Duration,
    /// How long an ended operation is kept at least.
    pub retention: Duration,
    /// Broker users of peers of the seeds, and the accounts that they stand for.
    pub queue_peers: BTreeMap<String, String>,
}

impl Options {
    /// From the settings of the process.
    pub fn of(settings: &Settings) -> Self {
        let operations = &settings.operations;
        Self {
            host: operations.host,
            port: operations.port,
            read_timeout: settings.server.read_timeout,
            grace: settings.server.shutdown_grace,
            metrics: settings.metrics.at_doors(),
            at_once: operations.at_once.max(1),
            per_namespace: operations.per_namespace.max(1),
            deadline: operations.deadline,
            retention: operations.retention,
            queue_peers: settings.compat.queue_peers.clone(),
        }
    }
}
