//! Shapes of KubeSage's configuration service (seed 004, `/kubeconfig/*`), and the events that its peers read.
//! Times are RFC 3339 with whole seconds, ids are integers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What stands for a secret that is kept and not shown: the seed showed it.
pub const HIDDEN: &str = "***";
/// Address of a cluster whose agent dials in.
pub const IN_CLUSTER: &str = "in-cluster";

/// A cluster in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterEntry {
    /// Integer number.
    pub id: i64,
    /// Name.
    pub cluster_name: String,
    /// Address of its API, or [`IN_CLUSTER`].
    pub server_url: String,
    /// kubeconfig context.
    pub context_name: Option<String>,
    /// Provider.
    pub provider_name: String,
    /// Tags.
    pub tags: Vec<String>,
    /// As sent.
    pub use_secure_tls: bool,
    /// Always false: there is no operator to install.
    pub is_operator_installed: bool,
    /// When it was made.
    pub created_at: String,
    /// When it was last changed.
    pub updated_at: String,
}

/// `GET /kubeconfig/clusters`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterList {
    /// Newest first.
    pub clusters: Vec<ClusterEntry>,
}

/// `POST /kubeconfig/onboard-cluster`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OnboardedCluster {
    /// As in a list.
    #[serde(flatten)]
    pub cluster: ClusterEntry,
    /// As sent; nothing without `use_secure_tls`.
    pub ca_data: Option<String>,
    /// [`HIDDEN`] when there is one.
    pub tls_key: Option<String>,
    /// As sent; nothing without `use_secure_tls`.
    pub tls_cert: Option<String>,
    /// Integer number of the owner.
    pub user_id: i64,
    /// `Cluster onboarded successfully`.
    pub message: String,
}

/// `POST /kubeconfig/select-cluster-and-get-namespaces/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SelectedCluster {
    /// Always true: the other answer is [`UnreachedCluster`].
    pub success: bool,
    /// Always true.
    pub namespaces_retrieved: bool,
    /// The cluster.
    pub cluster_info: ClusterEntry,
    /// Names.
    pub namespaces: Vec<String>,
    /// How many.
    pub namespace_count: usize,
    /// A sentence.
    pub message: String,
}

/// The same when the cluster did not answer: still status 200.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnreachedCluster {
    /// Always false.
    pub success: bool,
    /// Always false.
    pub namespaces_retrieved: bool,
    /// The cluster, in short.
    pub cluster_info: ShortCluster,
    /// Empty.
    pub namespaces: Vec<String>,
    /// `Failed to retrieve namespaces: …`.
    pub error: String,
    /// A sentence.
    pub message: String,
}

/// A cluster in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShortCluster {
    /// Integer number.
    pub id: i64,
    /// Name.
    pub cluster_name: String,
    /// Address of its API.
    pub server_url: String,
    /// Provider.
    pub provider_name: String,
}

/// A cluster in short, where its number is called by another name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterPlace {
    /// Integer number.
    pub cluster_id: i64,
    /// Name.
    pub cluster_name: String,
    /// Address of its API.
    pub server_url: String,
    /// Provider.
    pub provider_name: String,
}

/// `GET /kubeconfig/get-namespaces/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterNamespaces {
    /// Always true: failures have an error body.
    pub success: bool,
    /// Which cluster.
    #[serde(flatten)]
    pub cluster: ClusterPlace,
    /// kubeconfig context.
    pub context_name: Option<String>,
    /// As sent.
    pub use_secure_tls: bool,
    /// How many.
    pub namespace_count: usize,
    /// Names.
    pub namespaces: Vec<String>,
    /// When.
    pub retrieved_at: String,
}

/// `GET /kubeconfig/cluster/{name}/credentials`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialsAnswer {
    /// Always true.
    pub success: bool,
    /// `Cluster credentials retrieved successfully`.
    pub message: String,
    /// How the cluster is reached.
    pub cluster: ClusterCredentials,
}

/// How a cluster is reached, without what is secret of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterCredentials {
    /// Which cluster.
    #[serde(flatten)]
    pub cluster: ClusterPlace,
    /// [`HIDDEN`].
    pub token: String,
    /// kubeconfig context.
    pub context_name: Option<String>,
    /// As sent.
    pub use_secure_tls: bool,
    /// Nothing without `use_secure_tls`.
    pub tls_config: Option<TlsConfig>,
    /// Always false.
    pub is_operator_installed: bool,
    /// Tags.
    pub tags: Vec<String>,
    /// When it was made.
    pub created_at: String,
    /// When it was last changed.
    pub updated_at: String,
}

/// TLS to a cluster: sealed with its token, so each is [`HIDDEN`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsConfig {
    /// Authority.
    pub ca_data: Option<String>,
    /// Client certificate.
    pub tls_cert: Option<String>,
    /// Its key.
    pub tls_key: Option<String>,
}

/// `POST /kubeconfig/execute-kubectl-direct/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecutedCommand {
    /// Whether it worked.
    pub success: bool,
    /// What it printed.
    pub output: String,
    /// Whether there was more of it. Ours: said only where it is so.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
    /// Why it failed.
    pub error: Option<String>,
    /// As carried out, with where it went; never a credential.
    pub command: String,
    /// 0, 1, or -1 when it took too long.
    pub return_code: i32,
    /// The cluster.
    pub cluster_info: ClusterPlace,
    /// When.
    pub executed_at: String,
    /// `direct`.
    pub execution_method: String,
}

/// Nodes by their state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeCounts {
    /// Ready.
    pub ready: u64,
    /// Not.
    pub not_ready: u64,
    /// In all.
    pub total: u64,
}

/// `GET /kubeconfig/nodes/status/all-clusters`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodesStatus {
    /// By name of the cluster.
    pub clusters: BTreeMap<String, NodeCounts>,
    /// Together.
    pub totals: NodeCounts,
}

/// Body on the queue `cluster_events`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterEvent {
    /// What, and what belongs to it.
    #[serde(flatten)]
    pub deed: ClusterDeed,
    /// Integer number of the account.
    pub user_id: i64,
    /// Its name.
    pub username: String,
    /// UTC without a zone: the peers read it with a parser that takes none.
    pub timestamp: String,
    /// Integer number of the cluster.
    pub cluster_id: i64,
    /// Its name.
    pub cluster_name: String,
}

/// What happened to a cluster, in the words of the seed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event_type", rename_all = "snake_case")]
pub enum ClusterDeed {
    /// It was added.
    ClusterOnboarded {
        /// Where.
        server_url: String,
        /// Provider.
        provider_name: String,
        /// As sent.
        use_secure_tls: bool,
    },
    /// It was removed.
    ClusterDeleted {},
    /// It was selected and its namespaces listed.
    ClusterSelectedAndNamespacesRetrieved {
        /// How many.
        namespace_count: usize,
    },
    /// Its namespaces were listed.
    NamespacesRetrievedByClusterId {
        /// How many.
        namespace_count: usize,
        /// How.
        method: String,
    },
    /// They could not be.
    NamespacesRetrievalFailedByClusterId {
        /// Why.
        error: String,
        /// How.
        method: String,
    },
    /// Somebody looked how it is reached.
    ClusterCredentialsAccessed {
        /// Where.
        server_url: String,
    },
    /// A command was carried out.
    KubectlCommandExecuted {
        /// The command, never a credential.
        command: String,
        /// Whether it worked.
        success: bool,
        /// Its code.
        return_code: i32,
    },
    /// Its workloads were listed.
    WorkloadsAccessed {
        /// Where.
        namespace: String,
        /// How many of each kind.
        workload_counts: BTreeMap<String, usize>,
    },
}
