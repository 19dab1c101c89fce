//! The queues' door: decodes, calls a verb, replies.

mod events;
mod peers;
mod record;

use std::future::Future;
use std::sync::Arc;

use roadstead_bus::{Bus, Incoming, Lookups, Router, ServeOptions};
use roadstead_contracts::Result;
use roadstead_contracts::message::{
    CheckJoinToken, CountClusters, CreateCluster, CreateJoinToken, DeleteCluster, FindReplica, GenerateAgentId,
    GetCluster, GetNamespaces, GetSeedCluster, ListAgents, ListClusters, ListJoinTokens, ListSeedClusters, LocateAgent,
    OnboardSeedCluster, Request, ResolveAgent, RevokeAgent, RevokeJoinToken, UpdateCluster,
};
use roadstead_contracts::queue::{CLUSTER_NAMESPACE, CLUSTER_REGISTRY, CLUSTER_REGISTRY_CHANGE};

use crate::app::{self, App};
use crate::store::Change;

/// Questions to agents at once: they wait for agents, not for us, so there may be many.
const NAMESPACES_AT_ONCE: u16 = 512;

/// Name of the front door on the bus.
const FRONT_DOOR: &str = "cluster";

/// Serves the service's queues.
pub(crate) async fn serve(app: &Arc<App>) -> Result<(), roadstead_bus::Error> {
    let lookups = Lookups::new(CLUSTER_REGISTRY, app)
        .on(|app, request: ListClusters| async move { app::list_clusters(&app, request).await })
        .on(|app, request: GetCluster| async move { app::get_cluster(&app, request).await })
        .on(|app, request: ResolveAgent| async move { app::resolve_agent(&app, request).await })
        .on(|app, request: LocateAgent| async move { app::locate_agent(&app, request).await })
        .on(|app, request: FindReplica| async move { app::find_replica(&app, request).await })
        .on(|app, request: ListJoinTokens| async move { app::list_join_tokens(&app, request).await })
        .on(|app, request: CheckJoinToken| async move { app::check_join_token(&app, request).await })
        .on(|app, request: ListAgents| async move { app::list_agents(&app, request).await })
        .on(|app, request: ListSeedClusters| async move { app::list_seed_clusters(&app, request).await })
        .on(|app, request: GetSeedCluster| async move { app::get_seed_cluster(&app, request).await })
        .on(|app, request: CountClusters| async move { app::count_clusters(&app, request).await });
    let changes = Changes { app: Arc::clone(app), router: Router::new(CLUSTER_REGISTRY_CHANGE) }
        .on(|app, request: CreateCluster, change| async move { app::create_cluster(&app, request, change).await })
        .on(|app, request: UpdateCluster, change| async move { app::update_cluster(&app, request, change).await })
        .on(|app, request: DeleteCluster, change| async move { app::delete_cluster(&app, request, change).await })
        .on(|app, request: CreateJoinToken, change| async move { app::create_join_token(&app, request, change).await })
        .on(|app, request: RevokeJoinToken, change| async move { app::revoke_join_token(&app, request, change).await })
        .on(|app, request: RevokeAgent, change| async move { app::revoke_agent(&app, request, change).await })
        .on(|app, request: GenerateAgentId, change| async move { app::generate_agent_id(&app, request, change).await })
        .on(|app, request: OnboardSeedCluster, change| async move {
            app::onboard_seed_cluster(&app, request, change).await
        });
    let (shared, own) = (Arc::clone(app), Arc::clone(app));
    let namespaces = Router::new(CLUSTER_NAMESPACE)
        .on(move |request: GetNamespaces, incoming| {
            let app = Arc::clone(&shared);
            async move { app::get_namespaces(&app, request, incoming).await }
        })
        .peers(peers::handler(app));
    let replica = Router::replica().on(move |request: GetNamespaces, incoming| {
        let app = Arc::clone(&own);
        async move { app::get_namespaces_here(&app, request, incoming).await }
    });
    let bus: &Bus = &app.bus;
    bus.serve(lookups.into_router(), ServeOptions::default()).await?;
    bus.serve(changes.router, ServeOptions::default()).await?;
    bus.serve(namespaces, ServeOptions { concurrency: NAMESPACES_AT_ONCE }).await?;
    bus.serve(replica, ServeOptions { concurrency: NAMESPACES_AT_ONCE }).await?;
    events::subscribe(app).await
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
        H: Fn(Arc<App>, R, Change) -> F + Send + Sync + 'static,
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
                let deed = record::deed(&request, &incoming);
                let (trail, work) = (app.trail.clone(), handler(app, request, change));
                // The front door has announced what it asks for, with the client's address.
                if incoming.service == FRONT_DOOR {
                    trail.after(deed, work).await
                } else {
                    trail.around(deed, work).await
                }
            }
        });
        Self { router, ..self }
    }
}
