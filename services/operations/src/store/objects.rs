//! Results of objects.

use roadstead_contracts::ids::{OperationId, TypedId as _};
use roadstead_store::Result;
use roadstead_store::sqlx;

use super::rows::ObjectRow;
use super::{ObjectStore, StoredObject};

const OBJECTS: &str = "SELECT position, key, outcome, undoable, existed, left_version FROM objects
    WHERE operation_id = $1 AND epoch = $2 ORDER BY position";
const BEFORE: &str = "SELECT sealed_before FROM object_parts
    WHERE operation_id = $1 AND epoch = $2 AND position = $3 ORDER BY part";

roadstead_store::for_pools! {
    impl ObjectStore for [PgPool, SqlitePool] {
        async fn objects(&self, id: OperationId, epoch: i64) -> Result<Vec<StoredObject>> {
            let rows: Vec<ObjectRow> =
                sqlx::query_as(OBJECTS).bind(id.uuid()).bind(epoch).fetch_all(self).await?;
            rows.into_iter().map(StoredObject::try_from).collect()
        }

        async fn before(&self, id: OperationId, epoch: i64, position: u32) -> Result<Vec<String>> {
            Ok(sqlx::query_scalar(BEFORE)
                .bind(id.uuid())
                .bind(epoch)
                .bind(i64::from(position))
                .fetch_all(self)
                .await?)
        }
    }
}
