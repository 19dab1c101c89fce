//! What `/metrics` shows, under the names of the seeds and our own.

use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Heartbeat {
    cluster_id: String,
    status: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClusterOnly {
    cluster_id: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Version {
    version: &'static str,
}

/// The agent's figures. Clones count together.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
    heartbeats: Family<Heartbeat, Counter>,
    last_heartbeat: Family<ClusterOnly, Gauge>,
    connected: Gauge,
    dials: Counter,
    failed_dials: Counter,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Everything at zero.
    pub fn new() -> Self {
        let mut registry = Registry::default();
        let heartbeats = Family::default();
        let last_heartbeat = Family::default();
        let (connected, dials, failed_dials) = (Gauge::default(), Counter::default(), Counter::default());
        let build: Family<Version, Gauge> = Family::default();
        build.get_or_create(&Version { version: crate::VERSION }).set(1);
        registry.register("roadstead_agent_build_info", "What runs", build);
        registry.register("mckmt_agent_heartbeats", "Heartbeats sent, by the state they gave", heartbeats.clone());
        for name in ["mckmt_agent_last_heartbeat_timestamp", "mckmt_agent_heartbeat_timestamp"] {
            registry.register(name, "When the last heartbeat was sent, seconds since 1970", last_heartbeat.clone());
        }
        registry.register("roadstead_agent_connected", "Whether the hub is connected", connected.clone());
        registry.register("roadstead_agent_dials", "Times the hub was dialled", dials.clone());
        registry.register("roadstead_agent_failed_dials", "Times dialling the hub failed", failed_dials.clone());
        Self { registry: Arc::new(Mutex::new(registry)), heartbeats, last_heartbeat, connected, dials, failed_dials }
    }

    /// A heartbeat was sent.
    pub fn heartbeat(&self, cluster_id: &str, status: &str, now: DateTime<Utc>) {
        let labels = Heartbeat { cluster_id: cluster_id.to_owned(), status: status.to_owned() };
        self.heartbeats.get_or_create(&labels).inc();
        self.last_heartbeat.get_or_create(&ClusterOnly { cluster_id: cluster_id.to_owned() }).set(now.timestamp());
    }

    /// The hub was dialled.
    pub fn dialled(&self, worked: bool) {
        self.dials.inc();
        if !worked {
            self.failed_dials.inc();
        }
    }

    /// The session began or ended.
    pub fn set_connected(&self, connected: bool) {
        self.connected.set(i64::from(connected));
    }

    /// In Prometheus' text form.
    pub fn render(&self) -> String {
        let mut text = String::new();
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        // Writing to a string does not fail.
        let _ = encode(&mut text, &registry);
        text
    }
}
