//! Where the session of a cluster's agent is.

use chrono::{DateTime, Utc};
use roadstead_contracts::ids::{AgentId, ClusterId, ReplicaId, TypedId as _};
use roadstead_store::sqlx;
use roadstead_store::{Dialect as _, Result};
use uuid::Uuid;

use super::LocateStore;
use crate::domain::Whereabouts;

/// Agents of the seeds carry commands only, no streams.
const LOCATE: &str = "SELECT a.id, a.epoch, a.last_seen_at, r.id, r.address FROM agents a
    LEFT JOIN replicas r ON r.id = a.connected_replica AND r.seen_at > $1
    WHERE a.cluster_id = $2 AND a.revoked_at IS NULL AND a.kind <> 'seed'
    ORDER BY (r.id IS NOT NULL) DESC, COALESCE(a.connected_at, a.created_at) DESC, a.seq DESC LIMIT 1";

type Row = (Uuid, i64, Option<DateTime<Utc>>, Option<Uuid>, Option<String>);

roadstead_store::for_pools! {
    impl LocateStore for [PgPool, SqlitePool] {
        async fn locate(&self, cluster: ClusterId, cutoff: DateTime<Utc>) -> Result<Option<Whereabouts>> {
            let row: Option<Row> = sqlx::query_as(Self::pick(LOCATE, LOCATE))
                .bind(cutoff)
                .bind(cluster.uuid())
                .fetch_optional(self)
                .await?;
            Ok(row.map(|(agent, epoch, last_seen_at, replica, address)| Whereabouts {
                agent: AgentId::from_uuid(agent),
                epoch,
                last_seen_at,
                replica: replica.map(ReplicaId::from_uuid),
                address,
            }))
        }
    }
}
