//! Prometheus metrics: one [`Metrics`] for a process, made by whoever wires it and handed around.
//!
//! Names that begin with `mckmt_` are those that scrapers, alerts and dashboards of seed 000 know, the two it documents
//! and never had among them; what has no counterpart there begins with `roadstead_`. HTTP and database figures are shown
//! under both. Figures that name a cluster are kept apart: whoever has no credential does not see them
//! ([`Metrics::render_public`]).

pub mod labels;
mod process;

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use labels::{
    AuditSink, Authentication, Build, BusMessage, BusRequest, CacheKey, CacheOperation, ClusterAgent, ClusterHeartbeat,
    ClusterMode, ClusterName, ClusterOnly, ClusterOperation, ClusterState, ConnectionState, DeadLetter, Direction,
    HttpAnswer, HttpRoute, Outcome, Query, QuotaClass, Task,
};
use process::Process;

/// Content type of what [`Metrics::render`] gives.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Seconds, from a call in one process to the longest request.
const SECONDS: [f64; 14] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0];

/// Makes histograms of seconds.
#[derive(Debug, Clone, Copy, Default)]
pub struct Seconds;

impl MetricConstructor<Histogram> for Seconds {
    fn new_metric(&self) -> Histogram {
        Histogram::new(SECONDS)
    }
}

/// Seconds of what takes minutes: seed 000's buckets.
const LONG_SECONDS: [f64; 10] = [0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0];

/// Makes histograms of long times.
#[derive(Debug, Clone, Copy, Default)]
pub struct LongSeconds;

impl MetricConstructor<Histogram> for LongSeconds {
    fn new_metric(&self) -> Histogram {
        Histogram::new(LONG_SECONDS)
    }
}

/// Counters by labels.
pub type Counters<L> = Family<L, Counter>;
/// Gauges by labels.
pub type Gauges<L> = Family<L, Gauge>;
/// Histograms of seconds by labels.
pub type Times<L> = Family<L, Histogram, Seconds>;
/// Histograms of long times by labels.
pub type LongTimes<L> = Family<L, Histogram, LongSeconds>;
/// A gauge with a fraction.
pub type FloatGauge = Gauge<f64, AtomicU64>;

/// A metric at zero. `Family` has a `Default` for some constructors only.
trait Fresh {
    fn fresh() -> Self;
}

macro_rules! fresh {
    ($([$($generic:ident)?] $type:ty = $value:expr;)*) => {$(
        impl$(<$generic: Clone + std::hash::Hash + Eq>)? Fresh for $type {
            fn fresh() -> Self {
                $value
            }
        }
    )*};
}

fresh! {
    [] Counter = Counter::default();
    [] Gauge = Gauge::default();
    [] FloatGauge = FloatGauge::default();
    [L] Counters<L> = Counters::default();
    [L] Gauges<L> = Gauges::default();
    [L] Times<L> = Times::new_with_constructor(Seconds);
    [L] LongTimes<L> = LongTimes::new_with_constructor(LongSeconds);
}

macro_rules! metrics {
    ($($registry:ident { $($(#[doc = $help:literal])+ $field:ident: $type:ty = $first:literal $(| $more:literal)*;)* })*) => {
        /// Every metric of a process. Cheap to clone; clones count together.
        #[derive(Clone)]
        pub struct Metrics {
            registries: Arc<Registries>,
            process: Process,
            $($($(#[doc = $help])+ pub $field: $type,)*)*
        }

        struct Registries {
            $($registry: Mutex<Registry>,)*
        }

        impl Metrics {
            /// Every metric at zero.
            pub fn new() -> Self {
                $(let mut $registry = Registry::default();)*
                $($(let $field = <$type as Fresh>::fresh();
                    for name in [$first $(, $more)*] {
                        $registry.register(name, help(concat!($($help),+)), $field.clone());
                    })*)*
                let process = Process::default();
                let metrics = Self {
                    registries: Arc::new(Registries { $($registry: Mutex::new($registry),)* }),
                    process,
                    $($($field,)*)*
                };
                metrics.with_registry(|registry| metrics.process.register(registry));
                metrics.build.get_or_create(&Build { version: crate::VERSION, commit: crate::GIT_COMMIT }).set(1);
                metrics
            }
        }
    };
}

metrics! {
    public {
        /// What was built.
        build: Gauges<Build> = "roadstead_build_info";
        /// HTTP requests answered.
        http_requests: Counters<HttpAnswer> = "mckmt_http_requests" | "roadstead_http_requests";
        /// How long HTTP requests took.
        http_request_duration: Times<HttpRoute> = "mckmt_http_request_duration_seconds" | "roadstead_http_request_duration_seconds";
        /// HTTP requests being answered.
        http_requests_in_flight: Gauges<HttpRoute> = "mckmt_http_requests_in_flight" | "roadstead_http_requests_in_flight";
        /// Clusters by how they are reached and how they are.
        clusters: Gauges<ClusterState> = "mckmt_clusters_total" | "roadstead_clusters";
        /// Pooled database connections.
        database_connections: Gauges<ConnectionState> = "mckmt_database_connections" | "roadstead_database_connections";
        /// How long database calls took.
        database_query_duration: Times<Query> = "mckmt_database_query_duration_seconds" | "roadstead_database_query_duration_seconds";
        /// Cache look-ups that found something.
        cache_hits: Counters<CacheKey> = "mckmt_cache_hits";
        /// Cache look-ups that found nothing.
        cache_misses: Counters<CacheKey> = "mckmt_cache_misses";
        /// Cache operations.
        cache_operations: Counters<CacheOperation> = "mckmt_cache_operations";
        /// Messages sent and received.
        bus_messages: Counters<BusMessage> = "roadstead_bus_messages";
        /// How long questions over the bus took.
        bus_request_duration: Times<BusRequest> = "roadstead_bus_request_duration_seconds";
        /// Whether the bus is connected (1) or not (0).
        bus_connected: Gauge = "roadstead_bus_connected";
        /// Messages put aside, by reason.
        bus_dead_letters: Counters<DeadLetter> = "roadstead_bus_dead_letters";
        /// Answers to questions nobody waits for any more, dropped.
        bus_stray_replies: Counter = "roadstead_bus_stray_replies";
        /// Events waiting to be published.
        outbox_waiting: Gauge = "roadstead_outbox_waiting";
        /// Age of the oldest event waiting to be published.
        outbox_oldest_seconds: FloatGauge = "roadstead_outbox_oldest_seconds";
        /// Credentials looked at.
        authentications: Counters<Authentication> = "roadstead_authentications";
        /// Rows of the audit trail that receivers outside have.
        audit_exported: Counters<AuditSink> = "roadstead_audit_exported";
        /// Times that a receiver of the audit trail did not take what was sent.
        audit_export_failures: Counters<AuditSink> = "roadstead_audit_export_failures";
        /// Rows of the audit trail that a receiver does not have yet.
        audit_export_behind: Gauges<AuditSink> = "roadstead_audit_export_behind";
        /// Requests refused because a quota was used up.
        rate_limited: Counters<QuotaClass> = "roadstead_rate_limited";
        /// Agents connected to this process.
        agent_sessions: Gauge = "roadstead_agent_sessions";
        /// Agents that knocked, by what became of it.
        agent_handshakes: Counters<Outcome> = "roadstead_agent_handshakes";
        /// Streams opened in tunnels, by what became of them.
        tunnel_streams: Counters<Outcome> = "roadstead_tunnel_streams";
        /// Bytes carried in tunnels.
        tunnel_bytes: Counters<Direction> = "roadstead_tunnel_bytes";
        /// Times a task failed and was started again.
        task_restarts: Counters<Task> = "roadstead_task_restarts";
        /// Operations that have not ended, by state.
        operations_active: Gauges<Outcome> = "roadstead_operations_active";
        /// Operations ended, by state.
        operations_ended: Counters<Outcome> = "roadstead_operations_ended";
        /// Operations given to agents, by what became of the attempt.
        operation_dispatches: Counters<Outcome> = "roadstead_operation_dispatches";
        /// From a commit to the agent's word that it has the operation.
        operation_start: Times<Outcome> = "roadstead_operation_start_seconds";
        /// Webhooks told, by what became of the attempt.
        webhooks: Counters<Outcome> = "roadstead_webhooks";
        /// Things dropped because a bounded place was full, by place.
        dropped: Counters<Outcome> = "roadstead_dropped";
    }
    clusters_only {
        /// Operations ended.
        operations: Counters<ClusterOperation> = "mckmt_operations";
        /// How long operations took, from their making to their end.
        operation_duration: LongTimes<ClusterOperation> = "mckmt_operation_duration_seconds";
        /// Objects that are not as an operation left them.
        drifted_objects: Gauges<ClusterOnly> = "roadstead_drifted_objects";
        /// Whether a cluster's agent is connected (1) or not (0).
        cluster_status: Gauges<ClusterMode> = "mckmt_cluster_status";
        /// Whether a cluster says it is healthy (1) or not (0).
        cluster_health: Gauges<ClusterMode> = "mckmt_cluster_health_status";
        /// When a cluster was last heard, seconds since 1970.
        cluster_last_seen: Gauges<ClusterName> = "mckmt_cluster_last_seen_timestamp";
        /// Agents connected.
        agents_connected: Gauges<ClusterAgent> = "mckmt_agents_connected";
        /// Heartbeats heard, by the state they gave.
        agent_heartbeats: Counters<ClusterHeartbeat> = "mckmt_agent_heartbeats";
        /// When a heartbeat was last heard, seconds since 1970.
        agent_last_heartbeat: Gauges<ClusterOnly> = "mckmt_agent_last_heartbeat_timestamp" | "mckmt_agent_heartbeat_timestamp";
    }
}

/// The library puts a full stop behind the help text.
fn help(text: &'static str) -> &'static str {
    text.trim().trim_end_matches('.')
}

/// One cluster, for [`Metrics::replace_clusters`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterSample {
    /// Id.
    pub id: String,
    /// Name.
    pub name: String,
    /// How it is reached.
    pub mode: String,
    /// State.
    pub status: String,
    /// Whether its agent is connected.
    pub connected: bool,
    /// Whether the agent says that it is healthy.
    pub healthy: bool,
    /// Version of its agent.
    pub agent_version: Option<String>,
    /// When it was last heard, seconds since 1970.
    pub last_seen: Option<i64>,
}

impl Metrics {
    /// Sets the figures about clusters from a list, so that a removed cluster leaves no series behind.
    pub fn replace_clusters(&self, samples: &[ClusterSample]) {
        self.clusters.clear();
        self.cluster_status.clear();
        self.cluster_health.clear();
        self.cluster_last_seen.clear();
        self.agents_connected.clear();
        self.agent_last_heartbeat.clear();
        for sample in samples {
            self.clusters
                .get_or_create(&ClusterState { mode: sample.mode.clone(), status: sample.status.clone() })
                .inc();
            let mode = ClusterMode {
                cluster_id: sample.id.clone(),
                cluster_name: sample.name.clone(),
                mode: sample.mode.clone(),
            };
            self.cluster_status.get_or_create(&mode).set(i64::from(sample.connected));
            self.cluster_health.get_or_create(&mode).set(i64::from(sample.connected && sample.healthy));
            if let Some(seen) = sample.last_seen {
                let name = ClusterName { cluster_id: sample.id.clone(), cluster_name: sample.name.clone() };
                self.cluster_last_seen.get_or_create(&name).set(seen);
                self.agent_last_heartbeat.get_or_create(&ClusterOnly { cluster_id: sample.id.clone() }).set(seen);
            }
            if sample.connected {
                let agent_version = sample.agent_version.clone().unwrap_or_else(|| "unknown".to_owned());
                self.agents_connected
                    .get_or_create(&ClusterAgent { cluster_id: sample.id.clone(), agent_version })
                    .set(1);
            }
        }
    }

    /// Adds metrics of one part only; everybody may see them.
    pub fn with_registry(&self, add: impl FnOnce(&mut Registry)) {
        add(&mut self.registries.public.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Everything, those that name clusters included.
    pub fn render(&self) -> String {
        self.text(true)
    }

    /// What anybody may see.
    pub fn render_public(&self) -> String {
        self.text(false)
    }

    fn text(&self, clusters: bool) -> String {
        self.process.refresh();
        let mut text = String::with_capacity(16 * 1024);
        // Writing to a `String` does not fail.
        let _ = encode_registry(&mut text, &self.registries.public.lock().unwrap_or_else(PoisonError::into_inner));
        if clusters {
            let _ = encode_registry(
                &mut text,
                &self.registries.clusters_only.lock().unwrap_or_else(PoisonError::into_inner),
            );
        }
        let _ = encode_eof(&mut text);
        text
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

/// Takes one off a gauge when dropped, however the work ended.
#[derive(Debug)]
pub struct InFlight(Gauge);

impl InFlight {
    /// Adds one.
    pub fn enter<L>(family: &Gauges<L>, labels: &L) -> Self
    where
        L: Clone + std::hash::Hash + Eq + EncodeLabelSet,
    {
        let gauge = family.get_or_create_owned(labels);
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(id: &str) -> ClusterSample {
        ClusterSample {
            id: id.into(),
            name: format!("name-{id}"),
            mode: "agent".into(),
            status: "connected".into(),
            connected: true,
            healthy: true,
            agent_version: Some("0.1.0".into()),
            last_seen: Some(1_700_000_000),
        }
    }

    #[test]
    fn every_name_of_the_seed_is_there() {
        let metrics = Metrics::new();
        let answer = HttpAnswer { method: "GET", endpoint: "/api/v1/clusters/{id}".into(), status_code: 200 };
        let route = HttpRoute { method: "GET", endpoint: "/api/v1/clusters/{id}".into() };
        metrics.http_requests.get_or_create(&answer).inc();
        metrics.http_request_duration.get_or_create(&route).observe(0.1);
        let flight = InFlight::enter(&metrics.http_requests_in_flight, &route);
        metrics.database_connections.get_or_create(&ConnectionState { state: "open" }).set(1);
        metrics.database_query_duration.get_or_create(&Query { operation: "select", table: "clusters" }).observe(0.1);
        let key = CacheKey { cache_type: "memory", key_pattern: "cluster" };
        metrics.cache_hits.get_or_create(&key).inc();
        metrics.cache_misses.get_or_create(&key).inc();
        metrics.cache_operations.get_or_create(&CacheOperation { operation: "get", cache_type: "memory" }).inc();
        let beat = ClusterHeartbeat { cluster_id: "1".into(), status: "healthy".into() };
        metrics.agent_heartbeats.get_or_create(&beat).inc();
        metrics.replace_clusters(&[sample("1"), sample("2")]);
        let text = metrics.render();
        for line in [
            "mckmt_http_requests_total{method=\"GET\",endpoint=\"/api/v1/clusters/{id}\",status_code=\"200\"} 1",
            "roadstead_http_requests_total{method=\"GET\",endpoint=\"/api/v1/clusters/{id}\",status_code=\"200\"} 1",
            "mckmt_http_request_duration_seconds_count{method=\"GET\",endpoint=\"/api/v1/clusters/{id}\"} 1",
            "mckmt_http_requests_in_flight{method=\"GET\",endpoint=\"/api/v1/clusters/{id}\"} 1",
            "mckmt_clusters_total{mode=\"agent\",status=\"connected\"} 2",
            "mckmt_cluster_status{cluster_id=\"1\",cluster_name=\"name-1\",mode=\"agent\"} 1",
            "mckmt_cluster_health_status{cluster_id=\"1\",cluster_name=\"name-1\",mode=\"agent\"} 1",
            "mckmt_cluster_last_seen_timestamp{cluster_id=\"1\",cluster_name=\"name-1\"} 1700000000",
            "mckmt_agents_connected{cluster_id=\"1\",agent_version=\"0.1.0\"} 1",
            "mckmt_agent_heartbeats_total{cluster_id=\"1\",status=\"healthy\"} 1",
            "mckmt_agent_last_heartbeat_timestamp{cluster_id=\"1\"} 1700000000",
            "mckmt_agent_heartbeat_timestamp{cluster_id=\"1\"} 1700000000",
            "mckmt_database_connections{state=\"open\"} 1",
            "mckmt_database_query_duration_seconds_count{operation=\"select\",table=\"clusters\"} 1",
            "mckmt_cache_hits_total{cache_type=\"memory\",key_pattern=\"cluster\"} 1",
            "mckmt_cache_misses_total{cache_type=\"memory\",key_pattern=\"cluster\"} 1",
            "mckmt_cache_operations_total{operation=\"get\",cache_type=\"memory\"} 1",
            "roadstead_build_info{",
            "process_resident_memory_bytes ",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        assert!(text.ends_with("# EOF\n") && text.matches("# EOF").count() == 1);
        drop(flight);
        assert!(
            metrics
                .render()
                .contains("mckmt_http_requests_in_flight{method=\"GET\",endpoint=\"/api/v1/clusters/{id}\"} 0")
        );
    }

    #[test]
    fn without_a_credential_no_cluster_is_named() {
        let metrics = Metrics::new();
        metrics.replace_clusters(&[sample("1")]);
        let text = metrics.render_public();
        assert!(!text.contains("cluster_id") && !text.contains("name-1"), "{text}");
        assert!(text.contains("mckmt_clusters_total{mode=\"agent\",status=\"connected\"} 1"));
    }

    #[test]
    fn a_removed_cluster_leaves_nothing_behind() {
        let metrics = Metrics::new();
        metrics.replace_clusters(&[sample("1")]);
        metrics.replace_clusters(&[sample("2")]);
        assert!(!metrics.render().contains("name-1"));
    }
}
