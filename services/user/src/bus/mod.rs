//! The queue doors.

use std::sync::Arc;

use roadstead_bus::{Bus, Incoming, PeerHandler, PeerReply, PeerRequest, Router, ServeOptions, Subscriber, reason};
use roadstead_contracts::audit::{Actor, Origin, Resource};
use roadstead_contracts::event::Fact;
use roadstead_contracts::identity::Principal;
use roadstead_contracts::ids::ClusterId;
use roadstead_contracts::message::{
    Authenticate, AuthenticateAs, GrantCluster, IdentifyPeer, IdentityKeys, RecordAudit, RevokeCluster, SignOperation,
};
use roadstead_contracts::queue;
use roadstead_contracts::seed::kubesage::AuthRequest;
use roadstead_store::audit::Deed;

use crate::app::App;

/// Longest body of a peer: the seed's has some 200 bytes.
const PEER_BODY_MAX: usize = 8 * 1024;

/// Serves the service's queues until the process stops.
pub(crate) async fn serve(app: &Arc<App>, bus: &Bus) -> roadstead_bus::Result<()> {
    let (one, two, three) = (Arc::clone(app), Arc::clone(app), Arc::clone(app));
    let peers =
        PeerHandler::new(app.options.queue_peers.clone(), move |request| answer_peer(Arc::clone(&two), request));
    let auth = Router::new(queue::CLUSTER_AUTH)
        .on(move |request: Authenticate, _| {
            let app = Arc::clone(&one);
            async move { app.authenticate(&request).await }
        })
        .on(move |request: AuthenticateAs, _| {
            let app = Arc::clone(&three);
            async move { app.authenticate_as(&request).await }
        })
        .peers(peers);
    let (one, two, three) = (Arc::clone(app), Arc::clone(app), Arc::clone(app));
    let identity = Router::new(queue::IDENTITY)
        .on(move |request: SignOperation, _| {
            let app = Arc::clone(&three);
            async move { app.sign_operation(&request).await }
        })
        .on(move |request: IdentifyPeer, _| {
            let app = Arc::clone(&one);
            async move { app.identify_peer(&request).await }
        })
        .on(move |_: IdentityKeys, _| {
            let keys = two.keys.now().identity_keys.clone();
            async move { Ok(keys) }
        });
    let (one, two) = (Arc::clone(app), Arc::clone(app));
    let grants = Router::new(queue::GRANT_CHANGE)
        .on(move |request: GrantCluster, incoming| {
            let app = Arc::clone(&one);
            async move {
                let deed =
                    grant_deed(&incoming, &request.principal, "grant.create", request.cluster_id, &request.account);
                app.trail.after(deed, app.grant_cluster(&request)).await
            }
        })
        .on(move |request: RevokeCluster, incoming| {
            let app = Arc::clone(&two);
            async move {
                let deed =
                    grant_deed(&incoming, &request.principal, "grant.revoke", request.cluster_id, &request.account);
                app.trail.after(deed, app.revoke_cluster(&request)).await
            }
        });
    let one = Arc::clone(app);
    let audit = Router::new(queue::AUDIT_RECORD).on(move |request: RecordAudit, _| {
        let app = Arc::clone(&one);
        async move { app.record_audit(&request).await }
    });
    for router in [auth, identity, grants, audit] {
        bus.serve(router, ServeOptions::default()).await?;
    }
    let policy = Arc::clone(&app.policy);
    bus.subscribe(Subscriber::Own, &["policy.*"], move |_| {
        let policy = Arc::clone(&policy);
        // What fails here is tried again by the watch.
        async move { policy.refresh().await.map(drop) }
    })
    .await?;
    let app = Arc::clone(app);
    bus.subscribe(Subscriber::Shared("grants"), &["cluster.deleted"], move |event| {
        let app = Arc::clone(&app);
        async move {
            match event.fact {
                Fact::ClusterDeleted { cluster_id } => app.forget_cluster(cluster_id).await,
                _ => Ok(()),
            }
        }
    })
    .await
}

/// A grant in the words of the audit trail. The front door has announced it.
fn grant_deed(incoming: &Incoming, by: &Principal, action: &'static str, cluster: ClusterId, account: &str) -> Deed {
    Deed {
        origin: Origin::request(&incoming.request_id),
        actor: Actor::of(by),
        action: action.to_owned(),
        resource: Resource::named("grant", account).in_cluster(cluster),
    }
}

async fn answer_peer(app: Arc<App>, request: PeerRequest) -> PeerReply {
    if request.body.len() > PEER_BODY_MAX {
        return PeerReply::dead_letter(reason::TOO_LARGE);
    }
    // The body holds a key in the clear: it is read, answered and forgotten, never logged.
    let Ok(body) = serde_json::from_slice::<AuthRequest>(&request.body) else {
        return PeerReply::dead_letter(reason::MALFORMED);
    };
    match app.authenticate_peer(&request.account, &body).await {
        Ok(Some(result)) => match serde_json::to_vec(&result) {
            Ok(bytes) => PeerReply::answer(bytes),
            Err(_) => PeerReply::dead_letter(reason::MALFORMED),
        },
        Ok(None) => PeerReply::dead_letter(reason::MALFORMED),
        Err(fault) => {
            // The seed's third shape: neither valid nor refused, so the peer does not take it for an answer.
            tracing::warn!("a peer's key could not be looked up: {fault}");
            let body = serde_json::json!({"request_id": body.request_id, "error": format!("Authentication error: {}", fault.detail)});
            PeerReply::answer(body.to_string())
        }
    }
}
