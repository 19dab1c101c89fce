//! Peers of the seeds: manifests and cancellations as plain bodies on the seeds' queues, answered on `*_results`.

use std::sync::Arc;

use bytes::Bytes;
use roadstead_bus::{CallContext, PeerHandler, PeerReply, PeerRequest, reason};
use roadstead_contracts::identity::Principal;
use roadstead_contracts::ids::{OperationId, TypedId as _, parse_hyphenated};
use roadstead_contracts::message::{
    AgentTarget, CancelOperation, Cancellation, Cluster, CreateOperation, IdentifyPeer, Operation, ResolveAgent,
};
use roadstead_contracts::operation::Work;
use roadstead_contracts::seed::changes::{CancellationRequest, CancellationResult, ManifestRequest, ManifestResult};
use roadstead_contracts::{Code, Error, Result};
use serde::Serialize;

use crate::app::{self, App};
use crate::domain::cut;
use crate::limits::{ASK, PEER_REQUEST_ID_MAX};

/// The one command of the manifest queue.
const APPLY: &str = "apply-manifests";

/// Manifests of listed peers.
pub(super) fn manifests(app: &Arc<App>) -> PeerHandler {
    let served = Arc::clone(app);
    PeerHandler::new(app.options.queue_peers.clone(), move |peer: PeerRequest| {
        let app = Arc::clone(&served);
        async move {
            let Ok(request) = serde_json::from_slice::<ManifestRequest>(&peer.body) else {
                return PeerReply::dead_letter(reason::MALFORMED);
            };
            if !is_sane(&request.request_id) {
                return PeerReply::dead_letter(reason::MALFORMED);
            }
            let request_id = request.request_id.clone();
            answer(match apply(&app, &peer.account, request).await {
                Ok(operation) => ManifestResult {
                    request_id,
                    operation_id: Some(operation.id.to_string()),
                    status: Some(operation.state.seed_word().to_owned()),
                    message: Some("Manifests queued for application".to_owned()),
                    error: None,
                },
                Err(error) => ManifestResult {
                    request_id,
                    operation_id: None,
                    status: None,
                    message: None,
                    error: Some(error.detail.into_owned()),
                },
            })
        }
    })
}

/// Cancellations of listed peers.
pub(super) fn cancellations(app: &Arc<App>) -> PeerHandler {
    let served = Arc::clone(app);
    PeerHandler::new(app.options.queue_peers.clone(), move |peer: PeerRequest| {
        let app = Arc::clone(&served);
        async move {
            let Ok(request) = serde_json::from_slice::<CancellationRequest>(&peer.body) else {
                return PeerReply::dead_letter(reason::MALFORMED);
            };
            if !is_sane(&request.request_id) {
                return PeerReply::dead_letter(reason::MALFORMED);
            }
            let (request_id, operation_id) = (request.request_id.clone(), cut(&request.operation_id, 64));
            answer(match cancel(&app, &peer.account, request).await {
                Ok(done) => CancellationResult {
                    request_id,
                    operation_id: Some(operation_id),
                    status: Some(match done {
                        Cancellation::Cancelled => "cancelled".to_owned(),
                        Cancellation::Cancelling => "cancelling".to_owned(),
                    }),
                    message: Some(match done {
                        Cancellation::Cancelled => "Operation cancelled successfully".to_owned(),
                        Cancellation::Cancelling => "Operation is asked to stop after the object at hand".to_owned(),
                    }),
                    error: None,
                },
                Err(error) => CancellationResult {
                    request_id,
                    operation_id: Some(operation_id),
                    status: None,
                    message: None,
                    error: Some(error.detail.into_owned()),
                },
            })
        }
    })
}

fn is_sane(request_id: &str) -> bool {
    (1..=PEER_REQUEST_ID_MAX).contains(&request_id.len())
}

fn answer(result: impl Serialize) -> PeerReply {
    match serde_json::to_vec(&result) {
        Ok(body) => PeerReply::answer(body),
        Err(_) => PeerReply::dead_letter(reason::MALFORMED),
    }
}

async fn principal(app: &App, account: &str, request_id: &str) -> Result<Principal> {
    let identify = IdentifyPeer { account: account.to_owned(), cluster_id: None, raise: None };
    Ok(app.bus.call(&identify, &CallContext::new(ASK, request_id)).await?.principal)
}

async fn apply(app: &App, account: &str, request: ManifestRequest) -> Result<Operation> {
    if request.command.as_deref().is_some_and(|command| command != APPLY) {
        return Err(Error::new(Code::BadRequest, "Unknown command."));
    }
    let principal = principal(app, account, &request.request_id).await?;
    let cluster = cluster(app, &principal, &request).await?;
    let body_sha256 = app::stage_body(app, Bytes::from(request.manifests)).await?;
    let create = CreateOperation {
        principal,
        cluster_id: cluster.id,
        cluster_name: cluster.name,
        work: Work::Apply {
            namespace: request.namespace,
            dry_run: request.dry_run,
            prune: None,
            inventory: None,
            force_conflicts: false,
            wait: false,
        },
        body_sha256: Some(body_sha256),
        source: "queue".to_owned(),
        description: String::new(),
        // A message that is delivered again is the same operation.
        idempotency_key: Some(cut(&request.request_id, 200)),
        deadline_seconds: None,
        priority: None,
        webhook_url: None,
        webhook_sha256: None,
    };
    app::create_operation(app, create, app.own_change(), &request.request_id).await
}

/// By its id or name, or by the id of its agent as on the seeds' other queues.
async fn cluster(app: &App, principal: &Principal, request: &ManifestRequest) -> Result<Cluster> {
    let named = match (&request.cluster_id, &request.agent_id) {
        (Some(cluster), _) => cut(cluster, 128),
        (None, Some(agent)) => {
            let resolve = ResolveAgent { principal: principal.clone(), target: AgentTarget::Agent(cut(agent, 128)) };
            let agent = app.bus.call(&resolve, &CallContext::new(ASK, &request.request_id)).await?;
            agent.cluster_id.ok_or_else(|| Error::not_found("Cluster not found"))?.to_string()
        }
        (None, None) => return Err(Error::new(Code::BadRequest, "cluster_id or agent_id is required")),
    };
    app.cluster(principal, named, &request.request_id).await
}

async fn cancel(app: &App, account: &str, request: CancellationRequest) -> Result<Cancellation> {
    let principal = principal(app, account, &request.request_id).await?;
    let id =
        parse_hyphenated(&request.operation_id).map_err(|_| Error::new(Code::BadRequest, "Invalid operation ID"))?;
    let cancel = CancelOperation { principal, id: OperationId::from_uuid(id), reason: request.reason };
    let (done, _) = app::cancel_operation(app, cancel, app.own_change(), &request.request_id).await?;
    Ok(done)
}
