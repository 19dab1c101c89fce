//! The queues: their names, and how each is declared.

/// How a queue is declared and used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum QueueKind {
    /// Exactly as the peers of the seeds declare it: durable, no arguments. Carries look-ups; expiry per message.
    Seed,
    /// Declared as [`QueueKind::Seed`], because peers of the seeds declare it too, and carries changes: confirmed,
    /// acknowledged after the effect is stored, dead-lettered by publishing again.
    SeedChange,
    /// Durable classic queue; the caller's deadline is the message's TTL.
    Lookup,
    /// Quorum queue with a delivery limit and a dead-letter queue `<name>.dead`; confirmed, acknowledged after the effect.
    Change,
}

impl QueueKind {
    /// Whether its messages change something.
    pub fn carries_changes(self) -> bool {
        matches!(self, Self::SeedChange | Self::Change)
    }
}

/// A queue of the mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Queue {
    /// Name on the broker; requests go here.
    pub requests: &'static str,
    /// Where a peer of the seeds, which names no reply queue, gets its answer.
    pub results: &'static str,
    /// How it is declared.
    pub kind: QueueKind,
}

/// Who is asking? Consumed by `user`.
pub const CLUSTER_AUTH: Queue =
    Queue { requests: "cluster_auth_requests", results: "cluster_auth_results", kind: QueueKind::Seed };
/// Namespaces of a cluster. Consumed by `onboarding`.
pub const CLUSTER_NAMESPACE: Queue =
    Queue { requests: "cluster_namespace_requests", results: "cluster_namespace_results", kind: QueueKind::Seed };
/// Reads of the registry of clusters, agents and join tokens. Consumed by `onboarding`.
pub const CLUSTER_REGISTRY: Queue =
    Queue { requests: "cluster_registry_requests", results: "cluster_registry_results", kind: QueueKind::Lookup };
/// Changes of that registry. Consumed by `onboarding`.
pub const CLUSTER_REGISTRY_CHANGE: Queue = Queue {
    requests: "cluster_registry_change_requests",
    results: "cluster_registry_change_results",
    kind: QueueKind::Change,
};
/// Signed identities and their keys. Consumed by `user`.
pub const IDENTITY: Queue =
    Queue { requests: "identity_requests", results: "identity_results", kind: QueueKind::Lookup };
/// Grants of clusters to accounts. Consumed by `user`.
pub const GRANT_CHANGE: Queue =
    Queue { requests: "grant_change_requests", results: "grant_change_results", kind: QueueKind::Change };
/// Records of the audit trail. Consumed by `user`.
pub const AUDIT_RECORD: Queue =
    Queue { requests: "audit_record_requests", results: "audit_record_results", kind: QueueKind::Change };
/// Manifests to apply. Consumed by `operations`.
pub const CLUSTER_MANIFEST: Queue =
    Queue { requests: "cluster_manifest_requests", results: "cluster_manifest_results", kind: QueueKind::SeedChange };
/// Operations to cancel. Consumed by `operations`.
pub const CLUSTER_CANCELLATION: Queue = Queue {
    requests: "cluster_cancellation_requests",
    results: "cluster_cancellation_results",
    kind: QueueKind::SeedChange,
};

/// Reads of operations and rollouts. Consumed by `operations`.
pub const OPERATION: Queue =
    Queue { requests: "operation_requests", results: "operation_results", kind: QueueKind::Lookup };
/// Retries, undos, rollouts. Consumed by `operations`.
pub const OPERATION_CHANGE: Queue =
    Queue { requests: "operation_change_requests", results: "operation_change_results", kind: QueueKind::Change };

/// Every shared queue. Each replica has one more of its own for forwarded requests, named by its service and id.
pub const ALL: [Queue; 11] = [
    CLUSTER_AUTH,
    CLUSTER_NAMESPACE,
    CLUSTER_REGISTRY,
    CLUSTER_REGISTRY_CHANGE,
    IDENTITY,
    GRANT_CHANGE,
    AUDIT_RECORD,
    CLUSTER_MANIFEST,
    CLUSTER_CANCELLATION,
    OPERATION,
    OPERATION_CHANGE,
];

/// The queues on which peers of the seeds may ask without a reply queue and without our signature.
pub const OPEN_TO_PEERS: [Queue; 4] = [CLUSTER_AUTH, CLUSTER_NAMESPACE, CLUSTER_MANIFEST, CLUSTER_CANCELLATION];

/// Where peers of the seeds read what was done to clusters. Theirs: they declare it, the hub only puts messages there.
pub const CLUSTER_EVENTS: &str = "cluster_events";

/// The topic exchange on which events fan out.
pub const EVENTS_EXCHANGE: &str = "roadstead.events";
