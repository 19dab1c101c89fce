//! Forgets an ended operation whose retention is over.

use chrono::TimeDelta;
use roadstead_contracts::audit::Resource;
use roadstead_contracts::identity::Action;
use roadstead_contracts::message::DeleteOperation;
use roadstead_contracts::{Code, Error, Result};

use super::{App, not_found, require_of};
use crate::store::Change;

pub(crate) async fn delete_operation(
    app: &App,
    request: DeleteOperation,
    change: Change,
    request_id: &str,
) -> Result<()> {
    let record = app.visible(&request.principal, request.id).await?;
    require_of(app, &request.principal, Action::OperationsWrite, &record)?;
    let Some(finished_at) = record.doc.shown.finished_at else {
        return Err(Error::new(Code::Conflict, "the operation has not ended; cancel it first"));
    };
    let kept_until = finished_at + TimeDelta::from_std(app.options.retention).unwrap_or(TimeDelta::days(365));
    if change.at < kept_until {
        return Err(Error::new(Code::Conflict, format!("the operation is kept until {}", kept_until.to_rfc3339())));
    }
    if record.settle_at.is_some() {
        let message = "its agent has not been told that it has ended; it can be deleted once the agent was there";
        return Err(Error::new(Code::Conflict, message));
    }
    let resource = Resource::id("operation", request.id).in_cluster(record.doc.shown.cluster_id);
    let entry = app.done(&request.principal, request_id, "operation.delete", resource, &change);
    if !app.store.delete_operation(request.id, &entry, &change).await? {
        return Err(not_found());
    }
    app.committed();
    Ok(())
}
