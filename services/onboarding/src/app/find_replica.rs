//! Any replica, for requests that must not ride a queue: the one that was asked.

use roadstead_contracts::message::{FindReplica, ReplicaLocation};
use roadstead_contracts::{Code, Error, Result};

use super::App;

pub(crate) async fn find_replica(app: &App, _request: FindReplica) -> Result<ReplicaLocation> {
    match &app.replica_address {
        Some(address) if !app.tasks.stopping().is_cancelled() => {
            Ok(ReplicaLocation { replica_id: app.replica, address: address.clone() })
        }
        _ => Err(Error::new(Code::Unavailable, "this replica takes no streams").retry_after(1)),
    }
}
