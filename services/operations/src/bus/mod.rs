//! The queues' door: decodes, calls a verb, replies.

mod peers;

use std::future::Future;
use std::sync::Arc;

use roadstead_bus::{Incoming, Lookups, Router, ServeOptions};
use roadstead_contracts::message::{
    BodyStagePlace, CancelOperation, ChangeRollout, CreateOperation, CreateRollout, DeleteOperation, GetOperation,
    GetRollout, ListOperationSteps, ListOperations, ListRollouts, LocateBodyStage, Request, RetryOperation,
    UndoOperation,
};
use roadstead_contracts::queue::{CLUSTER_CANCELLATION, CLUSTER_MANIFEST, OPERATION, OPERATION_CHANGE, Queue};
use roadstead_contracts::{Code, Error, Result};

use crate::app::{self, App};
use crate::store::Change;

/// Serves the service's queues.
pub(crate) async fn open(app: &Arc<App>) -> roadstead_bus::Result<()> {
    let lookups = Lookups::new(OPERATION, app)
        .on(|app, request: GetOperation| async move { app::get_operation(&app, request).await })
        .on(|app, request: ListOperations| async move { app::list_operations(&app, request).await })
        .on(|app, request: ListOperationSteps| async move { app::list_steps(&app, request).await })
        .on(|app, request: GetRollout| async move { app::get_rollout(&app, request).await })
        .on(|app, request: ListRollouts| async move { app::list_rollouts(&app, request).await })
        .on(|app, _: LocateBodyStage| async move {
            let address = app.stage_address.clone().ok_or_else(|| Error::of(Code::Unavailable))?;
            Ok(BodyStagePlace { address })
        });
    let manifests = changes(app, CLUSTER_MANIFEST).on(|app, request: CreateOperation, change, id| async move {
        app::create_operation(&app, request, change, &id).await
    });
    let cancellations = changes(app, CLUSTER_CANCELLATION).on(|app, request: CancelOperation, change, id| async move {
        app::cancel_operation(&app, request, change, &id).await
    });
    let others =
        changes(app, OPERATION_CHANGE)
            .on(|app, request: RetryOperation, change, id| async move {
                app::retry_operation(&app, request, change, &id).await
            })
            .on(|app, request: UndoOperation, change, id| async move {
                app::undo_operation(&app, request, change, &id).await
            })
            .on(|app, request: DeleteOperation, change, id| async move {
                app::delete_operation(&app, request, change, &id).await
            })
            .on(|app, request: CreateRollout, change, id| async move {
                app::create_rollout(&app, request, change, &id).await
            })
            .on(|app, request: ChangeRollout, change, id| async move {
                app::change_rollout(&app, request, change, &id).await
            });
    let routers = [
        lookups.into_router(),
        manifests.router.peers(peers::manifests(app)),
        cancellations.router.peers(peers::cancellations(app)),
        others.router,
    ];
    for router in routers {
        app.bus.serve(router, ServeOptions::default()).await?;
    }
    Ok(())
}

fn changes(app: &Arc<App>, queue: Queue) -> Changes {
    Changes { app: Arc::clone(app), router: Router::new(queue) }
}

struct Changes {
    app: Arc<App>,
    router: Router,
}

impl Changes {
    /// A message that is delivered again finds the answer of the first time.
    fn on<R, H, F>(self, handler: H) -> Self
    where
        R: Request,
        H: Fn(Arc<App>, R, Change, String) -> F + Send + Sync + 'static,
        F: Future<Output = Result<R::Reply>> + Send + 'static,
    {
        let app = Arc::clone(&self.app);
        let handler = Arc::new(handler);
        let router = self.router.on(move |request: R, incoming: Incoming| {
            let (app, handler) = (Arc::clone(&app), Arc::clone(&handler));
            async move {
                let change = app.change(&incoming);
                if let (true, Some(message)) = (incoming.redelivered, change.message)
                    && let Some(reply) = app.store.reply_of(message).await?
                    && let Ok(reply) = serde_json::from_value(reply)
                {
                    return Ok(reply);
                }
                handler(app, request, change, incoming.request_id).await
            }
        });
        Self { router, ..self }
    }
}
