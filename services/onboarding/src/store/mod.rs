//! The service's SQL. One trait for each noun, one body for both databases.
//!
//! `$1` of every query that shows connections is the cutoff: an agent counts as connected when its replica was seen after
//! it. Ids inside JSON parameters are 32 hex digits, which both databases read as a UUID.

mod agents;
mod clusters;
mod connections;
mod enrol;
mod locate;
mod presence;
mod receipts;
mod recordings;
mod rows;
mod tokens;

#[cfg(test)]
mod tests;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use roadstead_contracts::ids::{AgentId, ClusterId, JoinTokenId, RecordingId, ReplicaId, UserId};
use roadstead_contracts::message::{
    Cluster, ClusterCount, ClusterMode, ConnectionLimits, NewJoinToken, RightsProfile, SeedClusterDetails,
};
use roadstead_contracts::names::{ClusterName, Labels, Namespace};
use roadstead_contracts::policy::ClusterFacts;
use roadstead_store::{Receipts, Result, Window};

use crate::domain::{AgentKind, AgentRecord, ClusterRecord, ClusterRef, TokenRecord, View, Whereabouts};

pub(crate) use enrol::{EnrolOutcome, Enrolment};
pub(crate) use presence::{Batch, Beat};
pub(crate) use roadstead_store::Change;

/// A cluster to make.
#[derive(Debug, Clone)]
pub(crate) struct NewCluster {
    pub id: ClusterId,
    pub name: ClusterName,
    pub description: String,
    pub labels: Labels,
    pub mode: ClusterMode,
    pub owner_id: UserId,
    pub owner_seq: i64,
    pub details: Option<SeedClusterDetails>,
}

/// A join token to make.
#[derive(Debug, Clone)]
pub(crate) struct NewToken {
    pub token: NewJoinToken,
    pub cluster_id: Option<ClusterId>,
    pub owner_id: UserId,
    pub owner_seq: i64,
    pub expires_at: DateTime<Utc>,
}

/// What to change of a cluster.
#[derive(Debug, Clone, Default)]
pub(crate) struct ClusterPatch {
    pub name: Option<ClusterName>,
    pub description: Option<String>,
    pub labels: Option<Labels>,
}

/// An agent to make without enrolment: of the seeds, or hosted.
#[derive(Debug, Clone)]
pub(crate) struct NewAgent {
    pub id: AgentId,
    pub cluster_id: Option<ClusterId>,
    pub owner_id: UserId,
    pub kind: AgentKind,
    pub profile: RightsProfile,
}

/// How a cluster is reached, its credentials sealed.
#[derive(Debug, Clone)]
pub(crate) struct NewConnection {
    pub agent: AgentId,
    /// Where, for people.
    pub endpoint: String,
    pub limits: ConnectionLimits,
    pub sealed: String,
}

/// What the hub's roles may do in a cluster that is reached this way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Rights {
    pub profile: RightsProfile,
    /// Of the profile `namespaced`.
    pub namespaces: Vec<Namespace>,
}

/// A connection as it is kept.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    pub agent: AgentId,
    pub limits: ConnectionLimits,
    pub sealed: String,
    pub rights: Rights,
    /// Rises with each new credential.
    pub revision: i64,
}

/// A cluster that this replica hosts now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Leased {
    pub cluster: ClusterId,
    pub agent: AgentId,
    pub revision: i64,
}

/// A recording to begin.
#[derive(Debug, Clone)]
pub(crate) struct NewRecording {
    pub id: RecordingId,
    pub user: UserId,
    pub cluster: ClusterId,
    pub request_id: String,
    /// Who, where and which command, sealed.
    pub facts: String,
    /// The first part, sealed.
    pub lines: String,
    pub at: DateTime<Utc>,
}

/// A recording as it is kept.
#[derive(Debug, Clone)]
pub(crate) struct KeptRecording {
    pub seq: i64,
    pub id: RecordingId,
    pub user: UserId,
    pub request_id: String,
    pub facts: String,
    pub bytes: u64,
    pub started_at: DateTime<Utc>,
    pub ended_at: Option<DateTime<Utc>>,
}

#[async_trait]
pub(crate) trait ConnectionStore: Send + Sync {
    /// Makes a cluster with its hosted agent. A taken name is a conflict of `clusters_name_key`.
    async fn connect_cluster(
        &self,
        new: &NewCluster,
        connection: &NewConnection,
        rights: &Rights,
        change: &Change,
    ) -> Result<ClusterRecord>;
    /// Other credentials for one; `None`: it is not reached this way.
    async fn reconnect_cluster(
        &self,
        cluster: ClusterId,
        connection: &NewConnection,
        cutoff: DateTime<Utc>,
        change: &Change,
    ) -> Result<Option<ClusterRecord>>;
    async fn connection(&self, cluster: ClusterId) -> Result<Option<Kept>>;
    /// Renews what a replica holds and takes up to `most` that nobody holds; answers all that it holds now, for
    /// `until - now`.
    async fn lease_connections(
        &self,
        replica: ReplicaId,
        now: DateTime<Utc>,
        until: DateTime<Utc>,
        most: i64,
    ) -> Result<Vec<Leased>>;
    /// A replica stops: whoever comes first may take them.
    async fn let_connections_go(&self, replica: ReplicaId) -> Result<()>;
}

#[async_trait]
pub(crate) trait RecordingStore: Send + Sync {
    async fn begin_recording(&self, new: &NewRecording) -> Result<()>;
    /// Adds a part; `false`: the recording is gone.
    async fn add_recording_part(&self, id: RecordingId, part: u32, lines: &str, bytes: u64) -> Result<bool>;
    async fn end_recording(&self, id: RecordingId, at: DateTime<Utc>) -> Result<()>;
    /// Recordings of one account, or of all, newest first.
    async fn list_recordings(&self, user: Option<UserId>, window: Window) -> Result<(Vec<KeptRecording>, u64)>;
    async fn find_recording(&self, id: RecordingId) -> Result<Option<KeptRecording>>;
    /// A sealed part, and whether there is one after it.
    async fn recording_part(&self, id: RecordingId, part: u32) -> Result<Option<(String, bool)>>;
    /// Forgets recordings that began before, and the oldest beyond so many; answers how many.
    async fn prune_recordings(&self, before: DateTime<Utc>, most: i64) -> Result<u64>;
}

#[async_trait]
pub(crate) trait ClusterStore: Send + Sync {
    async fn list_clusters(
        &self,
        view: &View,
        labels: &Labels,
        window: Window,
        cutoff: DateTime<Utc>,
    ) -> Result<(Vec<ClusterRecord>, u64)>;
    async fn find_cluster(&self, by: &ClusterRef, cutoff: DateTime<Utc>) -> Result<Option<ClusterRecord>>;
    /// A taken name is a conflict of `clusters_name_key`.
    async fn create_cluster(
        &self,
        new: &NewCluster,
        token: Option<&NewToken>,
        change: &Change,
    ) -> Result<ClusterRecord>;
    async fn update_cluster(
        &self,
        id: ClusterId,
        patch: &ClusterPatch,
        cutoff: DateTime<Utc>,
        change: &Change,
    ) -> Result<Option<ClusterRecord>>;
    /// Removes it with its agents and tokens; answers the agents. `None`: it was gone already.
    async fn delete_cluster(&self, shown: &Cluster, change: &Change) -> Result<Option<Vec<AgentId>>>;
    /// What rules look at of every cluster, as many as there may be.
    async fn policy_facts(&self) -> Result<Vec<ClusterFacts>>;
    async fn count_clusters(&self, cutoff: DateTime<Utc>) -> Result<Vec<ClusterCount>>;
}

#[async_trait]
pub(crate) trait TokenStore: Send + Sync {
    async fn list_tokens(&self, view: &View, window: Window) -> Result<(Vec<(i64, TokenRecord)>, u64)>;
    async fn find_token(&self, id: JoinTokenId) -> Result<Option<TokenRecord>>;
    async fn create_token(&self, new: &NewToken, change: &Change) -> Result<TokenRecord>;
    async fn revoke_token(&self, id: JoinTokenId, change: &Change) -> Result<Option<TokenRecord>>;
}

#[async_trait]
pub(crate) trait EnrolStore: Send + Sync {
    /// Spends a use and registers the key, or does nothing at all.
    async fn enrol(&self, enrolment: &Enrolment, change: &Change) -> Result<EnrolOutcome>;
}

#[async_trait]
pub(crate) trait AgentStore: Send + Sync {
    async fn list_agents(
        &self,
        view: &View,
        connected_only: bool,
        window: Window,
        cutoff: DateTime<Utc>,
    ) -> Result<(Vec<(i64, AgentRecord)>, u64)>;
    async fn find_agent(&self, id: AgentId, cutoff: DateTime<Utc>) -> Result<Option<AgentRecord>>;
    /// The connected agent of a cluster, or the one that was there last.
    async fn active_agent(&self, cluster: ClusterId, cutoff: DateTime<Utc>) -> Result<Option<AgentRecord>>;
    async fn create_agent(&self, new: &NewAgent, change: &Change) -> Result<AgentRecord>;
    /// Makes a cluster for an agent of the seeds that has none.
    async fn onboard(&self, agent: AgentId, new: &NewCluster, change: &Change) -> Result<ClusterRecord>;
    /// Stores what an agent of the seeds says about the cluster that it has.
    async fn describe(
        &self,
        cluster: ClusterId,
        details: &SeedClusterDetails,
        cutoff: DateTime<Utc>,
        change: &Change,
    ) -> Result<Option<ClusterRecord>>;
    async fn revoke_agent(&self, id: AgentId, change: &Change) -> Result<Option<AgentRecord>>;
}

#[async_trait]
pub(crate) trait PresenceStore: Send + Sync {
    /// Disconnects, connects and heartbeats in one transaction; answers the epochs of those that are connected now.
    /// Agents that are unknown or revoked are missing from the answer.
    async fn apply(&self, batch: &Batch, replica: ReplicaId, change: &Change) -> Result<Vec<(AgentId, i64)>>;
    /// Says that a replica is alive; answers the database's time.
    async fn see_replica(&self, replica: ReplicaId, address: Option<&str>, now: DateTime<Utc>)
    -> Result<DateTime<Utc>>;
    /// Takes sessions back after the database was away; answers those that are still this replica's.
    async fn reclaim(&self, sessions: &[(AgentId, i64)], replica: ReplicaId) -> Result<Vec<AgentId>>;
    /// Disconnects the agents of replicas that are gone, and forgets old receipts; answers how many agents.
    async fn sweep(&self, cutoff: DateTime<Utc>, receipts_before: DateTime<Utc>, change: &Change) -> Result<usize>;
    /// Takes a replica out, with its agents: it stops.
    async fn leave(&self, replica: ReplicaId, change: &Change) -> Result<usize>;
}

#[async_trait]
pub(crate) trait LocateStore: Send + Sync {
    /// Where the session of a cluster's agent is; `None` when the cluster has no agent that carries streams.
    async fn locate(&self, cluster: ClusterId, cutoff: DateTime<Utc>) -> Result<Option<Whereabouts>>;
}

/// Everything the service stores.
pub(crate) trait Store:
    ClusterStore
    + TokenStore
    + EnrolStore
    + AgentStore
    + PresenceStore
    + LocateStore
    + Receipts
    + ConnectionStore
    + RecordingStore
{
}

impl<T> Store for T where
    T: ClusterStore
        + TokenStore
        + EnrolStore
        + AgentStore
        + PresenceStore
        + LocateStore
        + Receipts
        + ConnectionStore
        + RecordingStore
{
}

/// Ids of one kind as a JSON list.
fn hex_list<T: roadstead_contracts::ids::TypedId>(ids: impl IntoIterator<Item = T>) -> Vec<String> {
    ids.into_iter().map(|id| id.uuid().simple().to_string()).collect()
}
