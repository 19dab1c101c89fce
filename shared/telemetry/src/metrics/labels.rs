//! Label sets. Each has a bounded number of values: route templates, codes, queue names; never a path as sent.

use prometheus_client::encoding::EncodeLabelSet;

macro_rules! labels {
    ($($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty,)* })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
        pub struct $name { $(#[doc = concat!("Label `", stringify!($field), "`.")] pub $field: $type,)* }
    )*};
}

labels! {
    /// An answered request.
    HttpAnswer { method: &'static str, endpoint: String, status_code: u16, }
    /// A route.
    HttpRoute { method: &'static str, endpoint: String, }
    /// Clusters by how they are reached and how they are.
    ClusterState { mode: String, status: String, }
    /// A cluster and how it is reached.
    ClusterMode { cluster_id: String, cluster_name: String, mode: String, }
    /// A cluster.
    ClusterName { cluster_id: String, cluster_name: String, }
    /// A cluster's id.
    ClusterOnly { cluster_id: String, }
    /// A cluster and its agent's version.
    ClusterAgent { cluster_id: String, agent_version: String, }
    /// A cluster and the state its heartbeat gave.
    ClusterHeartbeat { cluster_id: String, status: String, }
    /// State of pooled connections: `open`, `idle`, `in_use`.
    ConnectionState { state: &'static str, }
    /// A database call.
    Query { operation: &'static str, table: &'static str, }
    /// A cache and its kind of keys.
    CacheKey { cache_type: &'static str, key_pattern: &'static str, }
    /// A cache operation.
    CacheOperation { operation: &'static str, cache_type: &'static str, }
    /// An operation of a cluster: its kind and how it ended, in seed 000's words.
    ClusterOperation { cluster_id: String, r#type: &'static str, status: &'static str, }
    /// A message on the bus, by its kind.
    BusMessage { kind: &'static str, direction: &'static str, outcome: &'static str, }
    /// A question asked over a queue.
    BusRequest { kind: &'static str, }
    /// A message that was put aside.
    DeadLetter { reason: &'static str, }
    /// A credential that was looked at.
    Authentication { credential: &'static str, outcome: &'static str, }
    /// A receiver of the audit trail.
    AuditSink { sink: &'static str, }
    /// A quota's class.
    QuotaClass { class: &'static str, }
    /// One direction of the tunnel.
    Direction { direction: &'static str, }
    /// What happened, in one word.
    Outcome { outcome: &'static str, }
    /// A task.
    Task { task: &'static str, }
    /// What was built.
    Build { version: &'static str, commit: &'static str, }
}
