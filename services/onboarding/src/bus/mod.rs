//! The queues' door: decodes, calls a verb, replies.

mod events;
mod peers;
mod record;

use std::sync::Arc;

use async_trait::async_trait;
use roadstead_bus::{Bus, Changes, Incoming, Lookups, Remembers, Router, ServeOptions};
use roadstead_contracts::Result;
use roadstead_contracts::ids::MessageId;
use roadstead_contracts::message::{
    AskSeedAgent, CheckJoinToken, CountClusters, CreateCluster, CreateJoinToken, DeleteCluster, FindReplica,
    GenerateAgentId, GetCluster, GetNamespaces, GetSeedCluster, ListAgents, ListClusters, ListJoinTokens,
    ListSeedClusters, LocateAgent, OnboardSeedCluster, Request, ResolveAgent, RevokeAgent, RevokeJoinToken,
    UpdateCluster,
};
use roadstead_contracts::queue::{CLUSTER_NAMESPACE, CLUSTER_REGISTRY, CLUSTER_REGISTRY_CHANGE};
use serde_json::Value;

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
    let changes = Changes::new(CLUSTER_REGISTRY_CHANGE, app)
        .on(|app, request: CreateCluster, incoming| recorded(app, request, incoming, app::create_cluster))
        .on(|app, request: UpdateCluster, incoming| recorded(app, request, incoming, app::update_cluster))
        .on(|app, request: DeleteCluster, incoming| recorded(app, request, incoming, app::delete_cluster))
        .on(|app, request: CreateJoinToken, incoming| recorded(app, request, incoming, app::create_join_token))
        .on(|app, request: RevokeJoinToken, incoming| recorded(app, request, incoming, app::revoke_join_token))
        .on(|app, request: RevokeAgent, incoming| recorded(app, request, incoming, app::revoke_agent))
        .on(|app, request: GenerateAgentId, incoming| recorded(app, request, incoming, app::generate_agent_id))
        .on(|app, request: OnboardSeedCluster, incoming| recorded(app, request, incoming, app::onboard_seed_cluster));
    let agents = |router: Router, here: bool| {
        let (lister, asker) = (Arc::clone(app), Arc::clone(app));
        router
            .on(move |request: GetNamespaces, incoming| {
                let app = Arc::clone(&lister);
                async move {
                    if here {
                        app::get_namespaces_here(&app, request, incoming).await
                    } else {
                        app::get_namespaces(&app, request, incoming).await
                    }
                }
            })
            .on(move |request: AskSeedAgent, incoming| {
                let app = Arc::clone(&asker);
                async move {
                    if here {
                        app::ask_seed_agent_here(&app, request, incoming).await
                    } else {
                        app::ask_seed_agent(&app, request, incoming).await
                    }
                }
            })
    };
    let namespaces = agents(Router::new(CLUSTER_NAMESPACE), false).peers(peers::handler(app));
    let replica = agents(Router::replica(), true);
    let bus: &Bus = &app.bus;
    bus.serve(lookups.into_router(), ServeOptions::default()).await?;
    bus.serve(changes.into_router(), ServeOptions::default()).await?;
    bus.serve(namespaces, ServeOptions { concurrency: NAMESPACES_AT_ONCE }).await?;
    bus.serve(replica, ServeOptions { concurrency: NAMESPACES_AT_ONCE }).await?;
    events::subscribe(app).await
}

#[async_trait]
impl Remembers for App {
    async fn reply_of(&self, message: MessageId) -> Result<Option<Value>> {
        Ok(self.store.reply_of(message).await?)
    }
}

/// A change with its records in the audit trail, before and after.
async fn recorded<R: Request>(
    app: Arc<App>,
    request: R,
    incoming: Incoming,
    verb: impl AsyncFnOnce(&App, R, Change) -> Result<R::Reply>,
) -> Result<R::Reply> {
    let deed = record::deed(&request, &incoming);
    let work = verb(&app, request, app.change(&incoming));
    // The front door has announced what it asks for, with the client's address.
    if incoming.service == FRONT_DOOR { app.trail.after(deed, work).await } else { app.trail.around(deed, work).await }
}
