//! Who is connected where.

use chrono::{DateTime, Utc};
use roadstead_contracts::event::{Event, Fact};
use roadstead_contracts::ids::{AgentId, ClusterId, ReplicaId, TypedId as _};
use roadstead_contracts::message::ClusterFacts;
use roadstead_store::sqlx;
use roadstead_store::sqlx::types::Json;
use roadstead_store::{Dialect as _, Result};
use serde::Serialize;
use uuid::Uuid;

use super::{Change, PresenceStore, hex_list};

/// Changes of presence that are committed together.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// Agents that went away, with the epoch that ended.
    pub disconnects: Vec<(AgentId, i64)>,
    /// Agents that came; each at most once.
    pub connects: Vec<AgentId>,
    /// Heartbeats; each agent at most once.
    pub beats: Vec<Beat>,
}

/// A heartbeat to store.
#[derive(Debug, Clone)]
pub(crate) struct Beat {
    pub agent: AgentId,
    pub cluster: Option<ClusterId>,
    pub at: DateTime<Utc>,
    /// `None`: the same as before.
    pub facts: Option<ClusterFacts>,
}

#[derive(Serialize)]
struct EpochRow {
    id: String,
    epoch: i64,
}

#[derive(Serialize)]
struct BeatRow {
    agent: String,
    cluster: String,
    /// As text that both databases order and keep alike.
    at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    facts: Option<ClusterFacts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
}

impl BeatRow {
    fn of(beat: &Beat) -> Self {
        Self {
            agent: beat.agent.uuid().simple().to_string(),
            cluster: beat.cluster.map(|id| id.uuid().simple().to_string()).unwrap_or_default(),
            at: beat.at.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, false),
            version: beat.facts.as_ref().and_then(|facts| facts.agent_version.clone()),
            facts: beat.facts.clone(),
        }
    }
}

fn epoch_rows(rows: &[(AgentId, i64)]) -> Vec<EpochRow> {
    rows.iter().map(|(agent, epoch)| EpochRow { id: agent.uuid().simple().to_string(), epoch: *epoch }).collect()
}

const DISCONNECT_POSTGRES: &str = "UPDATE agents SET connected_replica = NULL, last_seen_at = $3
    FROM jsonb_to_recordset($1) AS gone (id uuid, epoch bigint)
    WHERE agents.id = gone.id AND agents.epoch = gone.epoch AND agents.connected_replica = $2
    RETURNING agents.id, agents.cluster_id";
const DISCONNECT_SQLITE: &str = "UPDATE agents SET connected_replica = NULL, last_seen_at = $3
    FROM (SELECT unhex(value ->> 'id') AS id, value ->> 'epoch' AS epoch FROM json_each($1)) AS gone
    WHERE agents.id = gone.id AND agents.epoch = gone.epoch AND agents.connected_replica = $2
    RETURNING id, cluster_id";
const CONNECT_POSTGRES: &str =
    "UPDATE agents SET epoch = epoch + 1, connected_replica = $2, connected_at = $3, last_seen_at = $3
    WHERE id IN (SELECT value::uuid FROM jsonb_array_elements_text($1)) AND revoked_at IS NULL
    RETURNING id, cluster_id, epoch";
const CONNECT_SQLITE: &str =
    "UPDATE agents SET epoch = epoch + 1, connected_replica = $2, connected_at = $3, last_seen_at = $3
    WHERE id IN (SELECT unhex(value) FROM json_each($1)) AND revoked_at IS NULL
    RETURNING id, cluster_id, epoch";
const SEEN_POSTGRES: &str = "UPDATE clusters SET last_seen_at = $2
    WHERE id IN (SELECT value::uuid FROM jsonb_array_elements_text($1))";
const SEEN_SQLITE: &str = "UPDATE clusters SET last_seen_at = $2 WHERE id IN (SELECT unhex(value) FROM json_each($1))";
const BEAT_CLUSTERS_POSTGRES: &str =
    "UPDATE clusters SET last_seen_at = beat.at, facts = COALESCE(beat.facts, clusters.facts)
    FROM jsonb_to_recordset($1) AS beat (cluster text, at timestamptz, facts jsonb)
    WHERE beat.cluster <> '' AND clusters.id = beat.cluster::uuid";
const BEAT_CLUSTERS_SQLITE: &str = "UPDATE clusters SET last_seen_at = beat.at, facts = COALESCE(beat.facts, clusters.facts)
    FROM (SELECT unhex(value ->> 'cluster') AS cluster, value ->> 'at' AS at, value -> 'facts' AS facts FROM json_each($1)) AS beat
    WHERE clusters.id = beat.cluster";
const BEAT_AGENTS_POSTGRES: &str =
    "UPDATE agents SET last_seen_at = beat.at, version = COALESCE(beat.version, agents.version)
    FROM jsonb_to_recordset($1) AS beat (agent uuid, at timestamptz, version text) WHERE agents.id = beat.agent";
const BEAT_AGENTS_SQLITE: &str = "UPDATE agents SET last_seen_at = beat.at, version = COALESCE(beat.version, agents.version)
    FROM (SELECT unhex(value ->> 'agent') AS agent, value ->> 'at' AS at, value ->> 'version' AS version FROM json_each($1)) AS beat
    WHERE agents.id = beat.agent";
const EVENTS_POSTGRES: &str = "INSERT INTO outbox (event, created_at) SELECT value, $2 FROM jsonb_array_elements($1)";
const EVENTS_SQLITE: &str = "INSERT INTO outbox (event, created_at) SELECT value, $2 FROM json_each($1)";
// Leases go by the database's clock, because replicas' clocks may be apart (reliability row F14).
const SEE_POSTGRES: &str =
    "INSERT INTO replicas (id, seen_at, address) VALUES ($1, COALESCE(clock_timestamp(), $2), $3)
    ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at, address = excluded.address RETURNING seen_at";
const SEE_SQLITE: &str = "INSERT INTO replicas (id, seen_at, address) VALUES ($1, $2, $3)
    ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at, address = excluded.address RETURNING seen_at";
const RECLAIM_POSTGRES: &str = "UPDATE agents SET connected_replica = $2
    FROM jsonb_to_recordset($1) AS mine (id uuid, epoch bigint)
    WHERE agents.id = mine.id AND agents.epoch = mine.epoch AND agents.revoked_at IS NULL RETURNING agents.id";
const RECLAIM_SQLITE: &str = "UPDATE agents SET connected_replica = $2
    FROM (SELECT unhex(value ->> 'id') AS id, value ->> 'epoch' AS epoch FROM json_each($1)) AS mine
    WHERE agents.id = mine.id AND agents.epoch = mine.epoch AND agents.revoked_at IS NULL RETURNING id";
const SWEEP: &str = "UPDATE agents SET connected_replica = NULL
    WHERE connected_replica IS NOT NULL AND NOT EXISTS
        (SELECT 1 FROM replicas r WHERE r.id = agents.connected_replica AND r.seen_at > $1)
    RETURNING id, cluster_id";
const LEAVE: &str = "UPDATE agents SET connected_replica = NULL WHERE connected_replica = $1 RETURNING id, cluster_id";

type Gone = (Uuid, Option<Uuid>);

fn gone_events(gone: &[Gone], change: &Change) -> Vec<Event> {
    gone.iter()
        .filter_map(|(agent, cluster)| {
            let (cluster_id, agent_id) = (ClusterId::from_uuid((*cluster)?), AgentId::from_uuid(*agent).to_string());
            Some(change.event(Fact::AgentDisconnected { cluster_id, agent_id }))
        })
        .collect()
}

roadstead_store::for_pools! {
    impl PresenceStore for [PgPool, SqlitePool] {
        async fn apply(&self, batch: &Batch, replica: ReplicaId, change: &Change) -> Result<Vec<(AgentId, i64)>> {
            let mut events = Vec::new();
            let mut connected = Vec::new();
            let mut tx = self.begin_write().await?;
            if !batch.disconnects.is_empty() {
                let gone: Vec<Gone> = sqlx::query_as(Self::pick(DISCONNECT_POSTGRES, DISCONNECT_SQLITE))
                    .bind(Json(epoch_rows(&batch.disconnects)))
                    .bind(replica.uuid())
                    .bind(change.at)
                    .fetch_all(&mut *tx)
                    .await?;
                events.extend(gone_events(&gone, change));
            }
            if !batch.connects.is_empty() {
                let came: Vec<(Uuid, Option<Uuid>, i64)> = sqlx::query_as(Self::pick(CONNECT_POSTGRES, CONNECT_SQLITE))
                    .bind(Json(hex_list(batch.connects.iter().copied())))
                    .bind(replica.uuid())
                    .bind(change.at)
                    .fetch_all(&mut *tx)
                    .await?;
                let mut clusters = Vec::with_capacity(came.len());
                for (agent, cluster, epoch) in came {
                    let agent = AgentId::from_uuid(agent);
                    connected.push((agent, epoch));
                    if let Some(cluster) = cluster {
                        clusters.push(ClusterId::from_uuid(cluster));
                        events.push(change.event(Fact::AgentConnected {
                            cluster_id: ClusterId::from_uuid(cluster),
                            agent_id: agent.to_string(),
                        }));
                    }
                }
                sqlx::query(Self::pick(SEEN_POSTGRES, SEEN_SQLITE))
                    .bind(Json(hex_list(clusters)))
                    .bind(change.at)
                    .execute(&mut *tx)
                    .await?;
            }
            if !batch.beats.is_empty() {
                let rows: Vec<BeatRow> = batch.beats.iter().map(BeatRow::of).collect();
                for sql in [
                    Self::pick(BEAT_CLUSTERS_POSTGRES, BEAT_CLUSTERS_SQLITE),
                    Self::pick(BEAT_AGENTS_POSTGRES, BEAT_AGENTS_SQLITE),
                ] {
                    sqlx::query(sql).bind(Json(&rows)).execute(&mut *tx).await?;
                }
            }
            if !events.is_empty() {
                sqlx::query(Self::pick(EVENTS_POSTGRES, EVENTS_SQLITE))
                    .bind(Json(&events))
                    .bind(change.at)
                    .execute(&mut *tx)
                    .await?;
            }
            tx.commit().await?;
            Ok(connected)
        }

        async fn see_replica(&self, replica: ReplicaId, address: Option<&str>, now: DateTime<Utc>) -> Result<DateTime<Utc>> {
            let mut tx = self.begin_write().await?;
            let seen = sqlx::query_scalar(Self::pick(SEE_POSTGRES, SEE_SQLITE))
                .bind(replica.uuid())
                .bind(now)
                .bind(address)
                .fetch_one(&mut *tx)
                .await?;
            tx.commit().await?;
            Ok(seen)
        }

        async fn reclaim(&self, sessions: &[(AgentId, i64)], replica: ReplicaId) -> Result<Vec<AgentId>> {
            let mut tx = self.begin_write().await?;
            let mine: Vec<Uuid> = sqlx::query_scalar(Self::pick(RECLAIM_POSTGRES, RECLAIM_SQLITE))
                .bind(Json(epoch_rows(sessions)))
                .bind(replica.uuid())
                .fetch_all(&mut *tx)
                .await?;
            tx.commit().await?;
            Ok(mine.into_iter().map(AgentId::from_uuid).collect())
        }

        async fn sweep(&self, cutoff: DateTime<Utc>, receipts_before: DateTime<Utc>, change: &Change) -> Result<usize> {
            let mut tx = self.begin_write().await?;
            let gone: Vec<Gone> = sqlx::query_as(SWEEP).bind(cutoff).fetch_all(&mut *tx).await?;
            sqlx::query("DELETE FROM replicas WHERE seen_at <= $1").bind(cutoff).execute(&mut *tx).await?;
            sqlx::query("DELETE FROM handled WHERE at <= $1").bind(receipts_before).execute(&mut *tx).await?;
            let events = gone_events(&gone, change);
            if !events.is_empty() {
                sqlx::query(Self::pick(EVENTS_POSTGRES, EVENTS_SQLITE)).bind(Json(&events)).bind(change.at).execute(&mut *tx).await?;
            }
            tx.commit().await?;
            Ok(gone.len())
        }

        async fn leave(&self, replica: ReplicaId, change: &Change) -> Result<usize> {
            let mut tx = self.begin_write().await?;
            let gone: Vec<Gone> = sqlx::query_as(LEAVE).bind(replica.uuid()).fetch_all(&mut *tx).await?;
            sqlx::query("DELETE FROM replicas WHERE id = $1").bind(replica.uuid()).execute(&mut *tx).await?;
            let events = gone_events(&gone, change);
            if !events.is_empty() {
                sqlx::query(Self::pick(EVENTS_POSTGRES, EVENTS_SQLITE)).bind(Json(&events)).bind(change.at).execute(&mut *tx).await?;
            }
            tx.commit().await?;
            Ok(gone.len())
        }
    }
}
