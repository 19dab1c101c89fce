//! Peers of the seeds on `cluster_namespace_requests`: the body of seed 001 in, its answer out.

use std::collections::BTreeMap;
use std::sync::Arc;

use roadstead_bus::{CallContext, PeerHandler, PeerReply, PeerRequest, reason};
use roadstead_contracts::agent::{GET_NAMESPACES, NamespaceList};
use roadstead_contracts::message::{IdentifyPeer, Namespaces, Raise};
use roadstead_contracts::seed::kubesage::{AgentNamespace, AgentNamespaces, NamespaceRequest, NamespaceResult};
use roadstead_contracts::{Code, Error, Result};

use crate::app::{self, App};
use crate::limits::{ASK_USER, PEER_REQUEST_ID_MAX};

/// Answers listed peers.
pub(super) fn handler(app: &Arc<App>) -> PeerHandler {
    let accounts: BTreeMap<String, String> = app.settings.compat.queue_peers.clone();
    let app = Arc::clone(app);
    PeerHandler::new(accounts, move |request: PeerRequest| {
        let app = Arc::clone(&app);
        async move { answer(&app, request).await }
    })
}

async fn answer(app: &App, peer: PeerRequest) -> PeerReply {
    // Fields beside these are not looked at: one of the predecessors' let a message override its own command (K21).
    let Ok(request) = serde_json::from_slice::<NamespaceRequest>(&peer.body) else {
        return PeerReply::dead_letter(reason::MALFORMED);
    };
    if request.request_id.is_empty() || request.request_id.len() > PEER_REQUEST_ID_MAX {
        return PeerReply::dead_letter(reason::MALFORMED);
    }
    let result = match ask(app, &peer.account, &request).await {
        Ok((cluster_name, namespaces)) => NamespaceResult {
            request_id: request.request_id,
            agent_id: Some(request.agent_id),
            result: Some(text_of(app, &namespaces, &cluster_name)),
            error: None,
            timestamp: Some(seconds(app)),
        },
        Err(fault) => NamespaceResult {
            request_id: request.request_id,
            agent_id: None,
            result: None,
            error: Some(format!("Failed to communicate with agent: {}", fault.detail)),
            timestamp: None,
        },
    };
    match serde_json::to_vec(&result) {
        Ok(body) => PeerReply::answer(body),
        Err(_) => PeerReply::dead_letter(reason::MALFORMED),
    }
}

async fn ask(app: &App, account: &str, request: &NamespaceRequest) -> Result<(String, Namespaces)> {
    if request.command != GET_NAMESPACES {
        return Err(Error::new(Code::BadRequest, "Unknown command."));
    }
    let offline = || {
        Error::new(Code::NotFound, format!("Agent {} is not connected and connection failed", cut(&request.agent_id)))
    };
    let record = app::agent_by_id(app, &request.agent_id).await.map_err(|_| offline())?;
    let identify = IdentifyPeer { account: account.to_owned(), cluster_id: record.agent.cluster_id, raise: None };
    let context = CallContext::new(ASK_USER, request.request_id.clone());
    let mut identity = app.bus.call(&identify, &context).await?;
    let now = app.clock.now();
    if !record.visible_to(&identity.principal, now) {
        return Err(offline());
    }
    // What only a rule gives is signed by the rule: the account's own roles give nothing there.
    let facts = record.agent.cluster.clone();
    let raise = facts.and_then(|cluster| {
        let request = roadstead_policy::lists_namespaces_by(&identity.principal, &cluster, now)?;
        Some(Raise { cluster, request })
    });
    if raise.is_some() {
        identity = app.bus.call(&IdentifyPeer { raise, ..identify }, &context).await?;
    }
    let context = CallContext::new(app.settings.agents.request_timeout, request.request_id.clone());
    let asked = app::ask_namespaces(app, &record, identity.principal, identity.assertion, &context).await;
    let namespaces = asked.map_err(|fault| if fault.code == Code::AgentOffline { offline() } else { fault })?;
    let name = record.agent.cluster_name.map(String::from).unwrap_or_default();
    Ok((name, namespaces))
}

fn cut(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(64).collect()
}

/// What an agent of the seeds would have said.
fn text_of(app: &App, namespaces: &Namespaces, cluster_name: &str) -> String {
    let NamespaceList { namespaces: list } = &namespaces.list;
    let full = list.iter().map(|namespace| AgentNamespace::Full {
        name: namespace.name.clone(),
        status: Some(namespace.status.clone()),
        created_at: namespace.created_at.clone(),
        labels: Some(namespace.labels.clone()),
        annotations: Some(namespace.annotations.clone()),
    });
    let answer = AgentNamespaces {
        namespaces: full.collect(),
        total_count: list.len(),
        cluster_info: Some(serde_json::json!({
            "config_type": "in-cluster",
            "agent_id": namespaces.agent_id.to_string(),
            "cluster_name": cluster_name,
            "include_details": true,
        })),
        timestamp: Some(app.clock.now().timestamp().to_string()),
        error: None,
        message: None,
    };
    serde_json::to_string(&answer).unwrap_or_default()
}

fn seconds(app: &App) -> f64 {
    // Whole microseconds since 1970 fit into a double until the year 2255.
    #[expect(clippy::cast_precision_loss, reason = "see above")]
    let micros = app.clock.now().timestamp_micros() as f64;
    micros / 1e6
}
