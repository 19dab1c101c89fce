//! The queues' door: decodes, calls a verb, replies.

mod peers;

use std::sync::Arc;

use async_trait::async_trait;
use roadstead_bus::{Changes, Lookups, Remembers, ServeOptions};
use roadstead_contracts::ids::MessageId;
use roadstead_contracts::message::{
    BodyStagePlace, CancelOperation, ChangeRollout, CreateOperation, CreateRollout, DeleteOperation, GetDrift,
    GetOperation, GetRollout, ListOperationSteps, ListOperations, ListRollouts, LocateBodyStage, ReportDrift,
    RetryOperation, UndoOperation,
};
use roadstead_contracts::queue::{CLUSTER_CANCELLATION, CLUSTER_MANIFEST, OPERATION, OPERATION_CHANGE};
use roadstead_contracts::{Code, Error, Result};
use serde_json::Value;

use crate::app::{self, App};

/// Serves the service's queues.
pub(crate) async fn open(app: &Arc<App>) -> roadstead_bus::Result<()> {
    let lookups = Lookups::new(OPERATION, app)
        .on(|app, request: GetOperation| async move { app::get_operation(&app, request).await })
        .on(|app, request: ListOperations| async move { app::list_operations(&app, request).await })
        .on(|app, request: ListOperationSteps| async move { app::list_steps(&app, request).await })
        .on(|app, request: GetRollout| async move { app::get_rollout(&app, request).await })
        .on(|app, request: ListRollouts| async move { app::list_rollouts(&app, request).await })
        .on(|app, request: GetDrift| async move { app::get_drift(&app, request).await })
        .on(|app, _: LocateBodyStage| async move {
            let address = app.stage_address.clone().ok_or_else(|| Error::of(Code::Unavailable))?;
            Ok(BodyStagePlace { address })
        });
    let manifests = Changes::new(CLUSTER_MANIFEST, app).on(|app, request: CreateOperation, incoming| async move {
        app::create_operation(&app, request, app.change(&incoming), &incoming.request_id).await
    });
    let cancellations =
        Changes::new(CLUSTER_CANCELLATION, app).on(|app, request: CancelOperation, incoming| async move {
            app::cancel_operation(&app, request, app.change(&incoming), &incoming.request_id).await
        });
    let others = Changes::new(OPERATION_CHANGE, app)
        .on(|app, request: RetryOperation, incoming| async move {
            app::retry_operation(&app, request, app.change(&incoming), &incoming.request_id).await
        })
        .on(|app, request: UndoOperation, incoming| async move {
            app::undo_operation(&app, request, app.change(&incoming), &incoming.request_id).await
        })
        .on(|app, request: DeleteOperation, incoming| async move {
            app::delete_operation(&app, request, app.change(&incoming), &incoming.request_id).await
        })
        .on(|app, request: CreateRollout, incoming| async move {
            app::create_rollout(&app, request, app.change(&incoming), &incoming.request_id).await
        })
        .on(|app, request: ChangeRollout, incoming| async move {
            app::change_rollout(&app, request, app.change(&incoming), &incoming.request_id).await
        })
        // The state and not a change of it: told again it is the same.
        .on(|app, request: ReportDrift, incoming| async move {
            app::report_drift(&app, request, app.change(&incoming)).await
        });
    let routers = [
        lookups.into_router(),
        manifests.into_router().peers(peers::manifests(app)),
        cancellations.into_router().peers(peers::cancellations(app)),
        others.into_router(),
    ];
    for router in routers {
        app.bus.serve(router, ServeOptions::default()).await?;
    }
    Ok(())
}

#[async_trait]
impl Remembers for App {
    async fn reply_of(&self, message: MessageId) -> Result<Option<Value>> {
        Ok(self.store.reply_of(message).await?)
    }
}
